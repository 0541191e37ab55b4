"""The charts of the page of `onebody report`."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onebody.reports.charts import Captioned
from onebody.reports.drawings import Chart, HeatMap, Line
from onebody.reports.forest import Forest, Row
from onebody.runs import evaluate, folder, log
from onebody.runs.compare import merged
from onebody.runs.evaluate import tested
from onebody.runs.statistics import FEWEST, estimate
from onebody.tasks.space import Arc, Box, TaskSpace

STYLES = {"task": "-", "reward function": "-.", "nothing": "--"}
"""style of an algorithm's lines, by what its adaptation is told"""
NAMES = {
    "task": "solid: told the task",
    "reward function": "dash-dotted: told the reward function, but not the task",
    "nothing": "dashed: not told the task",
}
BARS = f"Thick bars: 95% intervals over seeds; thin bars: the range of fewer than {FEWEST} seeds; dots: the seeds."
"""what a forest plot shows"""
BANDS = f"bands are 95% intervals over seeds, or the range of fewer than {FEWEST} seeds"
LEVELS = 60
"""number of returns at which a performance profile is computed"""


def styles(told: Iterable[str]) -> str:
    """A sentence on the styles of lines; empty if all algorithms are told the same."""
    kinds = set(told)
    return (
        "" if len(kinds) < 2 else f" {'; '.join(text for kind, text in NAMES.items() if kind in kinds).capitalize()}."
    )


def returns(summary: dict[str, Any]) -> Captioned:
    """Mean return of each algorithm at stage 0 and the last stage."""
    rows = []
    for name, each in summary["algorithms"].items():
        stages = [{"stage": stage["stage"], "estimate": stage["mean"]} for stage in each["stages"]]
        hollow = each["told"] != "task"
        rows += [Row(name, f"{name}, {row['stage']}", row["estimate"], hollow) for row in _ends(stages)]
    kinds = {each["told"] for each in summary["algorithms"].values()}
    hollow = " Hollow: not told the task." if kinds != {"task"} else ""
    return Forest("Return", rows, "mean return"), f"Mean return over tasks, then over seeds. {BARS}{hollow}"


def differences(summary: dict[str, Any]) -> Captioned:
    """Difference of the mean returns of each pair of algorithms at stage 0 and the last stage."""
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in summary["improvement"]:
        stage = {"stage": row["stage"], "estimate": row["difference"]}
        pairs.setdefault((row["algorithm"], row["over"]), []).append(stage)
    rows = [
        Row(name, f"{name} − {other}, {row['stage']}", row["estimate"])
        for (name, other), stages in pairs.items()
        for row in _ends(stages)
    ]
    caption = f"Difference of the mean returns of two algorithms, paired by seed. {BARS}"
    return Forest("Difference of returns", rows, "difference of mean returns", zero=True), caption


def _ends(stages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first and the last row, or one row if all are equal, with their stages as text."""
    rows = [row | {"stage": f"stage{'s' if ' to ' in row['stage'] else ''} {row['stage']}"} for row in merged(stages)]
    return [rows[0], *([rows[-1]] if len(rows) > 1 else [])]


def profile(tests: Sequence[dict[str, Any]]) -> Captioned:
    """Share of the tasks and seeds on which the return is above each value, at the last stage."""
    last = len(tests[0]["stages"]) - 1
    told = {test["algorithm"]: test["told"] for test in tests}
    scores = {
        name: np.array([np.mean(t["stages"][last]["returns"], axis=1) for t in tests if t["algorithm"] == name])
        for name in told
    }
    levels = np.linspace(min(map(np.min, scores.values())), max(map(np.max, scores.values())), LEVELS)
    lines = []
    for name, each in scores.items():
        shares = [estimate((each > level).mean(axis=1)) for level in levels]
        low, high = np.clip(np.transpose([share.interval or share.range for share in shares]), 0.0, 1.0).tolist()
        lines.append(Line(name, levels.tolist(), [share.value for share in shares], low, high, STYLES[told[name]]))
    caption = (
        f"Share of tasks on which the mean return at stage {last} is above a value, averaged over seeds; higher is "
        f"better; {BANDS}.{styles(told.values())}"
    )
    return Chart("Performance profile", lines, "return", "share of tasks above it"), caption


def adaptation(summary: dict[str, Any]) -> Captioned:
    """Return against real samples of the new task; stage 0 has none."""
    lines, kinds = [], []
    for name, each in summary["algorithms"].items():
        stages, estimates = each["stages"], [stage["mean"] for stage in each["stages"]]
        kinds.append("95% interval" if estimates[0]["interval"] else "range")
        low, high = map(list, zip(*(each["interval"] or each["range"] for each in estimates), strict=True))
        samples = [float(stage["adaptation_samples"]) for stage in stages]
        values = [estimate["value"] for estimate in estimates]
        lines.append(Line(name, samples, values, low, high, STYLES[each["told"]]))
    y = f"mean return, {' or '.join(dict.fromkeys(kinds))}"
    chart = Chart("Return after adaptation", lines, "real samples of the new task", y)
    told = styles(each["told"] for each in summary["algorithms"].values())
    return chart, f"Return against real samples of the new task, stage by stage; {BANDS}.{told}"


def in_training(runs: Sequence[Path], names: Sequence[str] = ()) -> Iterator[Captioned]:
    """Zero-shot return against real samples of training, one line per run evaluated in training (--evaluate-every).

    `names`: algorithms in the order of their colours.
    """
    lines, tasks, told = [], "", []
    for run in runs:
        tests = [*map(evaluate.read, sorted((run / "evaluations").glob("*.json")))]
        if tests := [test for test in tests if test["training_samples"]]:
            samples = [float(test["training_samples"]) for test in tests]
            record = folder.read_config(run)
            tasks = tested(tests[0], folder.family_of(record))
            told.append(tests[0]["told"])
            returns = [test["stages"][0]["mean"] for test in tests]
            lines.append(Line(record["algorithm"], samples, returns, style=STYLES[told[-1]]))
    if lines:
        chart = Chart("Zero-shot return", lines, "real samples of training", "mean return", log_x=True, order=names)
        yield chart, f"Return on {tasks} at stage 0; one line per training run.{styles(told)}"


def training(runs: Sequence[Path], names: Sequence[str] = ()) -> Captioned:
    """Return in training against real samples, one line per run of at most forty points, averaged over iterations.

    `names`: algorithms in the order of their colours.
    """
    lines = []
    for run in runs:
        record = folder.read_config(run)
        rows = [row for row in log.read(run) if "real/samples" in row]
        parts = np.array_split(np.arange(len(rows)), min(len(rows), 40)) if rows else []
        samples = [float(rows[part[-1]]["real/samples"]) for part in parts]
        returns = [float(np.mean([rows[i].get("real/return", math.nan) for i in part])) for part in parts]
        lines.append(Line(record["algorithm"], samples, returns))
    chart = Chart(
        "Return in training", lines, "real samples of training", "return per episode", log_x=True, order=names
    )
    return chart, "Return of the training episodes, with exploration noise; one line per training run."


def by_task(
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
            told = {test["algorithm"]: test["told"] for test in tests}
            lines = [
                Line(name, tasks[order, 0].tolist(), mean[order].tolist(), style=STYLES[told[name]])
                for name, mean in means.items()
            ]
            caption = f"Mean return over seeds, at stage {stage}.{styles(told.values())}"
            yield Chart(f"Return by task, stage {stage}", lines, labels[0], "mean return"), caption
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
