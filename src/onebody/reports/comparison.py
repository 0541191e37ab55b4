"""The page of `onebody report`: what several runs of one family reach, with how many samples, and how surely."""

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onebody.reports import charts, hypotheses, page
from onebody.reports.charts import Captioned, Chart, HeatMap, Line
from onebody.reports.page import Section
from onebody.runs import compare, folder, log
from onebody.runs.evaluate import tested, told
from onebody.runs.statistics import FEWEST, points, shown, verdict
from onebody.tasks.space import Arc, Box, TaskSpace


def write(runs: Sequence[Path], path: Path) -> Path:
    """One HTML file that needs nothing else, from runs that were tested (`onebody evaluate`, `onebody compare`).

    Beside it: every return that it is made of as CSV, a line an episode; each figure as PNG and CSV, in a folder of the
    page's name.

    Raises:
        OnebodyError: as `compare.summary`.
    """
    found = compare.summary(runs)
    names = list(found["algorithms"])
    tests = [json.loads((run / "evaluation.json").read_text()) for run in runs]
    known = {name: each["task_is_known"] for name, each in found["algorithms"].items()}
    kinds = [
        f"{', '.join(name for name in names if known[name] is kind)}: {told(kind)}."
        for kind in (True, False)
        if kind in known.values()
    ]
    lead = f"Mean returns of deterministic policies on {found['tested']}, the same for all. {' '.join(kinds)}"
    family = folder.family_of(folder.read_config(runs[0]))
    labels = family.describe()["task"]
    curves = [_adaptation(found), *_in_training(runs), _training(runs)]
    by_task = list(_by_task(labels, tests, runs, found["best"], family.space))
    believed = list(hypotheses.drawings(labels, tests))
    sections = [
        Section("Adaptation", _figures(curves) + _failures(found)),
        Section("In numbers", _numbers(found)),
        *([Section("Which is better", _improvement(found) + _gaps(found))] if len(names) > 1 else []),
        *([Section("By task", _figures(by_task))] if by_task else []),
        *([Section("What was believed of the task", _figures(believed))] if believed else []),
        Section("What was run", _provenance(runs)),
    ]
    written = page.write(path, f"{found['family']}: {', '.join(names)}", lead, sections)
    _write_returns(tests, path.with_suffix(".csv"))
    for drawing, _ in [*curves, *by_task, *believed]:
        charts.save(drawing, path.with_suffix("") / drawing.title.lower().replace(",", "").replace(" ", "-"))
    return written


def _figures(drawn: Sequence[Captioned]) -> str:
    return page.figures(*((charts.svg(drawing), caption) for drawing, caption in drawn))


def _write_returns(tests: Sequence[dict[str, Any]], path: Path) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(
            ["algorithm", "seed", "training_samples", "stage", "adaptation_samples", "task", "episode", "return"]
        )
        for test in tests:
            run = test["algorithm"], test["seed"], test["training_samples"]
            for stage in test["stages"]:
                for task, returns in zip(stage["tasks"], stage["returns"], strict=True):
                    place = *run, stage["stage"], stage["adaptation_samples"], " ".join(f"{x:g}" for x in task)
                    rows.writerows([*place, i, value] for i, value in enumerate(returns))


def _adaptation(found: dict[str, Any]) -> Captioned:
    """Return against real samples of the new task; stage 0 has none."""
    lines, kinds = [], []
    for name, each in found["algorithms"].items():
        stages, estimates = each["stages"], [stage["mean"] for stage in each["stages"]]
        kinds.append("95% interval" if estimates[0]["interval"] else "range")
        low, high = map(list, zip(*(one["interval"] or one["range"] for one in estimates), strict=True))
        samples = [float(stage["adaptation_samples"]) for stage in stages]
        lines.append(Line(name, samples, [estimate["value"] for estimate in estimates], low, high))
    y = f"mean return, {' or '.join(dict.fromkeys(kinds))}"
    chart = Chart("Return after adaptation", lines, "real samples of the new task", y)
    bands = f"bands are 95% intervals over seeds, or the range of fewer than {FEWEST} seeds"
    return chart, f"Return against real samples of the new task, stage by stage; {bands}."


def _in_training(runs: Sequence[Path]) -> Iterator[Captioned]:
    """Zero-shot return against real samples of training, a line a run that was tested meanwhile (--evaluate-every)."""
    lines, where = [], ""
    for run in runs:
        tests = [json.loads(path.read_text()) for path in sorted((run / "evaluations").glob("*.json"))]
        if tests := [test for test in tests if test["training_samples"]]:
            samples = [float(test["training_samples"]) for test in tests]
            where = tested(tests[0], folder.family_of(folder.read_config(run)))
            lines.append(Line(tests[0]["algorithm"], samples, [test["stages"][0]["mean"] for test in tests]))
    if lines:
        chart = Chart("Zero-shot return", lines, "real samples of training", "mean return", log_x=True)
        yield chart, f"Return on {where} at stage 0, a line a training."


def _training(runs: Sequence[Path]) -> Captioned:
    """Return of training against real samples, a line a run, of at most forty points that average what is between."""
    lines = []
    for run in runs:
        record, rows = folder.read_config(run), log.read(run)
        parts = np.array_split(np.arange(len(rows)), min(len(rows), 40)) if rows else []
        samples = [float(rows[part[-1]]["real/samples"]) for part in parts]
        returns = [float(np.mean([rows[i].get("real/return", math.nan) for i in part])) for part in parts]
        lines.append(Line(record["algorithm"], samples, returns))
    chart = Chart("Return in training", lines, "real samples of training", "return an episode", log_x=True)
    return chart, "Return of the episodes of training, with exploration, a line a training."


def _failures(found: dict[str, Any]) -> str:
    notes = [
        f"{name} diverged in {run}; its last good checkpoint stays in the comparison: {why}"
        for name, each in found["algorithms"].items()
        for run, why in each["diverged"].items()
    ]
    for name, each in found["algorithms"].items():
        if each["stages"][0]["mean"]["interval"] is None:
            notes.append(f"{name}: {len(each['seeds'])} of the {FEWEST} seeds that a 95% interval needs.")
    return "".join(page.paragraph(note, "note") for note in notes)


def _numbers(found: dict[str, Any]) -> str:
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
        for name, each in found["algorithms"].items()
        for stage in each["stages"]
    ]
    note = (
        "In parentheses: 95% intervals over seeds (Student's t), or the range of fewer seeds; all are of these tasks. "
        "IQM, worst and worst 10% are of the tasks of a training, and then averaged over trainings."
    )
    return page.table(header, rows) + page.paragraph(note, "note")


def _improvement(found: dict[str, Any]) -> str:
    rows = [
        [
            f"{row['algorithm']} over {row['over']}",
            f"{row['stage']}",
            shown(row, ".2f"),
            points(row, ".2f"),
            verdict(row["interval"], row["algorithm"], row["over"]),
        ]
        for row in found["improvement"]
    ]
    note = (
        "How probably a training of one has a higher return on a task than a training of the other: the share of tasks "
        "won, ties counted half, mean over pairs of trainings with the same seed. One is better where the 95% interval "
        "excludes one half. Stages are compared by their number, whatever samples of the task each has had."
    )
    return page.table(["", "stage", "probability", "by seed", "better"], rows) + page.paragraph(note, "note")


def _gaps(found: dict[str, Any]) -> str:
    rows = [
        [f"{name}, {stage['stage']}", *(shown(stage["gap"][key], ".1f") for key in ("mean", "worst", "cvar10"))]
        for name, each in found["algorithms"].items()
        for stage in each["stages"]
    ]
    note = "Gap: how far below the highest return that any training here reached on the task, at any stage."
    return page.table(["algorithm, stage", "mean gap", "worst", "worst 10%"], rows) + page.paragraph(note, "note")


def _by_task(
    labels: Sequence[str],
    tests: Sequence[dict[str, Any]],
    runs: Sequence[Path],
    best: Sequence[float],
    space: TaskSpace | None = None,
) -> Iterator[Captioned]:
    """Zero-shot and last stage against a task of one or two dimensions, mean over seeds.

    On a plane of tasks, the gap to the best return of each where several trainings say what can be reached; also where
    the first training of an algorithm went, where it says so, and the tasks of a box that the tests go beyond.
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
        what, label = "Return", "mean return"
        if len(tests) > 1:
            what, label = "Gap", "gap to the best of these trainings"
            means = {name: np.array(best) - mean for name, mean in means.items()}
        limits = min(map(np.min, means.values())), max(map(np.max, means.values()))
        points = [(float(a), float(b)) for a, b in tasks]
        box = None
        if isinstance(space, Box) and not all(map(space.contains, tasks)):
            box = (space.low[0], space.low[1]), (space.high[0], space.high[1])
        for name, mean in means.items():
            title, (x, y) = f"{what} by task, stage {stage}, {name}", labels
            first = next(run for run, test in zip(runs, tests, strict=True) if test["algorithm"] == name)
            visited = [(row["task/1"], row["task/2"]) for row in log.read(first) if "task/2" in row]
            caption = f"{name}, stage {stage}, mean of its trainings."
            caption += " Dashed: the tasks that training draws." if box else ""
            caption += f" Numbered: the training tasks of {first.name}, in order." if visited else ""
            between = not isinstance(getattr(space, "space", space), Arc)  # no task is inside the circle
            drawing = HeatMap(title, points, mean.tolist(), x, y, label, limits, between, box=box, visited=visited)
            yield drawing, caption


def _provenance(runs: Sequence[Path]) -> str:
    records = [folder.read_config(run) for run in runs]
    versions = [page.facts(dict(each)) for each in sorted({tuple(r["versions"].items()) for r in records})]
    return page.command(*map(folder.command, records)) + "".join(versions)
