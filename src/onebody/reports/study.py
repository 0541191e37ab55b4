"""A study's figure (SVG and PNG), its table and its page, from the raw results in its folder."""

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from onebody.runs import folder, log, studies
from onebody.runs.jobs import DIVERGED
from onebody.runs.statistics import AGGREGATES, FEWEST, Estimate, estimate, mean, worst
from onebody.runs.studies import Study, System
from onebody.tasks import registry

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")
"""of lines, told apart with any colour vision (Okabe and Ito 2008)"""
WIDTH, HEIGHT = 5.2, 4.0
"""size of a chart (inches)"""
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
"""what stands between these lines of a README is replaced"""
AXES = {
    "training": ("real samples of training", "{} return on the tested tasks, stage 0"),
    "adaptation": ("real samples of the task", "{} return on the tested tasks"),
    "learning": ("real samples of training", "return of the real episodes of training"),
}
"""labels of the axes of each kind of chart"""
Point = tuple[float | int, list[float]]
"""x, and one y per seed"""


@dataclass(frozen=True)
class Runs:
    """The runs of one system of a study."""

    paths: tuple[Path, ...]
    """in the order of their seeds"""
    tests: tuple[dict[int, list[dict[str, Any]]], ...]
    """for each run its tests on the study's tasks, by real samples of training"""

    @property
    def diverged(self) -> int:
        """Number of runs that diverged."""
        return sum((path / DIVERGED).exists() for path in self.paths)

    @property
    def last(self) -> list[tuple[int, list[dict[str, Any]]]]:
        """Real samples and stages of the last test of each run that was tested."""
        return [max(tests.items()) for tests in self.tests if tests]


def runs_of(study: Study, system: System, out: Path) -> Runs:
    """The runs of a system that have at least one iteration, or were tested."""
    tasks = study.test.of(registry.make(study.family).tested).tolist()
    found = [(path, studies.tests(path, tasks)) for path in studies.seeds_of(system.name, out).values()]
    begun = [(path, tests) for path, tests in found if tests or log.read(path)]
    return Runs(tuple(path for path, _ in begun), tuple(tests for _, tests in begun))


def write(study: Study, out: Path) -> dict[str, Path]:
    """Write the figure as SVG and PNG and a page, all named after the study, into its folder; paths by kind.

    The page is `README.md` if there is none yet, or if it has the lines BEGIN and END: what stands between them is
    replaced.
    """
    figure, name = draw([study], [out]), study.name.replace("/", "-")
    paths = {kind: out / f"{name}.{kind}" for kind in ("svg", "png")}
    with matplotlib.rc_context({"svg.hashsalt": study.name}):
        figure.savefig(paths["svg"], metadata={"Date": None})
    figure.savefig(paths["png"], dpi=150)
    readme = out / "README.md"
    text = readme.read_text() if readme.exists() else f"# {study.name}: {study.title}\n\n{BEGIN}\n{END}\n"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        readme, before, after = out / f"{name}.md", f"# {study.name}: {study.title}\n\n", "\n"
    readme.write_text(f"{before}{BEGIN}\n{page(study, out, paths['svg'].name)}\n{END}{after}")
    return {**paths, "page": readme}


def page(study: Study, out: Path, figure: str) -> str:
    """Figure, table and sources, in Markdown."""
    lines = [f"![figure]({figure})"]
    if study.claim:
        lines.append(f"The claim of {study.paper} that this examines: {study.claim}")
    lines += [table(study, out), brackets(study)]
    if study.published:
        lines.append("\n".join(f"* {each.label}: {each.source}" for each in study.published))
    return "\n\n".join([*lines, settings(study, out)])


def brackets(study: Study) -> str:
    """What the brackets of the table and the bands of the figure are."""
    return (
        "Mean return over the tested tasks, then over seeds; worst task: the lowest mean return of any task of each "
        f"seed. Brackets and bands: the 95% interval of the mean over {FEWEST} or more seeds, or the values of fewer."
    )


def settings(study: Study, out: Path) -> str:
    """A line for each system on how its runs were trained."""
    lines = []
    for system in study.systems:
        for path in runs_of(study, system, out).paths[:1]:
            lines.append(f"* {system.label}: `{folder.command(folder.read_config(path)).partition('  #')[0]}`")
    return "\n".join(lines)


def table(study: Study, out: Path) -> str:
    """One row per system that was tested, with the mean return at each stage, and the worst task's at the last one."""
    shown = _shown_stages(study.test.stages)
    header = ["", "real samples", "seeds", *(f"stage {i}" for i in shown), "samples per stage", "worst task"]
    rows = [header, *filter(None, (_row(system, runs_of(study, system, out), shown) for system in study.systems))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    rows.insert(1, ["-" * width for width in widths])
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    published = [f"{each.label}: {_numbers(each)}" for each in study.published if each.chart == "adaptation"]
    return "\n".join([f"| {line} |" for line in lines] + (["", "; ".join(published)] if published else []))


def _numbers(published: studies.Published) -> str:
    if math.isfinite(published.value):
        return f"{published.value:g}"
    return ", ".join(f"{y:g} after {x:,.0f} samples of the task" for x, y in published.points)


def _shown_stages(last: int) -> list[int]:
    """All stages, or of more than six the first, every fifth and the last."""
    return list(range(last + 1)) if last <= 6 else sorted({0, 1, last, *range(5, last, 5)})


def _row(system: System, runs: Runs, shown: Sequence[int]) -> list[str]:
    tested = runs.last
    if not tested:
        return []
    samples = sorted({n for n, _ in tested})
    seeds = f"{len(tested)}{f' ({runs.diverged} diverged)' if runs.diverged else ''}"
    cells = [system.label, " to ".join(f"{n:,}" for n in dict.fromkeys((samples[0], samples[-1]))), seeds]
    n_stages = min(len(stages) for _, stages in tested)
    cells += [_shown(estimate(mean(_scores(tested, i)))) if i < n_stages else "" for i in shown]
    each = tested[0][1][1]["adaptation_samples"] if n_stages > 1 else 0
    worst_task = _shown(estimate(worst(_scores(tested, shown[-1])))) if shown[-1] < n_stages else ""
    return [*cells, f"{each:,}" if n_stages > 1 else "", worst_task]


def _scores(tested: Sequence[tuple[int, Any]], stage: int) -> np.ndarray:
    """Mean returns [seed, task] at a stage."""
    return np.array([np.mean(stages[stage]["returns"], axis=1) for _, stages in tested])


def _shown(value: Estimate) -> str:
    """A mean with its interval, or with the values of few seeds."""
    if value.interval is not None:
        return f"{value.value:.1f} ({value.interval[0]:.1f} to {value.interval[1]:.1f})"
    if len(value.by_seed) == 1:
        return f"{value.value:.1f}"
    return f"{value.value:.1f} ({' '.join(f'{x:.1f}' for x in value.by_seed)})"


def draw(each: Sequence[Study], folders: Sequence[Path]) -> Figure:
    """The charts of one or more studies, a row for each study."""
    columns = max(len(study.charts) for study in each)
    figure = Figure(figsize=(WIDTH * columns, HEIGHT * len(each)), layout="constrained")
    grid = figure.subplots(len(each), columns, squeeze=False)
    for row, study, out in zip(grid, each, folders, strict=True):
        for axes in row[len(study.charts) :]:
            axes.set_axis_off()
        for axes, chart in zip(row, study.charts, strict=False):
            _chart(axes, study, chart, out)
    return figure


def _chart(axes: Axes, study: Study, chart: str, out: Path) -> None:
    colors = dict(zip((system.name for system in study.systems), COLORS * len(study.systems), strict=False))
    lines = {each.name: list(CHARTS[chart](runs_of(study, each, out), study.metric)) for each in study.systems}
    labels = {each.name: _label(each, runs_of(study, each, out)) for each in study.systems}
    published = [each for each in study.published if each.chart == chart]
    values = [x for points in (*lines.values(), *(each.points for each in published)) for x, _ in points if x > 0]
    if chart != "adaptation" and values and max(values) > 30 * min(values):
        axes.set_xscale("log")
        lines = {name: [point for point in points if point[0] > 0] for name, points in lines.items()}
    for name, points in lines.items():
        if points:
            _line(axes, points, colors[name], labels[name])
    for each in published:
        style = {"ls": "--", "lw": 1.2, "color": colors.get(each.like, "0.4"), "label": each.label}
        if math.isfinite(each.value):
            axes.axhline(each.value, **style)
        if each.points:
            axes.plot(*zip(*each.points, strict=True), marker="x", ms=4, **style)
    x, y = AXES[chart]
    axes.set(xlabel=x, ylabel=y.format("worst task's" if study.metric == "worst" else study.metric))
    axes.set_title("\n".join(textwrap.wrap(f"{study.name}: {study.title}", 56)), fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, frameon=False)


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


def _adaptation(runs: Runs, metric: str) -> Iterator[Point]:
    for stages in zip(*(stages for _, stages in runs.last), strict=False):
        yield stages[0]["adaptation_samples"], [_aggregate(stage, metric) for stage in stages]


def _training(runs: Runs, metric: str) -> Iterator[Point]:
    """Where all runs were tested after as many samples."""
    for samples in sorted(set.intersection(*map(set, runs.tests))) if runs.tests else []:
        yield samples, [_aggregate(tests[samples][0], metric) for tests in runs.tests]


def _aggregate(stage: dict[str, Any], metric: str) -> float:
    """Of the tasks' mean returns."""
    return float(AGGREGATES[metric](np.mean(stage["returns"], axis=1)[None])[0])


def _learning(runs: Runs, metric: str) -> Iterator[Point]:
    """Where all runs have a line with as many samples."""
    curves = [{line["real/samples"]: line["real/return"] for line in log.read(run)} for run in runs.paths]
    for samples in sorted(set.intersection(*map(set, curves))) if curves else []:
        yield samples, [curve[samples] for curve in curves]


CHARTS: dict[str, Callable[[Runs, str], Iterator[Point]]] = {
    "adaptation": _adaptation,
    "training": _training,
    "learning": _learning,
}
"""by kind of chart: the points of a line, from a system's runs and the name of an aggregate"""
