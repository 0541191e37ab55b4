"""Charts of the playground."""

import io
import re
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from onebody.algorithms.protocol import Adapted
from onebody.reports import controls
from onebody.runs import playable
from onebody.runs.playable import Curve
from onebody.tasks.family import TaskFamily
from onebody.tasks.space import Box, TaskSpace

SHOWN_SECONDS = 8.0
"""time that the chart of what the robot reaches goes back"""
COLORS = ("#1f6fb5", "#c2571a")
"""of what the robot reached, and of what was asked for or predicted"""


class Reached:
    """What the robot reached lately of the first number of its task, beside what was asked for."""

    def __init__(self, gui: Any, place: Any, family: TaskFamily):
        """`place`: the part of the page that the chart is in."""
        self._gui, self._place, self._family = gui, place, family
        self._rows: list[tuple[float, float, float]] = []
        """time (s), what was reached and what was asked for"""
        self._chart: Any = None

    def add(self, seconds: float, reached: float, asked: float) -> None:
        self._rows.append((seconds, reached, asked))
        self._rows = [row for row in self._rows if row[0] > seconds - SHOWN_SECONDS]

    def clear(self) -> None:
        """Show nothing until something is added."""
        self._rows = []
        if self._chart is not None:
            self._chart.visible = False

    def show(self) -> None:
        if len(self._rows) < 2:
            return
        data = tuple(np.ascontiguousarray(column) for column in np.array(self._rows).T)
        if self._chart is None:
            self._chart = self._new(data)
        self._chart.data, self._chart.visible = data, True

    def _new(self, data: tuple[np.ndarray, ...]) -> Any:
        import viser.uplot as uplot

        box = controls.box_around(self._family.space) or Box((-1.0,), (1.0,))
        wide = box.widened(1 + 4 * playable.MARGIN)  # the range of the slider, and as far beyond it again
        series = (
            uplot.Series(label="time (s)"),
            uplot.Series(label=f"reached: {self._family.task_names[0]}", stroke=COLORS[0], width=2),
            uplot.Series(label="asked for", stroke=COLORS[1], width=2, dash=(6, 4)),
        )
        y = uplot.Scale(auto=False, range=(wide.low[0], wide.high[0]))
        with self._place:
            return self._gui.add_uplot(
                data, series, scales={"x": uplot.Scale(time=False, auto=True), "y": y}, aspect=2.0
            )


def returns(
    curve: Curve | None, known: Mapping[tuple[float, ...], tuple[Adapted, float]], label: str, trained: TaskSpace
) -> str:
    """For tasks of one number: the predicted return over the task with its interval, and a dot per real return; SVG.

    Args:
        known: by task, its policy with what is predicted of it, and its real return.
        label: of the task.
        trained: the space that training sampled tasks from.
    """
    figure = Figure(figsize=(4.4, 2.6), layout="constrained")
    axes = figure.add_subplot(xlabel=label, ylabel="return")
    if curve is not None:
        axes.plot(curve.task, curve.mean, color=COLORS[1], label="predicted")
        axes.fill_between(curve.task, curve.low, curve.high, alpha=0.2, color=COLORS[1])
    points = sorted((task[0], adapted, real) for task, (adapted, real) in known.items())
    axes.plot([x for x, _, _ in points], [y for *_, y in points], "o", color=COLORS[0], label="real, of 10 episodes")
    predicted = [(x, each.predicted_return[0]) for x, each, _ in points if each.predicted_return is not None]
    if curve is None and predicted:
        axes.plot(*zip(*predicted, strict=True), "_", ms=12, color=COLORS[1], label="predicted")
    space = playable.whole(trained)
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
    return "<svg " + re.sub(r'(width|height)="[^"]*pt"', "", drawing, count=2)
