"""The playground: a trained robot in the browser, in real time, with a control for each number of its task."""

import io
import itertools
import queue
import re
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from onebody.algorithms.protocol import Adapted
from onebody.core.errors import NotFinite, OnebodyError
from onebody.reports import controls, scene, server
from onebody.runs import evaluate, playable
from onebody.runs.adapt import MAX_NOVELTY
from onebody.runs.live import Live
from onebody.runs.playable import Curve
from onebody.tasks.body import MujocoBody
from onebody.tasks.space import Box
from onebody.worlds.camera import check_drawable
from onebody.worlds.refusals import first_line

FRAMES = 25
"""images of the robot per second"""
SHOWN_SECONDS = 8.0
"""time that the chart of what the robot achieves goes back"""
SETTLED = 0.3
"""time (s) after which a task counts as chosen, and real episodes are simulated"""
LATE = 0.1
"""delay (s) behind real time that the robot catches up with; after a longer one it goes on at its own speed"""
COLORS = ("#1f6fb5", "#c2571a")
"""of what the robot reached, and of what was asked for or predicted"""


def play(path: Path | None, host: str = "127.0.0.1", port: int = 8080, on_ready: Callable[[str], None] = print) -> None:
    """Serve the playground of a run, or of a file with a policy for any task, until it is interrupted.

    Args:
        path: None: the policy that comes with the package.
        host: address of this machine that the page is served on.
        port: the next free one is taken if another program uses it.
        on_ready: called with the address once the page can be opened.

    Raises:
        OnebodyError: the extra `play` is not installed; the host or port is wrong; the robot cannot be drawn, or its
            tasks have no controls; or as `playable.load`.
    """
    server.check(host, port)
    loaded = playable.load(path)
    check_drawable(loaded.family.body)
    live = Live(loaded)
    page, address = server.start(host, port, f"onebody: {live.family.id}")
    try:
        Playground(page, live).serve(lambda: on_ready(address))
    finally:
        page.stop()


class Playground:
    """The page of one live robot.

    The thread of `serve` moves the robot and knows the newest task; the page's controls send it orders. A thread in the
    background optimises, predicts and simulates whole episodes for the newest task, and sends what it finds as orders.
    """

    def __init__(self, page: Any, live: Live):
        """`page`: a `viser.ViserServer`."""
        self.page, self.live = page, live
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._background = ThreadPoolExecutor(1)
        self._asked, self._number = live.task, 0
        """the newest task that was asked for, and how many were before it"""
        self._curve: Curve | None = None
        """predicted returns over tasks of one number"""
        self._known: dict[tuple[float, ...], tuple[Adapted, float]] = {}
        """by task: its policy with what is predicted of it, and its real return"""
        self._history: list[tuple[float, float, float]] = []
        """time (s), what was achieved and what was asked for, of the first number of the task"""
        self._scene = (
            scene.Robot(page, live) if isinstance(live.family.body, MujocoBody) else scene.Point(page, live)
        )
        self._build()
        self._background.submit(self._begin)

    def serve(self, on_ready: Callable[[], None], until: Callable[[], bool] = lambda: False) -> None:
        """Move the robot in real time."""
        dt = self.live.family.body.dt
        every = max(1, round(1 / (FRAMES * dt)))
        self._scene.show()
        on_ready()
        began, steps = time.monotonic(), 0
        try:
            while not until():
                while not self._orders.empty():
                    self._orders.get()()
                self._step(steps * dt)
                steps += 1
                if steps % every == 0:
                    self._scene.show()
                if steps % (FRAMES * every // 2) == 0:
                    self._show_history()
                late = time.monotonic() - began - steps * dt
                if late > LATE:
                    began += late
                time.sleep(max(0.0, -late))
        finally:
            self._background.shutdown(wait=False, cancel_futures=True)

    def _build(self) -> None:
        gui, family = self.page.gui, self.live.family
        gui.configure_theme(control_width="large", show_logo=False, show_share_button=False)
        gui.add_markdown(f"**{family.id}**: {self.live.playable.title}")
        self._chosen = controls.add(
            gui, family.space, family.task_names, self.live.task, lambda: self._orders.put(self._ask)
        )
        self._status = gui.add_markdown("")
        buttons = {"reset": self.live.reset, "save policy": self._save}
        if isinstance(family.body, MujocoBody):
            buttons = {"push": self.live.push} | buttons
        for label, order in buttons.items():
            gui.add_button(label).on_click(lambda _, order=order: self._orders.put(order))
        self._chart: Any = None
        self._drawing = gui.add_html("")
        self._say()

    def _step(self, seconds: float) -> None:
        try:
            self.live.step()
        except NotFinite as error:
            self.live.reset()
            self._status.content = f"{error}; the robot begins again"
        if (achieved := self.live.achieved) is not None:
            self._history.append((seconds, float(achieved[0]), float(self.live.task[0])))
            self._history = [row for row in self._history if row[0] > seconds - SHOWN_SECONDS]

    def _ask(self) -> None:
        """Act on the task that the controls say: at once, or as soon as its policy is optimised."""
        self._asked, self._number = self._chosen(), self._number + 1
        if self.live.playable.any_task:
            self.live.act_on(self._asked, self.live.playable.first)
        self._say()
        self._background.submit(self._study, self._asked, self._number)

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
            self._guarded(lambda: self._compute(task, number))

    def _compute(self, task: np.ndarray, number: int) -> None:
        adapted = self.live.playable.first
        if number and self._curve is None:
            adapted = self.live.playable.adapted(task)
        if number != self._number:
            return
        if not self.live.playable.any_task:
            self._orders.put(lambda: self.live.act_on(task, adapted))
        real = evaluate.real_return(self.live.family, adapted.policies, jax.device_put(task[None]))
        self._known[tuple(task.tolist())] = adapted, float(real.mean())
        self._draw()
        self._orders.put(self._say)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Say on the page why something in the background failed."""
        try:
            work()
        except Exception as error:
            message = str(error) if isinstance(error, OnebodyError) else first_line(error)
            if not isinstance(error, OnebodyError):
                traceback.print_exc()
            self._orders.put(lambda: setattr(self._status, "content", message))

    def _say(self) -> None:
        """Predicted and real return of the newest task, and why the policy or the prediction may be wrong."""
        task, lines, novelty = self._asked, [], 0.0
        adapted, real = self._known.get(tuple(task.tolist()), (None, None))
        if self._curve is not None:
            at = self._curve.at(task[0])
            lines.append(f"predicted return {at.mean:.1f} ({at.low:.1f} to {at.high:.1f})")
            novelty = float(at.novelty)
        elif adapted is not None and adapted.predicted_return is not None:
            interval = adapted.predicted_interval
            between = "" if interval is None else " ({:.1f} to {:.1f})".format(*np.asarray(interval)[0])
            lines.append(f"predicted return {float(adapted.predicted_return[0]):.1f}{between}")
            novelty = 0.0 if adapted.novelty is None else float(adapted.novelty[0])
        elif adapted is None and not self.live.playable.any_task:
            lines.append("optimising a policy for this task inside the model …")
        if real is not None:
            lines.append(f"real return {real:.1f}, mean of ten episodes")
        if novelty > MAX_NOVELTY:
            lines.append("the models disagree about what this policy does, so the prediction may be wrong")
        if not self.live.playable.training_space.contains(task):
            lines.append("outside the space that training sampled tasks from")
        self._status.content = "  \n".join(lines)

    def _save(self) -> None:
        name = "-".join(["policy", *(f"{x:.4g}" for x in self.live.task)])
        names = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
        path = next(path for each in names if not (path := Path(f"{each}.npz")).exists())
        try:
            self._status.content = f"saved: {self.live.save(path).absolute()}"
        except OnebodyError as error:
            self._status.content = str(error)

    def _show_history(self) -> None:
        if len(self._history) < 2:
            return
        import viser.uplot as uplot

        data = tuple(np.ascontiguousarray(column) for column in np.array(self._history).T)
        if self._chart is None:
            name = self.live.family.task_names[0]
            self._chart = self.page.gui.add_uplot(
                data,
                (
                    uplot.Series(label="time (s)"),
                    uplot.Series(label=f"reached: {name}", stroke=COLORS[0], width=2),
                    uplot.Series(label="asked for", stroke=COLORS[1], width=2, dash=(6, 4)),
                ),
                scales={"x": uplot.Scale(time=False, auto=True), "y": uplot.Scale(auto=False, range=self._range())},
                aspect=2.0,
            )
        else:
            self._chart.data = data

    def _range(self) -> tuple[float, float]:
        """Of the axis of what is reached: that of the slider, and as far beyond it again."""
        box = controls.box_around(self.live.family.space) or Box((-1.0,), (1.0,))
        wide = box.widened(1 + 4 * playable.MARGIN)
        return wide.low[0], wide.high[0]

    def _draw(self) -> None:
        """For tasks of one number: the predicted return over the task with its interval, and a dot per real return."""
        if self.live.family.space.size != 1:
            return
        figure = Figure(figsize=(4.4, 2.6), layout="constrained")
        axes = figure.add_subplot(xlabel=self.live.family.task_names[0], ylabel="return")
        if (curve := self._curve) is not None:
            axes.plot(curve.task, curve.mean, color=COLORS[1], label="predicted")
            axes.fill_between(curve.task, curve.low, curve.high, alpha=0.2, color=COLORS[1])
        points = sorted((task[0], adapted, real) for task, (adapted, real) in self._known.items())
        axes.plot(
            [x for x, _, _ in points], [real for *_, real in points], "o", color=COLORS[0], label="real, of 10 episodes"
        )
        predicted = [(x, each.predicted_return[0]) for x, each, _ in points if each.predicted_return is not None]
        if curve is None and predicted:
            axes.plot(*zip(*predicted, strict=True), "_", ms=12, color=COLORS[1], label="predicted")
        space = playable.whole(self.live.playable.training_space)
        if isinstance(space, Box):
            low, high = axes.get_xlim()
            axes.axvspan(min(low, space.low[0]), space.low[0], color="#888888", alpha=0.15, lw=0)
            axes.axvspan(space.high[0], max(high, space.high[0]), color="#888888", alpha=0.15, lw=0)
            axes.set_xlim(low, high)
        axes.legend(frameon=False)
        text = io.StringIO()
        with matplotlib.rc_context({"svg.hashsalt": "onebody", "svg.fonttype": "none"}):
            figure.savefig(text, format="svg", metadata={"Date": None})
        _, _, drawing = text.getvalue().partition("<svg ")
        content = "<svg " + re.sub(r'(width|height)="[^"]*pt"', "", drawing, count=2)
        self._orders.put(lambda: setattr(self._drawing, "content", content))
