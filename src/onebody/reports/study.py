"""A study's figure (SVG and PNG), its table and its page, from the raw results in its folder."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from onebody.runs import folder, log, studies
from onebody.runs.statistics import AGGREGATES, FEWEST, Estimate, estimate, mean, worst
from onebody.runs.studies import Study, System

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")
"""of lines, told apart with any colour vision (Okabe and Ito 2008)"""
WIDTH, HEIGHT = 5.2, 4.0
"""size of a chart (inches)"""
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
"""what stands between these lines of a README is replaced"""
AXES = {
    "training": ("real samples of training", "{} return before any sample of the task"),
    "adaptation": ("real samples of the task", "{} return on the tested tasks"),
    "learning": ("real samples", "return of the real episodes"),
}
"""labels of the axes of each kind of chart"""
Point = tuple[float | int, list[float]]
"""x, and one y per seed"""


def runs_of(study: Study, system: System, out: Path) -> list[Path]:
    """Run folders of a system, in the order of their seeds."""
    found = [path for path in out.glob(f"{system.name}-s*") if (path / folder.CONFIG).exists()]
    return sorted(found, key=lambda path: int(path.name.rpartition("-s")[2]))


def write(study: Study, out: Path) -> dict[str, Path]:
    """Write `figure.svg`, `figure.png` and the results in `README.md` into a study's folder; paths by kind."""
    figure = draw([study], [out])
    paths = {kind: out / f"figure.{kind}" for kind in ("svg", "png")}
    with matplotlib.rc_context({"svg.hashsalt": study.name}):
        figure.savefig(paths["svg"], metadata={"Date": None})
    figure.savefig(paths["png"], dpi=150)
    readme = out / "README.md"
    text = readme.read_text() if readme.exists() else f"# {study.name}: {study.title}\n\n{BEGIN}\n{END}\n"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        readme.write_text(f"{before}{BEGIN}\n{page(study, out)}\n{END}{after}")
    return {**paths, "page": readme}


def page(study: Study, out: Path) -> str:
    """Figure, table and sources, in Markdown."""
    lines = [f"![figure](figure.svg)\n\n{study.paper}. {study.claim}".rstrip(), table(study, out)]
    few = any(0 < len(runs_of(study, system, out)) < FEWEST for system in study.systems)
    shown = "the points and range of fewer" if few else "none with fewer"
    lines.append(f"Bands and brackets: 95% interval of the mean over {FEWEST} or more seeds; {shown}.")
    lines += [f"* {each.label}: {each.source}" for each in study.published]
    return "\n\n".join(lines[:3]) + ("\n\n" + "\n".join(lines[3:]) if lines[3:] else "")


def table(study: Study, out: Path) -> str:
    """One row per system that was tested, with the mean return at each stage, and the worst task's at the last one."""
    header = ["", "samples of training", "seeds", *(f"stage {i}" for i in range(study.test.stages + 1)), "worst task"]
    rows = [header, ["---"] * len(header), *filter(None, (_row(study, system, out) for system in study.systems))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(study: Study, system: System, out: Path) -> list[str]:
    tested = [max(found.items()) for run in runs_of(study, system, out) if (found := studies.tests(run))]
    if not tested:
        return []
    samples = sorted({n for n, _ in tested})
    cells = [system.label, " to ".join(f"{n:,}" for n in dict.fromkeys((samples[0], samples[-1]))), str(len(tested))]
    n_stages = min(len(stages) for _, stages in tested)
    for i in range(study.test.stages + 1):
        cells.append(_shown(estimate(mean(_scores(tested, i)))) if i < n_stages else "")
    return [*cells, _shown(estimate(worst(_scores(tested, n_stages - 1))))]


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
    labels = {each.name: each.label for each in study.systems}
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
    axes.set_title(f"{study.name}: {study.title}", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, frameon=False)


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
    for at, values in points:
        if 1 < len(values) < FEWEST:
            axes.plot([at] * len(values), values, ".", ms=3, color=color, alpha=0.5)
    axes.plot(x, [each.value for each in found], marker="o" if len(x) < 30 else None, ms=3.5, color=color, label=label)
    axes.fill_between(x, low, high, color=color, alpha=0.18, lw=0)


def _adaptation(runs: Sequence[Path], metric: str) -> Iterator[Point]:
    tested = [max(found.items())[1] for run in runs if (found := studies.tests(run))]
    for stages in zip(*tested, strict=False):
        yield stages[0]["adaptation_samples"], [_aggregate(stage, metric) for stage in stages]


def _training(runs: Sequence[Path], metric: str) -> Iterator[Point]:
    tested = [studies.tests(run) for run in runs]
    for samples in sorted({n for each in tested for n in each}):
        yield samples, [_aggregate(each[samples][0], metric) for each in tested if samples in each]


def _aggregate(stage: dict[str, Any], metric: str) -> float:
    """Of the tasks' mean returns."""
    return float(AGGREGATES[metric](np.mean(stage["returns"], axis=1)[None])[0])


def _learning(runs: Sequence[Path], metric: str) -> Iterator[Point]:
    """Where all runs have a line with as many samples."""
    curves = [{line["real/samples"]: line["real/return"] for line in log.read(run)} for run in runs]
    for samples in sorted(set.intersection(*map(set, curves))) if curves else []:
        yield samples, [curve[samples] for curve in curves]


CHARTS: dict[str, Callable[[Sequence[Path], str], Iterator[Point]]] = {
    "adaptation": _adaptation,
    "training": _training,
    "learning": _learning,
}
"""by kind of chart: the points of a line, from a system's run folders, each x with one y per seed"""
