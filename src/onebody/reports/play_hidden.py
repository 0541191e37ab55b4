"""The playground of a robot that is not told its task: it acts, and the page shows what it believes of the task."""

import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from onebody.core.errors import NotFinite
from onebody.core.gaussian import Gaussian
from onebody.reports import controls, play_charts, scene
from onebody.runs.adapt import doubts
from onebody.runs.hidden import LEARNING_STAGES, Adapting
from onebody.runs.playable import MARGIN
from onebody.tasks.body import MujocoBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.limits import bare

FRAMES = 25
"""images of the robot per second"""
EVERY = 5
"""images between two updates of charts and text"""
RETURNS = 5
"""number of episodes whose returns are shown"""
LATENT_RANGE = -2.0, 2.0
"""of the charts of a latent whose prior is N(0, 1)"""


class Playground:
    """The page of one robot that adapts to a task that it is not told.

    A thread in the background moves the robot. The thread of `serve` shows it, and knows the newest order of the page's
    controls.
    """

    def __init__(self, page: Any, live: Adapting):
        """`page`: a `viser.ViserServer`."""
        self.page, self.live = page, live
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._background = ThreadPoolExecutor(1)
        self._number = 0
        """how many times the robot was asked to begin"""
        self._tries, self._began = 0, time.monotonic()
        """of the robot, as the charts show it"""
        self._scene = scene.of(page, live)
        self._build()
        self._begin()

    def serve(self, on_ready: Callable[[], None], until: Callable[[], bool] = lambda: False) -> None:
        """Show the robot, and what it believes."""
        self._scene.show()
        on_ready()
        images = 0
        try:
            while not until():
                while not self._orders.empty():
                    self._orders.get()()
                self._scene.show()
                self._add()
                images += 1
                if images % EVERY == 0:
                    self._show()
                time.sleep(1 / FRAMES)
        finally:
            self._number = -1  # stops the robot
            self._background.shutdown(wait=False, cancel_futures=True)

    def _build(self) -> None:
        gui, family = self.page.gui, self.live.family
        gui.configure_theme(control_width="large", show_logo=False, show_share_button=False)
        gui.add_html(controls.text(f"{family.id}: {self.live.title}"))
        self._chosen = controls.add(
            gui, family.space, family.task_names, self.live.task, lambda: self._orders.put(self._begin)
        )
        gui.add_html(
            controls.text(
                "The robot is not told this task: it sees rewards alone. Another task and forget begin again with what "
                "the robot believes before its first reward."
            )
        )
        buttons = {} if self.live.infers else {"save policy": self._save}
        if isinstance(bare(family.body), MujocoBody):
            buttons = {"push": self.live.push} | buttons
        controls.add_buttons(gui, {"forget": self._begin} | buttons, self._orders.put)
        self._status, self._message = gui.add_html(""), gui.add_html("")
        charts = gui.add_panel()
        charts.float(x=15, y=-15, width=340)
        tab = charts.add_tab("charts")
        self._beliefs = play_charts.Beliefs(gui, tab, _ranges(self.live), self.live.infers)
        self._reached = play_charts.Reached(gui, tab, family)

    def _begin(self) -> None:
        """Adapt to the task that the controls say, from the prior on."""
        self._number += 1
        self._message.content = ""
        self._background.submit(self._adapt, self._chosen(), self._number)

    def _adapt(self, task: np.ndarray, number: int) -> None:
        """In the background."""
        try:
            self.live.adapt(task, lambda: number != self._number)
        except Exception as error:
            again = "; to begin again: forget" if isinstance(error, NotFinite) else ""
            message = controls.explained(error) + again
            self._orders.put(lambda: self._tell(message))

    def _add(self) -> None:
        """Extend the charts."""
        if self._tries != self.live.tries:
            self._tries, self._began = self.live.tries, time.monotonic()
            self._beliefs.clear()
            self._reached.clear()
        seconds, task = time.monotonic() - self._began, self.live.task
        if (belief := self.live.belief) is not None:
            self._beliefs.add(seconds, belief, task if self.live.infers else None)
        if self.live.acting and (achieved := self.live.achieved) is not None:
            self._reached.follow(seconds, achieved, task)

    def _show(self) -> None:
        self._beliefs.show()
        self._reached.show()
        self._status.content = controls.text(*self._lines(self.live.belief))

    def _lines(self, belief: Gaussian | None) -> Iterator[str]:
        live, returns = self.live, self.live.returns
        if live.acting:
            learns = "" if len(returns) < LEARNING_STAGES else ", without learning more"
            yield f"episode {len(returns) + 1}{learns}"
        else:
            yield f"learning from episode {len(returns)} …" if returns else "preparing …"
        if returns:
            yield f"real return: {', '.join(f'{x:.1f}' for x in returns[-RETURNS:])} (last episode)"
        if belief is not None and live.infers:
            numbers = zip(live.family.task_names, belief.mean, np.exp(belief.log_std), live.task, strict=True)
            yield from (
                f"{name}: {mean:.2f} ± {std:.2g} believed, {true:.2f} true" for name, mean, std, true in numbers
            )
        yield from doubts(live.training_space, live.task, None)

    def _tell(self, message: str) -> None:
        self._message.content = controls.text(message)

    def _save(self) -> None:
        self._tell(controls.saved(self.live.save, self.live.task))


def _ranges(live: Adapting) -> dict[str, tuple[float, float]]:
    """Of the charts of the belief, by their labels."""
    if live.infers:
        return dict(zip(live.family.task_names, _reach(live.family), strict=True))
    belief = live.belief
    return {} if belief is None else {f"latent {i + 1}": LATENT_RANGE for i in range(len(belief.mean))}


def _reach(family: TaskFamily) -> list[tuple[float, float]]:
    """Lowest and highest value of each number of the tasks that sliders reach."""
    tasks = np.asarray(family.space.sample(jax.random.key(0), 1024))
    low, high = tasks.min(0), tasks.max(0)
    margin = MARGIN * (high - low)
    return list(zip((low - margin).tolist(), (high + margin).tolist(), strict=True))
