"""Charts of the playground."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from onebody.algorithms.protocol import Adapted
from onebody.core.gaussian import Gaussian
from onebody.runs import playable
from onebody.runs.playable import Curve
from onebody.tasks.family import TaskFamily
from onebody.tasks.space import Arc, Box, TaskSpace, box_around, whole

SHOWN_SECONDS = 8.0
"""time that the chart of what the robot reaches goes back"""
BELIEF_SECONDS = 30.0
"""time that the charts of a belief go back"""
COLORS = ("#1f6fb5", "#c2571a")
"""of what the robot reached or believes, and of what was asked for, predicted or is true"""
ASKED = {"stroke": COLORS[1], "width": 2, "dash": (6, 4)}
"""line of what was asked for or is true"""


class History:
    """Lines over the last seconds."""

    def __init__(
        self,
        gui: Any,
        place: Any,
        lines: Sequence[dict[str, Any]],
        y: tuple[float, float],
        seconds: float,
        aspect: float = 2.0,
    ):
        """
        Args:
            place: the part of the page that the chart is in.
            lines: options of `viser.uplot.Series`.
            y: range of values.
            seconds: how far the chart goes back.
            aspect: width relative to height.
        """
        self._gui, self._place, self._lines = gui, place, lines
        self._y, self._seconds, self._aspect = y, seconds, aspect
        self._rows: list[tuple[float, ...]] = []
        """time (s), and the value of each line"""
        self._chart: Any = None

    def add(self, seconds: float, *values: float) -> None:
        self._rows.append((seconds, *values))
        self._rows = [row for row in self._rows if row[0] > seconds - self._seconds]

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

        series = (uplot.Series(label="time (s)"), *(uplot.Series(**line) for line in self._lines))
        scales = {"x": uplot.Scale(time=False, auto=True), "y": uplot.Scale(auto=False, range=self._y)}
        with self._place:
            return self._gui.add_uplot(data, series, scales=scales, aspect=self._aspect)


class Reached(History):
    """What the robot reached lately of the first number of its task, or the angle of a direction, beside what was asked
    for."""

    def __init__(self, gui: Any, place: Any, family: TaskFamily):
        self._is_angle = isinstance(whole(family.space), Arc)
        name = "direction (°)" if self._is_angle else next(iter(family.task_names), "")
        lines = {"label": f"reached: {name}", "stroke": COLORS[0], "width": 2}, {"label": "asked for", **ASKED}
        box = box_around(family.space) or Box((-1.0,), (1.0,))
        wide = box.widened(1 + 4 * playable.MARGIN)  # the range of the slider, and as far beyond it again
        y = (-180.0, 540.0) if self._is_angle else (wide.low[0], wide.high[0])
        super().__init__(gui, place, lines, y, SHOWN_SECONDS)

    def follow(self, seconds: float, reached: np.ndarray, asked: np.ndarray) -> None:
        """After a step, which reached [feature] where [feature] was asked for."""
        if self._is_angle:
            of_task = math.degrees(math.atan2(asked[1], asked[0])) % 360
            away = math.degrees(math.atan2(reached[1], reached[0])) - of_task
            self.add(seconds, of_task + (away + 180) % 360 - 180, of_task)
        else:
            self.add(seconds, float(reached[0]), float(asked[0]))


class Beliefs:
    """Mean and standard deviation of a belief since it began, in a chart for each number."""

    def __init__(self, gui: Any, place: Any, ranges: Mapping[str, tuple[float, float]], of_task: bool):
        """`ranges`: of the charts, by their labels; `of_task`: whether the true values are shown, too."""
        edge, truth = {"stroke": COLORS[0], "width": 1}, [{"label": "true", **ASKED}] if of_task else []
        self._charts = []
        for name, y in ranges.items():
            mean = {"label": f"believed: {name}", "stroke": COLORS[0], "width": 2}
            lines = [mean, {"label": "- std", **edge}, {"label": "+ std", **edge}, *truth]
            self._charts.append(History(gui, place, lines, y, BELIEF_SECONDS, aspect=3.0))

    def add(self, seconds: float, belief: Gaussian, task: np.ndarray | None) -> None:
        """`task`: the true one, if it is shown."""
        std = np.exp(belief.log_std)
        lines = [belief.mean, belief.mean - std, belief.mean + std] + ([] if task is None else [task])
        for chart, values in zip(self._charts, np.stack(lines, axis=1).tolist(), strict=True):
            chart.add(seconds, *values)

    def clear(self) -> None:
        for chart in self._charts:
            chart.clear()

    def show(self) -> None:
        for chart in self._charts:
            chart.show()


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
        if curve.low is not None and curve.high is not None:
            axes.fill_between(curve.task, curve.low, curve.high, alpha=0.2, color=COLORS[1])
    points = sorted((task[0], adapted, real) for task, (adapted, real) in known.items())
    axes.plot([x for x, _, _ in points], [y for *_, y in points], "o", color=COLORS[0], label="real, of 10 episodes")
    predicted = [(x, each.predicted_return[0]) for x, each, _ in points if each.predicted_return is not None]
    if curve is None and predicted:
        axes.plot(*zip(*predicted, strict=True), "_", ms=12, color=COLORS[1], label="predicted")
    space = whole(trained)
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
