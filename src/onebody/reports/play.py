"""The playground: a trained robot in the browser, in real time, with a control for each number of its task."""

import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from onebody.algorithms.protocol import Adapted
from onebody.core.errors import OnebodyError
from onebody.reports import controls, own_reward, play_charts, play_hidden, scene, server
from onebody.runs import evaluate, hidden, playable, refinement
from onebody.runs.adapt import doubts
from onebody.runs.hidden import Adapting
from onebody.runs.live import Live, Pace
from onebody.runs.playable import Curve, Playable
from onebody.runs.refinement import Refined
from onebody.tasks.body import MujocoBody
from onebody.tasks.family import Reward, TaskFamily
from onebody.tasks.limits import bare
from onebody.worlds.camera import check_drawable

FRAMES = 25
"""images of the robot per second"""
SETTLED = 0.3
"""time (s) after which a task counts as chosen, and real episodes are simulated"""
REFINE_SECONDS, REWARD_SECONDS = 10.0, 20.0
"""of policy optimisation inside the model, without compilation: for the task, and for a reward of the user's own"""


def play(path: Path | None, host: str = "127.0.0.1", port: int = 8080, on_ready: Callable[[str], None] = print) -> None:
    """Serve the playground of a run, or of a file with a policy for any task, until it is interrupted.

    Args:
        path: None: the policy that comes with the package.
        host: address of this machine that the page is served on.
        port: the next free one is taken if another program uses it.
        on_ready: called with the address once the page can be opened.

    Raises:
        OnebodyError: the extra `play` is not installed; the host or port is wrong; the robot cannot be drawn, or its
            tasks have no controls; or as `playable.load` or `hidden.Adapting`.
    """
    server.check(host, port)
    loaded = load(path)
    check_drawable(loaded.family.body)
    page, address = server.start(host, port, f"onebody: {loaded.family.id}")
    try:
        playground(page, loaded).serve(lambda: on_ready(address))
    finally:
        page.stop()


def load(path: Path | None) -> Playable | Adapting:
    """What the playground is of: as `playable.load`, or a robot that is not told its task."""
    return Adapting(path) if path is not None and hidden.is_hidden(path) else playable.load(path)


def playground(page: Any, loaded: Playable | Adapting) -> "Playground | play_hidden.Playground":
    """`page`: a `viser.ViserServer`."""
    return play_hidden.Playground(page, loaded) if isinstance(loaded, Adapting) else Playground(page, Live(loaded))


class Playground:
    """The page of one live robot.

    The thread of `serve` moves the robot and knows the newest order of the page's controls. A thread in the background
    optimises, predicts and simulates whole episodes for the newest order, and sends what it finds as orders.
    """

    def __init__(self, page: Any, live: Live):
        """`page`: a `viser.ViserServer`."""
        self.page, self.live = page, live
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._background = ThreadPoolExecutor(1)
        self._asked, self._number = live.task, 0
        """the newest task that was asked for, and how many times the robot was asked for something else before"""
        self._curve: Curve | None = None
        """predicted returns over tasks of one number"""
        self._known: dict[tuple[float, ...], tuple[Adapted, float]] = {}
        """by task: its policy with what is predicted of it, and its real return"""
        self._scene = scene.of(page, live)
        self._build()
        self._background.submit(self._begin)

    def serve(self, on_ready: Callable[[], None], until: Callable[[], bool] = lambda: False) -> None:
        """Move the robot in real time."""
        dt = self.live.family.body.dt
        every, steps = max(1, round(1 / (FRAMES * dt))), 0
        self._scene.show()
        on_ready()
        pace = Pace(dt)
        try:
            while not until():
                while not self._orders.empty():
                    self._orders.get()()
                self._step(pace.seconds)
                steps += 1
                if steps % every == 0:
                    self._scene.show()
                if steps % (FRAMES * every // 2) == 0:
                    self._reached.show()
                pace.wait()
        finally:
            self._number = -1  # ends what the background optimises
            self._background.shutdown(wait=False, cancel_futures=True)

    def _build(self) -> None:
        gui, family = self.page.gui, self.live.family
        gui.configure_theme(control_width="large", show_logo=False, show_share_button=False)
        gui.add_html(controls.text(f"{family.id}: {self.live.playable.title}"))
        self._chosen = controls.add(
            gui, family.space, family.task_names, self.live.task, lambda: self._orders.put(self._ask)
        )
        self._status = gui.add_html("")
        buttons = {"reset": self.live.reset, "save policy": self._save}
        if isinstance(bare(family.body), MujocoBody):
            buttons = {"push": self.live.push} | buttons
        controls.add_buttons(gui, buttons, self._orders.put)
        if self.live.playable.refine is not None:
            controls.add_buttons(gui, {f"refine for {REFINE_SECONDS:.0f} s": self._refine}, self._orders.put)
            own_reward.add(gui, family, REWARD_SECONDS, self._optimise_reward, self._orders.put)
        charts = gui.add_panel()
        charts.float(x=15, y=-15, width=340)
        with (tab := charts.add_tab("charts")):
            self._drawing = gui.add_html("")
        self._reached = play_charts.Reached(gui, tab, family)
        self._say()

    def _step(self, seconds: float) -> None:
        try:
            self.live.step()
        except OnebodyError as error:
            self.live.reset()
            self._tell(f"{error}; the robot begins again")
        if (achieved := self.live.achieved) is not None and not self.live.reward:
            self._reached.follow(seconds, achieved, self.live.task)

    def _ask(self) -> None:
        """Act on the task that the controls say: at once, or as soon as its policy is optimised."""
        self._asked, self._number = self._chosen(), self._number + 1
        if self.live.playable.any_task:
            self.live.act_on(self._asked, self.live.playable.first)
        self._say()
        self._background.submit(self._study, self._asked, self._number)

    def _refine(self) -> None:
        """Optimise the policy for the task, and then act with it beside a ghost with the policy from before."""
        self._optimise("", REFINE_SECONDS, None)

    def _optimise_reward(self, text: str, reward: Reward) -> None:
        """As `_refine`, for a reward of the user's own; `text`: its expression."""
        self._optimise(text, REWARD_SECONDS, reward)

    def _optimise(self, text: str, seconds: float, reward: Reward | None) -> None:
        self._number += 1
        self._tell(f"compiling, and then optimising the policy for {_aim(text)} inside the model for {seconds:g} s …")
        self._background.submit(self._guarded, self._improve, text, seconds, reward, self._asked, self._number)

    def _begin(self) -> None:
        """In the background: what is predicted over all tasks, and the first task."""
        self._guarded(lambda: setattr(self, "_curve", self.live.playable.curve()))
        self._study(self._asked, 0)

    def _study(self, task: np.ndarray, number: int) -> None:
        """In the background, once a task was chosen: its policy and what is predicted of it, and the mean return of ten
        real episodes from their beginning, as `onebody adapt` reports it."""
        if number == self._number:
            time.sleep(SETTLED)
        if number == self._number:
            self._guarded(self._compute, task, number)

    def _compute(self, task: np.ndarray, number: int) -> None:
        adapted = self.live.playable.first
        if number and self._curve is None:
            adapted = self.live.playable.adapted(task)
        if number != self._number:
            return
        if not self.live.playable.any_task:
            self._order(number, lambda: self.live.act_on(task, adapted))
        self._known[tuple(task.tolist())] = adapted, _real_return(self.live.family, adapted, task)
        if self.live.family.space.size == 1:
            trained = self.live.playable.training_space
            content = play_charts.returns(self._curve, self._known, self.live.family.task_names[0], trained)
            self._orders.put(lambda: setattr(self._drawing, "content", content))
        self._order(number, self._say)

    def _improve(self, text: str, seconds: float, reward: Reward | None, task: np.ndarray, number: int) -> None:
        """In the background: optimise a policy for one task inside the model; `text`: the user's own reward."""
        if number != self._number or self.live.playable.refine is None:
            return
        refined = self.live.playable.refine(task, seconds, reward, lambda: number != self._number)
        ghost = Live(self.live.playable)
        ghost.act_on(task, refined.before)

        def act() -> None:
            self.live.act_on(task, refined.after, text)
            self.live.beside(ghost)
            if text:
                self._reached.clear()

        self._order(number, act)
        real = [_real_return(refined.family, each, task) for each in (refined.before, refined.after)]
        lines = list(self._comparison(_aim(text), refined, real, task))
        self._order(number, lambda: self._tell(*lines))

    def _tell(self, *lines: str) -> None:
        self._status.content = controls.text(*lines)

    def _order(self, number: int, work: Callable[[], None]) -> None:
        """Order what an older order has led to, unless it is no longer the newest."""
        self._orders.put(lambda: work() if number == self._number else None)

    def _guarded(self, work: Callable[..., None], *arguments: Any) -> None:
        """Say on the page why something in the background failed."""
        try:
            work(*arguments)
        except Exception as error:
            message = controls.explained(error)
            self._orders.put(lambda: self._tell(message))

    def _say(self) -> None:
        """Predicted and real return of the newest task, and why the policy or the prediction may be wrong."""
        task, lines, novelty = self._asked, [], None
        adapted, real = self._known.get(tuple(task.tolist()), (None, None))
        if self._curve is not None:
            at = self._curve.at(task[0])
            between = "" if at.low is None else f" ({at.low:.1f} to {at.high:.1f})"
            lines.append(f"predicted return {at.mean:.1f}{between}")
            novelty = float(at.novelty)
        elif adapted is not None and adapted.predicted_return is not None:
            lines.append(_predicted(adapted))
            novelty = _novelty(adapted)
        elif adapted is None and not self.live.playable.any_task:
            lines.append("optimising a policy for this task inside the model …")
        if real is not None:
            lines.append(f"real return {real:.1f}, mean of ten episodes")
        lines += doubts(self.live.playable.training_space, task, novelty)
        self._tell(*lines)

    def _comparison(self, aim: str, refined: Refined, real: list[float], task: np.ndarray) -> Iterator[str]:
        """Lines on a policy that was optimised, and on the one before; `real`: return of the one before, and of it."""
        before, after = real
        yield f"optimised for {aim}, {refined.updates:,} updates: {_predicted(refined.after)}, real return {after:.1f}"
        yield f"before (translucent): {_predicted(refined.before)}, real return {before:.1f}"
        yield from refinement.warnings(
            refined.updates, evaluate.predicted(refined.before, 0), evaluate.predicted(refined.after, 0), False
        )
        yield from doubts(self.live.playable.training_space, task, _novelty(refined.after))

    def _save(self) -> None:
        self._tell(controls.saved(self.live.save, self.live.task))


def _real_return(family: TaskFamily, adapted: Adapted, task: Float[np.ndarray, " feature"]) -> float:
    return float(evaluate.real_return(family, adapted.policies, jax.device_put(task[None])).mean())


def _aim(reward: str) -> str:
    """What a policy is optimised for."""
    return f"the reward {reward}" if reward else "the task"


def _predicted(adapted: Adapted) -> str:
    interval = evaluate.interval(adapted, 0)
    between = "" if interval is None else " ({:.1f} to {:.1f})".format(*interval)
    return f"predicted return {evaluate.predicted(adapted, 0):.1f}{between}"


def _novelty(adapted: Adapted) -> float | None:
    return None if adapted.novelty is None else float(adapted.novelty[0])
