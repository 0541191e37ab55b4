"""The page of `onebody report`: returns of several runs of one family against samples, with intervals."""

import csv
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onebody.core.errors import OnebodyError
from onebody.reports import charts, hypotheses, page
from onebody.reports.charts import Captioned, Chart, HeatMap, Line
from onebody.reports.page import Section
from onebody.runs import compare, evaluate, folder, log, outputs
from onebody.runs.evaluate import TOLD, tested
from onebody.runs.statistics import FEWEST, points, shown, verdict
from onebody.tasks.space import Arc, Box, TaskSpace


def write(runs: Sequence[Path], path: Path) -> Path:
    """Write one self-contained HTML file on runs that were tested (`onebody evaluate`, `onebody compare`).

    Also writes all returns as CSV, one line per episode, next to the page, and each figure as PNG and CSV in a folder
    with the name of the page.

    Raises:
        OnebodyError: as `compare.summary`; or the page, the CSV file or the folder would replace something else.
    """
    outputs.check(path, ".html")
    returns, figures = path.with_suffix(".csv"), path.with_suffix("")
    outputs.check(returns, ".csv")
    outputs.check_no_part(figures)
    if figures.exists() and not figures.is_dir():
        raise OnebodyError(f"the figures of {path} go into the folder {figures}, which is a file; choose another --out")
    summary = compare.summary(runs)
    names = list(summary["algorithms"])
    tests = [compare.test_of(run, folder.read_config(run)) for run in runs]
    told = {name: each["told"] for name, each in summary["algorithms"].items()}
    kinds = [
        f"{', '.join(name for name in names if told[name] == kind)}: {text}."
        for kind, text in TOLD.items()
        if kind in told.values()
    ]
    lead = f"Mean returns of deterministic policies on {summary['tested']}, the same for all. {' '.join(kinds)}"
    family = folder.family_of(folder.read_config(runs[0]))
    labels = family.describe()["task"]
    for run, test in zip(runs, tests, strict=True):
        samples = max((row.get("real/samples", 0) for row in log.read(run)), default=0)
        if log.damaged(run) or samples < test["training_samples"]:
            print(f"onebody: {run}: lines of {log.METRICS} are damaged or missing; so is its curve", file=sys.stderr)
    curves = [_adaptation(summary), *_in_training(runs), _training(runs)]
    by_task = list(_by_task(labels, tests, runs, summary["best"], family.space))
    beliefs = list(hypotheses.drawings(labels, tests))
    sections = [
        Section("Adaptation", _figures(curves) + _notes(summary)),
        Section("In numbers", _numbers(summary)),
        *([Section("Which is better", _improvement(summary) + _gaps(summary))] if len(names) > 1 else []),
        *([Section("By task", _figures(by_task))] if by_task else []),
        *([Section("Beliefs about the task", _figures(beliefs))] if beliefs else []),
        Section("Commands and versions", _provenance(runs)),
    ]
    written = page.write(path, f"{summary['family']}: {', '.join(names)}", lead, sections)
    _write_returns(tests, returns)
    for drawing, _ in [*curves, *by_task, *beliefs]:
        charts.save(drawing, figures / drawing.title.lower().replace(",", "").replace(" ", "-"))
    return written


def _figures(drawings: Sequence[Captioned]) -> str:
    return page.figures(*((charts.svg(drawing), caption) for drawing, caption in drawings))


def _write_returns(tests: Sequence[dict[str, Any]], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(
            ["algorithm", "seed", "training_samples", "stage", "adaptation_samples", "task", "episode", "return"]
        )
        for test in tests:
            run = test["algorithm"], test["seed"], test["training_samples"]
            for stage in test["stages"]:
                for task, returns in zip(stage["tasks"], stage["returns"], strict=True):
                    setting = *run, stage["stage"], stage["adaptation_samples"], " ".join(f"{x:g}" for x in task)
                    rows.writerows([*setting, i, value] for i, value in enumerate(returns))


def _adaptation(summary: dict[str, Any]) -> Captioned:
    """Return against real samples of the new task; stage 0 has none."""
    lines, kinds = [], []
    for name, each in summary["algorithms"].items():
        stages, estimates = each["stages"], [stage["mean"] for stage in each["stages"]]
        kinds.append("95% interval" if estimates[0]["interval"] else "range")
        low, high = map(list, zip(*(each["interval"] or each["range"] for each in estimates), strict=True))
        samples = [float(stage["adaptation_samples"]) for stage in stages]
        lines.append(Line(name, samples, [estimate["value"] for estimate in estimates], low, high))
    y = f"mean return, {' or '.join(dict.fromkeys(kinds))}"
    chart = Chart("Return after adaptation", lines, "real samples of the new task", y)
    bands = f"bands are 95% intervals over seeds, or the range of fewer than {FEWEST} seeds"
    return chart, f"Return against real samples of the new task, stage by stage; {bands}."


def _in_training(runs: Sequence[Path]) -> Iterator[Captioned]:
    """Zero-shot return against real samples of training, one line per run evaluated in training (--evaluate-every)."""
    lines, tasks = [], ""
    for run in runs:
        tests = [*map(evaluate.read, sorted((run / "evaluations").glob("*.json")))]
        if tests := [test for test in tests if test["training_samples"]]:
            samples = [float(test["training_samples"]) for test in tests]
            record = folder.read_config(run)
            tasks = tested(tests[0], folder.family_of(record))
            lines.append(Line(record["algorithm"], samples, [test["stages"][0]["mean"] for test in tests]))
    if lines:
        chart = Chart("Zero-shot return", lines, "real samples of training", "mean return", log_x=True)
        yield chart, f"Return on {tasks} at stage 0; one line per training run."


def _training(runs: Sequence[Path]) -> Captioned:
    """Return in training against real samples, one line per run of at most forty points, averaged over iterations."""
    lines = []
    for run in runs:
        record = folder.read_config(run)
        rows = [row for row in log.read(run) if "real/samples" in row]
        parts = np.array_split(np.arange(len(rows)), min(len(rows), 40)) if rows else []
        samples = [float(rows[part[-1]]["real/samples"]) for part in parts]
        returns = [float(np.mean([rows[i].get("real/return", math.nan) for i in part])) for part in parts]
        lines.append(Line(record["algorithm"], samples, returns))
    chart = Chart("Return in training", lines, "real samples of training", "return per episode", log_x=True)
    return chart, "Return of the training episodes, with exploration noise; one line per training run."


def _notes(summary: dict[str, Any]) -> str:
    """Notes on runs that diverged and on algorithms with too few seeds."""
    notes = [
        f"{name} diverged in {run}; its last good checkpoint is compared: {reason}"
        for name, each in summary["algorithms"].items()
        for run, reason in each["diverged"].items()
    ]
    for name, each in summary["algorithms"].items():
        if each["stages"][0]["mean"]["interval"] is None:
            notes.append(f"{name}: {len(each['seeds'])} of the {FEWEST} seeds that a 95% interval needs.")
    return "".join(page.paragraph(note, "note") for note in notes)


def _numbers(summary: dict[str, Any]) -> str:
    header = [
        "algorithm, stage",
        "seeds",
        "training samples",
        "samples of the task",
        "mean",
        "mean by seed",
        "IQM",
        "worst",
        "worst 10%",
    ]
    rows = [
        [
            f"{name}, {stage['stage']}",
            f"{len(each['seeds'])}",
            f"{np.mean(each['training_samples']):,.0f}",
            f"{stage['adaptation_samples']:,}",
            shown(stage["mean"], ".1f"),
            points(stage["mean"], ".1f"),
            *(shown(stage[key], ".1f") for key in ("iqm", "worst", "cvar10")),
        ]
        for name, each in summary["algorithms"].items()
        for stage in each["stages"]
    ]
    note = (
        f"In parentheses: 95% intervals over seeds (Student's t), or the range of fewer than {FEWEST} seeds. "
        "IQM, worst and worst 10% are computed over the tasks of each training run, then averaged over the runs."
    )
    return page.table(header, rows) + page.paragraph(note, "note")


def _improvement(summary: dict[str, Any]) -> str:
    rows = [
        [
            f"{row['algorithm']} over {row['over']}",
            f"{row['stage']}",
            shown(row, ".2f"),
            points(row, ".2f"),
            verdict(row["interval"], row["algorithm"], row["over"]),
        ]
        for row in summary["improvement"]
    ]
    note = (
        "Probability that a run of the first algorithm has a higher return on a task than a run of the second: the "
        "share of such tasks, ties counted half, averaged over pairs of runs with the same seed. One is called better "
        "if the 95% interval excludes one half. Stages of equal number are compared, even if their real samples differ."
    )
    return page.table(["", "stage", "probability", "by seed", "better"], rows) + page.paragraph(note, "note")


def _gaps(summary: dict[str, Any]) -> str:
    rows = [
        [f"{name}, {stage['stage']}", *(shown(stage["gap"][key], ".1f") for key in ("mean", "worst", "cvar10"))]
        for name, each in summary["algorithms"].items()
        for stage in each["stages"]
    ]
    note = "Gap: how far the return is below the highest that any of these runs reached on the task, at any stage."
    return page.table(["algorithm, stage", "mean gap", "worst", "worst 10%"], rows) + page.paragraph(note, "note")


def _by_task(
    labels: Sequence[str],
    tests: Sequence[dict[str, Any]],
    runs: Sequence[Path],
    best: Sequence[float],
    space: TaskSpace | None = None,
) -> Iterator[Captioned]:
    """Return against the task if it has one or two dimensions, at stage 0 and the last stage, averaged over seeds.

    For tasks of two dimensions and several runs, the gap to the best return on each task instead. Also marks the
    training tasks that the first run of an algorithm has recorded, and the box of tasks if the tests extend beyond it.
    """
    tasks = np.array(tests[0]["stages"][0]["tasks"])
    if tasks.shape[1] > 2 or len(tasks) < 3:
        return
    names = list(dict.fromkeys(test["algorithm"] for test in tests))
    for stage in sorted({0, len(tests[0]["stages"]) - 1}):
        means = {
            name: np.mean([t["stages"][stage]["returns"] for t in tests if t["algorithm"] == name], axis=(0, 2))
            for name in names
        }
        if tasks.shape[1] == 1:
            order = np.argsort(tasks[:, 0])
            lines = [Line(name, tasks[order, 0].tolist(), mean[order].tolist()) for name, mean in means.items()]
            yield Chart(f"Return by task, stage {stage}", lines, labels[0], "mean return"), f"Stage {stage}."
            continue
        quantity, label = "Return", "mean return"
        if len(tests) > 1:
            quantity, label = "Gap", "gap to the best of these runs"
            means = {name: np.array(best) - mean for name, mean in means.items()}
        limits = min(map(np.min, means.values())), max(map(np.max, means.values()))
        points = [(float(a), float(b)) for a, b in tasks]
        box = None
        if isinstance(space, Box) and not all(map(space.contains, tasks)):
            box = (space.low[0], space.low[1]), (space.high[0], space.high[1])
        for name, mean in means.items():
            title, (x, y) = f"{quantity} by task, stage {stage}, {name}", labels
            first = next(run for run, test in zip(runs, tests, strict=True) if test["algorithm"] == name)
            visited = [(row["task/1"], row["task/2"]) for row in log.read(first) if {"task/1", "task/2"} <= row.keys()]
            caption = f"{name}, stage {stage}, mean over its runs."
            caption += " Dashed: the box that training samples tasks from." if box else ""
            caption += f" Numbered: the training tasks of {first.name}, in order." if visited else ""
            interpolate = not isinstance(getattr(space, "space", space), Arc)  # there is no task inside the circle
            drawing = HeatMap(title, points, mean.tolist(), x, y, label, limits, interpolate, box=box, visited=visited)
            yield drawing, caption


def _provenance(runs: Sequence[Path]) -> str:
    records = [folder.read_config(run) for run in runs]
    versions = [page.facts(dict(each)) for each in sorted({tuple(r["versions"].items()) for r in records})]
    return page.command(*map(folder.command, records)) + "".join(versions)
