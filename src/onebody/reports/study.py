"""The figure (SVG and PNG), the tables and the page of one or more studies, from the raw results in their folders."""

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from onebody.runs import evaluate, folder, log, studies
from onebody.runs.jobs import DIVERGED
from onebody.runs.statistics import AGGREGATES, FEWEST, Estimate, estimate, mean, worst
from onebody.runs.study_file import Published, Study, System
from onebody.tasks import registry

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")
"""of lines, told apart with any colour vision (Okabe and Ito 2008)"""
MAP = "viridis"
"""colours of values on a plane of tasks"""
WIDTH, HEIGHT = 5.2, 4.0
"""size of a chart (inches)"""
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
"""what stands between these lines of a README is replaced"""
AXES = {
    "training": ("real samples of training", "{} return on the tested tasks, stage {}"),
    "adaptation": ("real samples of the task", "{} return on the tested tasks"),
    "learning": ("real samples of training", "return of the real episodes of training"),
    "tasks": ("task ψ", "return on the task, stage {1}"),
}
"""labels of the axes of each kind of chart"""
DOTTED = {"learning": "dotted: before adaptation", "tasks": "dotted: predicted by the model"}
"""what dotted lines are in each kind of chart, where there are any"""
OURS = ("onebody", "ours")
"""papers of studies that examine no publication"""
COLUMNS = 3
"""greatest number of studies with one chart each in a row"""
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
        """Real samples and stages of the last test of each run that was tested: after as many samples as all of them
        were tested after, if there is such a test after training began."""
        tested = [tests for tests in self.tests if tests]
        if common := max(set.intersection(*map(set, tested)), default=0) if tested else 0:
            return [(common, tests[common]) for tests in tested]
        return [max(tests.items()) for tests in tested]


def runs_of(study: Study, system: System, out: Path) -> Runs:
    """The runs of a system that have at least one iteration, or were tested."""
    tasks = study.test.of(registry.make(study.family).tested).tolist()
    folder, name = studies.place_of(study, system, out)
    found = [(path, studies.tests(path, tasks)) for path in studies.seeds_of(name, folder).values()]
    limit = math.inf if study.up_to is None else study.up_to
    found = [(path, {n: test for n, test in tests.items() if n <= limit}) for path, tests in found]
    begun = [(path, tests) for path, tests in found if tests or log.read(path)]
    return Runs(tuple(path for path, _ in begun), tuple(tests for _, tests in begun))


def write(name: str, each: Sequence[Study], folders: Sequence[Path], out: Path) -> dict[str, Path]:
    """Write the figure of one or more studies as SVG and PNG and a page, all called `name`; paths by kind.

    The page is `README.md` if there is none yet, or if it has the lines BEGIN and END: what stands between them is
    replaced.

    Args:
        folders: of the studies' runs.
        out: folder of the figure and the page.
    """
    out.mkdir(parents=True, exist_ok=True)
    figure, name = draw(each, folders), studies.file_name(name)
    paths = {kind: out / f"{name}.{kind}" for kind in ("svg", "png")}
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(paths["svg"], metadata={"Date": None})
    figure.savefig(paths["png"], dpi=150)
    title = f"# {name}: {each[0].title}" if len(each) == 1 else f"# {name}: {each[0].paper}"
    readme = out / "README.md"
    text = readme.read_text() if readme.exists() else f"{title}\n\n{BEGIN}\n{END}\n"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        readme, before, after = out / f"{name}.md", f"{title}\n\n", "\n"
    readme.write_text(f"{before}{BEGIN}\n{page(each, folders, paths['svg'].name)}\n{END}{after}")
    return {**paths, "page": readme}


def page(each: Sequence[Study], folders: Sequence[Path], figure: str) -> str:
    """Figure, tables and sources, in Markdown."""
    lines = [f"![figure]({figure})"]
    lines += [
        f"Claim under test{'' if s.paper in OURS else f' ({s.paper})'}: {s.claim}"
        for s in {s.claim: s for s in each if s.claim}.values()
    ]
    for study, out in zip(each, folders, strict=True):
        if len(each) > 1:
            lines.append(f"### {study.name}: {study.title}")
        lines.append(table(study, out))
        if study.published:
            lines.append("\n".join(f"* {each.label}: {each.source}" for each in study.published))
    if any(line.startswith("|") for line in lines):
        lines.append(brackets())
    commands = dict.fromkeys(line for study, out in zip(each, folders, strict=True) for line in settings(study, out))
    lines.append(
        "Commands that train these systems with this version of onebody; the settings and the version of each run that "
        "is shown are in its `config.json`:"
    )
    return "\n\n".join([*filter(None, lines), "\n".join(commands)])


def brackets() -> str:
    """What the brackets of a table and the bands of a figure are."""
    return (
        "Mean return over the tested tasks, then over seeds; worst task: the lowest mean return of any task of each "
        f"seed. Brackets and bands: the 95% interval of the mean over {FEWEST} or more seeds, or the values of fewer."
    )


def settings(study: Study, out: Path) -> Iterator[str]:
    """A line for each system on how to train its runs: the command of one of them, or the study's own command if an
    older version made it, whose options may have had other names."""
    for system in study.systems:
        for path in runs_of(study, system, out).paths[:1]:
            record = folder.read_config(path)
            command, older, _ = folder.command(record).partition("  #")
            if older and "laptop" in studies.owner_of(study, system)[1].trainings:
                job = studies.job_of(study, system, out, "laptop", record["seed"]).to_json()
                command, *_ = folder.command({**record, **job, "family_file": None}).partition("  #")
            yield f"* {system.label}: `{command}`"


def table(study: Study, out: Path) -> str:
    """One row per system that was tested: mean return at each stage, and the worst task's at the last stage shown.

    What the systems are told of a task stands in a column where they differ; empty where none was tested.
    """
    shown = _shown_stages(study.test.stages)
    found = [(system, runs) for system in study.systems if (runs := runs_of(study, system, out)).last]
    if not found:
        return ""
    rows = [_row(system, runs, shown, TOLD[_test_of(runs)["told"]], _planned(study, system)) for system, runs in found]
    empty = [name for name in rows[0] if not any(row[name] for row in rows)]
    unneeded = {*empty, *(["told"] if len({row["told"] for row in rows}) == 1 else [])}
    table = [[name for name in rows[0] if name not in unneeded]]
    table += [[text for name, text in row.items() if name not in unneeded] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    table.insert(1, ["-" * width for width in widths])
    lines = [f"| {' | '.join(cell.ljust(n) for cell, n in zip(row, widths, strict=True))} |" for row in table]
    published = [
        f"{each.label}: {_numbers(each)}" for each in study.published if each.chart in ("adaptation", "training")
    ]
    return "\n".join([*lines, *(["", "; ".join(published)] if published else [])])


TOLD = {"task": "the task", "reward function": "the reward function", "nothing": "nothing"}
"""what the systems of a table are told"""


def _test_of(runs: Runs) -> dict[str, Any]:
    """A test of the first run that was tested."""
    run = next(path for path, tests in zip(runs.paths, runs.tests, strict=True) if tests)
    files = [*run.glob("evaluation*.json"), *run.glob("evaluations/*.json")]
    return evaluate.read(files[0])


def _numbers(published: Published) -> str:
    if math.isfinite(published.value):
        return f"{published.value:g}"
    of = "" if published.chart == "training" else " of the task"
    return ", ".join(f"{y:g} after {x:,.0f} samples{of}" for x, y in published.points)


def _shown_stages(last: int) -> list[int]:
    """All stages, or of more than six the first, every fifth and the last."""
    return list(range(last + 1)) if last <= 6 else sorted({0, 1, last, *range(5, last, 5)})


def _planned(study: Study, system: System) -> int:
    """Real samples after which a system of the study is to be tested on a laptop; 0 if the number is not fixed."""
    training = studies.owner_of(study, system)[1].trainings.get("laptop")
    limits = [n for n in (training.samples if training else None, study.up_to) if n]
    return min(limits, default=0)


def _row(system: System, runs: Runs, shown: Sequence[int], told: str, planned: int) -> dict[str, str]:
    """The cells of a row, by the heads of their columns."""
    tested, last = runs.last, shown[-1]
    samples = sorted({n for n, _ in tested})
    unfinished = f" of {planned:,}" if samples[0] < planned else ""
    n_stages, n_tasks = min(len(stages) for _, stages in tested), len(tested[0][1][0]["tasks"])
    each = f"{tested[0][1][1]['adaptation_samples']:,}" if last > 0 and n_stages > 1 else ""
    low = _shown(estimate(worst(_scores(tested, last)))) if last < n_stages and n_tasks > 1 else ""
    return {
        "": system.label,
        "told": told,
        "real samples": " to ".join(f"{n:,}" for n in dict.fromkeys((samples[0], samples[-1]))) + unfinished,
        "seeds": f"{len(tested)}{f' ({runs.diverged} diverged)' if runs.diverged else ''}",
        **{f"stage {i}": _shown(estimate(mean(_scores(tested, i)))) if i < n_stages else "" for i in shown},
        "samples per stage": each,
        f"worst task, stage {last}": low,
    }


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


def has_runs(study: Study, out: Path) -> bool:
    """Whether there is a run to draw."""
    return any(runs_of(study, system, out).paths for system in study.systems)


def draw(each: Sequence[Study], folders: Sequence[Path]) -> Figure:
    """The charts of one or more studies: a row for each study, or several in a row where each has one chart."""
    rows = [[(study, out, chart) for chart in study.charts] for study, out in zip(each, folders, strict=True)]
    if all(len(row) == 1 for row in rows):
        panels = [row[0] for row in rows]
        rows = [panels[i : i + COLUMNS] for i in range(0, len(panels), COLUMNS)]
    columns = max(map(len, rows))
    figure = Figure(figsize=(WIDTH * columns, HEIGHT * len(rows)), layout="constrained")
    for places, row in zip(figure.subfigures(len(rows), columns, squeeze=False), rows, strict=True):
        for place, (study, out, chart) in zip(places, row, strict=False):
            _panel(place, study, chart, out)
    return figure


def _panel(place: SubFigure, study: Study, chart: str, out: Path) -> None:
    """One chart, or for tasks of two numbers a map for each system."""
    if chart == "tasks":
        every = {each.label: runs_of(study, each, out) for each in study.systems}
        tested = {label: runs for label, runs in every.items() if len(_by_task(study, runs))}
        if any(np.shape(runs.last[0][1][0]["tasks"])[1] == 2 for runs in tested.values()):
            return _maps(place, study, tested)
    _chart(place.subplots(), study, chart, out)


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
    return _scores(runs.last, stage) if all(stage < len(stages) for _, stages in runs.last) else np.empty((0, 0))


def _chart(axes: Axes, study: Study, chart: str, out: Path) -> None:
    colors = dict(zip((system.name for system in study.systems), COLORS * len(study.systems), strict=False))
    found = {each.name: runs_of(study, each, out) for each in study.systems}
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
