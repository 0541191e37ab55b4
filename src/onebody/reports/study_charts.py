"""The figure of one or more studies."""

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from onebody.reports.study_runs import Runs, Trained, scores
from onebody.runs import log
from onebody.runs.statistics import AGGREGATES, FEWEST, estimate
from onebody.runs.study_file import Study, System
from onebody.tasks import registry

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")
"""of lines, told apart with any colour vision (Okabe and Ito 2008)"""
MAP = "viridis"
"""colours of values on a plane of tasks"""
WIDTH, HEIGHT = 5.2, 4.0
"""size of a chart (inches)"""
AXES = {
    "training": ("real samples of training", "{} return on the tested tasks, stage {}"),
    "adaptation": ("real samples of the task", "{} return on the tested tasks"),
    "learning": ("real samples of training", "return of the real episodes of training"),
    "tasks": ("task ψ", "return on the task, stage {1}"),
}
"""labels of the axes of each kind of chart"""
DOTTED = {"learning": "dotted: before adaptation", "tasks": "dotted: predicted by the model"}
"""what dotted lines are in each kind of chart, where there are any"""
COLUMNS = 3
"""greatest number of studies with one chart each in a row"""
Point = tuple[float | int, list[float]]
"""x, and one y per seed"""


def draw(each: Sequence[Trained]) -> Figure:
    """The charts of one or more studies: a row for each study, or several in a row where each has one chart."""
    rows = [[(trained, chart) for chart in trained.study.charts] for trained in each]
    if all(len(row) == 1 for row in rows):
        panels = [row[0] for row in rows]
        rows = [panels[i : i + COLUMNS] for i in range(0, len(panels), COLUMNS)]
    columns = max(map(len, rows))
    figure = Figure(figsize=(WIDTH * columns, HEIGHT * len(rows)), layout="constrained")
    for places, row in zip(figure.subfigures(len(rows), columns, squeeze=False), rows, strict=True):
        for place, (trained, chart) in zip(places, row, strict=False):
            _panel(place, trained.study, chart, trained.runs)
    return figure


def _panel(place: SubFigure, study: Study, chart: str, found: dict[str, Runs]) -> None:
    """One chart, or for tasks of two numbers a map for each system."""
    if chart == "tasks":
        every = {each.label: found[each.name] for each in study.systems}
        tested = {label: runs for label, runs in every.items() if len(_by_task(study, runs))}
        if any(np.shape(runs.last[0][1][0]["tasks"])[1] == 2 for runs in tested.values()):
            return _maps(place, study, tested)
    _chart(place.subplots(), study, chart, found)


def _maps(place: SubFigure, study: Study, tested: dict[str, Runs]) -> None:
    """Mean return on each task of a plane, and the training tasks as dots."""
    values = {label: _by_task(study, runs) for label, runs in tested.items()}
    scale = {"vmin": min(x.min() for x in values.values()), "vmax": max(x.max() for x in values.values())}
    x, y = registry.make(study.family).task_names
    any_visited = False
    all_axes = place.subplots(1, len(tested), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (label, runs) in zip(all_axes, tested.items(), strict=True):
        tasks = np.array(runs.last[0][1][0]["tasks"])
        size = (WIDTH * 40 / len(tested) / max(math.sqrt(len(tasks)), 5)) ** 2
        axes.scatter(*tasks.T, c=values[label].mean(0), s=size, marker="s", cmap=MAP, **scale)
        visited = [(line["task/1"], line["task/2"]) for run in runs.paths for line in log.read(run) if "task/2" in line]
        any_visited |= bool(visited)
        if visited:
            axes.plot(*zip(*visited, strict=True), ".", ms=3, color=COLORS[1])
        axes.set_title(label, fontsize=8)
        axes.set_xlabel(x, fontsize=8)
        axes.set_box_aspect(1)
    all_axes[0].set_ylabel(y, fontsize=8)
    dots = "; dots: training tasks" if any_visited else ""
    place.suptitle(f"{study.name}: mean return on each task{dots}", fontsize=9)
    place.colorbar(ScalarMappable(Normalize(**scale), MAP), ax=list(all_axes), shrink=0.7)


def _by_task(study: Study, runs: Runs) -> np.ndarray:
    """Mean returns [seed, task] at the stage that is drawn; empty if a run was not tested at that stage."""
    stage = study.test.training_stages
    return scores(runs.last, stage) if all(stage < len(stages) for _, stages in runs.last) else np.empty((0, 0))


def _chart(axes: Axes, study: Study, chart: str, found: dict[str, Runs]) -> None:
    colors = dict(zip((system.name for system in study.systems), COLORS * len(study.systems), strict=False))
    lines = {name: list(CHARTS[chart](runs, study)) for name, runs in found.items()}
    labels = {each.name: _label(each, found[each.name]) for each in study.systems}
    published = [each for each in study.published if each.chart == chart]
    values = [x for points in (*lines.values(), *(each.points for each in published)) for x, _ in points if x > 0]
    wide = bool(values) and max(values) > 20 * min(values)
    if chart == "adaptation" and wide:
        axes.set_xscale("symlog", linthresh=min(values))
    if chart in ("training", "learning") and wide:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(values) < 100 * min(values) else (1,)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        lines = {name: [point for point in points if point[0] > 0] for name, points in lines.items()}
    for name, points in lines.items():
        if points:
            _line(axes, points, colors[name], labels[name])
    dotted = _dotted(chart, study, found)
    for name, points in dotted.items():
        axes.plot(*zip(*points, strict=True), ":", lw=1, color=colors[name])
    for each in published:
        style = {"ls": "--", "lw": 1.2, "color": colors.get(each.like, "0.4"), "label": each.label}
        if math.isfinite(each.value):
            axes.axhline(each.value, **style)
        if each.points:
            axes.plot(*zip(*each.points, strict=True), marker="x", ms=4, **style)
    x, y = AXES[chart]
    if chart == "tasks":
        x = registry.make(study.family).task_names[0]
    metric = "worst task's" if study.metric == "worst" else study.metric
    axes.set(xlabel=x, ylabel=y.format(metric, study.test.training_stages))
    axes.set_title("\n".join(textwrap.wrap(f"{study.name}: {study.title}", 64)), fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    if chart != "tasks":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, frameon=False, title=DOTTED[chart] if dotted else None, title_fontsize=7)


def _label(system: System, runs: Runs) -> str:
    """The system, the number of its seeds, and how many of them diverged."""
    n = len(runs.paths)
    diverged = f", {runs.diverged} diverged" if runs.diverged else ""
    return f"{system.label} ({n} seed{'s' if n != 1 else ''}{diverged})"


def _line(axes: Axes, points: Sequence[Point], color: str, label: str) -> None:
    """Means over seeds against x, with the 95% interval, or with the range and the points of few seeds.

    A horizontal line for a system whose tests all have the same x: it takes no samples of a task.
    """
    x = [at for at, _ in points]
    found = [estimate(np.array(values)) for _, values in points]
    low, high = np.transpose([each.interval or each.range for each in found])
    if len(x) > 1 and len(set(x)) == 1:
        axes.axhline(found[-1].value, color=color, label=label)
        axes.axhspan(low[-1], high[-1], color=color, alpha=0.18, lw=0)
        return
    for at, values in points if len(points) < 30 else ():
        if 1 < len(values) < FEWEST:
            axes.plot([at] * len(values), values, ".", ms=3, color=color, alpha=0.5)
    marker = "o" if len(x) < 30 else None
    axes.plot(x, [each.value for each in found], marker=marker, ms=3.5, color=color, label=label)
    axes.fill_between(x, low, high, color=color, alpha=0.18, lw=0)


def _dotted(chart: str, study: Study, found: dict[str, Runs]) -> dict[str, list[tuple[float, float]]]:
    """What `DOTTED` says, by the names of the systems that have it."""
    lines = {}
    for name, runs in found.items():
        if chart == "learning" and _adapts(runs):
            lines[name] = [(float(x), float(np.mean(ys))) for x, ys in _curves(runs, "real/return")]
        if chart == "tasks" and _by_task(study, runs).size:
            stage = study.test.training_stages
            predicted = np.array([stages[stage]["predicted"] for _, stages in runs.last], float).mean(0)
            tasks = np.array(runs.last[0][1][stage]["tasks"])[:, 0]
            lines[name] = sorted(zip(tasks.tolist(), predicted.tolist(), strict=True))
    return {name: points for name, points in lines.items() if points and np.isfinite(points).all()}


def _adaptation(runs: Runs, study: Study) -> Iterator[Point]:
    for stages in zip(*(stages for _, stages in runs.last), strict=False):
        yield stages[0]["adaptation_samples"], [_aggregate(stage, study.metric) for stage in stages]


def _training(runs: Runs, study: Study) -> Iterator[Point]:
    """Where all runs were tested after as many samples, at the stage that is drawn."""
    for samples in sorted(set.intersection(*map(set, runs.tests))) if runs.tests else []:
        at, stage = [tests[samples] for tests in runs.tests], study.test.training_stages
        if all(stage < len(stages) for stages in at):
            yield samples, [_aggregate(stages[stage], study.metric) for stages in at]


def _aggregate(stage: dict[str, Any], metric: str) -> float:
    """Of the tasks' mean returns."""
    return float(AGGREGATES[metric](np.mean(stage["returns"], axis=1)[None])[0])


def _learning(runs: Runs, study: Study) -> Iterator[Point]:
    """Returns after adaptation, for an algorithm that adapts in its real episodes."""
    return _curves(runs, "real/adapted_return" if _adapts(runs) else "real/return")


def _adapts(runs: Runs) -> bool:
    """Whether an algorithm adapts in its real episodes of training."""
    logs = [*map(log.read, runs.paths)]
    return bool(logs) and all(lines and "real/adapted_return" in lines[-1] for lines in logs)


def _curves(runs: Runs, metric: str) -> Iterator[Point]:
    """A metric of training where all runs have a line with as many samples."""
    curves = [
        {line["real/samples"]: line[metric] for line in log.read(run) if {"real/samples", metric} <= line.keys()}
        for run in runs.paths
    ]
    for samples in sorted(set.intersection(*map(set, curves))) if curves else []:
        yield samples, [curve[samples] for curve in curves]


def _tasks(runs: Runs, study: Study) -> Iterator[Point]:
    """The return on each task, in the order of the tasks' first number."""
    if (scores := _by_task(study, runs)).size:
        tasks = np.array(runs.last[0][1][0]["tasks"])[:, 0]
        for i in np.argsort(tasks):
            yield float(tasks[i]), scores[:, i].tolist()


CHARTS: dict[str, Callable[[Runs, Study], Iterator[Point]]] = {
    "adaptation": _adaptation,
    "training": _training,
    "learning": _learning,
    "tasks": _tasks,
}
"""by kind of chart: the points of a line, from a system's runs"""
