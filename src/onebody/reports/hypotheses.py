"""Charts of beliefs about a hidden task and of paths in the plane, from the tests of algorithms not told the task."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from onebody.reports.charts import Captioned, Chart, HeatMap, Line
from onebody.runs.evaluate import PLANE

GOALS, STAGES = 2, 4
"""largest number of tasks whose paths are shown, and of stages per task"""
MARGIN = 0.1
"""margin of the axes around the latents"""


def drawings(labels: Sequence[str], tests: Sequence[dict[str, Any]]) -> Iterator[Captioned]:
    """Charts of the first run of each algorithm, if its test has beliefs or paths."""
    first = {test["algorithm"]: test for test in reversed(tests) if not test["task_is_known"]}
    for test in reversed(first.values()):
        if "beliefs" in test["stages"][0]:
            yield from _beliefs(labels, test)
        if "paths" in test["stages"][0]:
            yield from _paths(labels, test)


def _beliefs(labels: Sequence[str], test: dict[str, Any]) -> Iterator[Captioned]:
    """Mean of the belief of each task per stage; then the width of the beliefs.

    A belief about a latent is shown in the plane of most variance over all stages, one about the task itself in the
    task's first two numbers, or against the true task if it is one number. Coloured by the task, or by its angle if it
    has two dimensions.
    """
    tasks, name = np.array(test["stages"][0]["tasks"]), test["algorithm"]
    color, label = tasks[:, 0], labels[0]
    if angles := tasks.shape[1] == 2:
        color, label = np.degrees(np.arctan2(tasks[:, 1], tasks[:, 0])), "angle of the task (°)"
    cyclic = angles and bool(np.ptp(color) > 180)
    limits = (-180.0, 180.0) if cyclic else (float(color.min()), float(color.max()))
    means = np.array([stage["beliefs"] for stage in test["stages"]])
    if test.get("told") == "reward function":
        what, where = "belief", "in the numbers of the task"
        x_label, y_label = (
            (*labels[:2],) if len(labels) > 1 else (f"true {labels[0]}", f"mean of the belief, {labels[0]}")
        )
        truth = np.broadcast_to(tasks[:, :1], means[..., :1].shape)
        projected = means[..., :2] if len(labels) > 1 else np.concatenate([truth, means], axis=-1)
    else:
        what, where, x_label, y_label = "latent", "in its principal components", "first component", "second component"
        flat = means.reshape(-1, means.shape[-1])
        plane = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:2]
        projected = (means - flat.mean(0)) @ plane.T
    (left, low), (right, high) = projected.min((0, 1)) - MARGIN, projected.max((0, 1)) + MARGIN
    for i in sorted({1, 2, len(projected) - 1} & set(range(len(projected)))):
        drawing = HeatMap(
            f"{what.capitalize()}s after stage {i}, {name}",
            [(float(a), float(b)) for a, b in projected[i]],
            color.tolist(),
            x_label,
            y_label,
            label,
            limits,
            interpolate=False,
            extent=(float(left), float(right), float(low), float(high)),
            cyclic=cyclic,
        )
        caption = f"{name}, seed {test['seed']}: mean {what} of each task after stage {i}, {where}."
        yield drawing, caption
    stages = [stage for stage in test["stages"] if "belief_stds" in stage]
    if len(stages) > 1:
        widths = [float(np.mean(stage["belief_stds"])) for stage in stages]
        line = Line(name, [float(stage["stage"]) for stage in stages], widths)
        chart = Chart(f"Width of the belief, {name}", [line], "stage", "standard deviation")
        yield chart, f"{name}, seed {test['seed']}: standard deviation, mean over its features and tasks."


def _paths(labels: Sequence[str], test: dict[str, Any]) -> Iterator[Captioned]:
    """Paths of the policies in the plane for some tasks, at stages spread from the first to the last."""
    name, tasks, stages = test["algorithm"], test["stages"][0]["tasks"], test["stages"]
    task_is_goal = tuple(labels) == PLANE
    for i in _spread(len(tasks), GOALS):
        lines = []
        for stage in (stages[j] for j in _spread(len(stages), STAGES)):
            x, y = zip(*stage["paths"][i], strict=True)
            lines.append(Line(f"stage {stage['stage']}", x, y))
        chart = Chart(f"Paths to goal {i + 1}, {name}", lines, *PLANE, goal=tuple(tasks[i]) if task_is_goal else None)
        star = "; star: the goal." if task_is_goal else "."
        yield chart, f"{name}, seed {test['seed']}: paths of the deterministic policy, stage by stage{star}"


def _spread(n: int, most: int) -> list[int]:
    """At most `most` evenly spread integers from 0 to n - 1, including both ends."""
    return sorted(set(np.linspace(0, n - 1, most, dtype=int).tolist()))
