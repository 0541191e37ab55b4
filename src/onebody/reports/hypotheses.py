"""What algorithms that are not told the task believe of it, and where that leads them: pictures from their tests."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from onebody.reports.charts import Captioned, Chart, HeatMap, Line
from onebody.runs.evaluate import PLANE

GOALS, STAGES = 2, 4
"""tasks whose paths are shown, and stages of each"""
MARGIN = 0.1
"""around the latents"""


def drawings(labels: Sequence[str], tests: Sequence[dict[str, Any]]) -> Iterator[Captioned]:
    """Of the first training of each algorithm, where its tests have beliefs or paths."""
    first = {test["algorithm"]: test for test in reversed(tests) if not test["task_is_known"]}
    for test in reversed(first.values()):
        if "beliefs" in test["stages"][0]:
            yield from _beliefs(labels, test)
        if "paths" in test["stages"][0]:
            yield from _paths(labels, test)


def _beliefs(labels: Sequence[str], test: dict[str, Any]) -> Iterator[Captioned]:
    """The mean latent of each task as its context grows, in the plane of most variance over all stages.

    Coloured by the task; by its angle where it has two dimensions. Then how wide the beliefs are, stage by stage.
    """
    tasks, name = np.array(test["stages"][0]["tasks"]), test["algorithm"]
    shade, label = tasks[:, 0], labels[0]
    if angles := tasks.shape[1] == 2:
        shade, label = np.degrees(np.arctan2(tasks[:, 1], tasks[:, 0])), "angle of the task (°)"
    cyclic = angles and bool(np.ptp(shade) > 180)
    limits = (-180.0, 180.0) if cyclic else (float(shade.min()), float(shade.max()))
    means = np.array([stage["beliefs"] for stage in test["stages"]])
    flat = means.reshape(-1, means.shape[-1])
    plane = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:2]
    places = (means - flat.mean(0)) @ plane.T
    (left, low), (right, high) = places.min((0, 1)) - MARGIN, places.max((0, 1)) + MARGIN
    for i in sorted({1, 2, len(places) - 1} & set(range(len(places)))):
        drawing = HeatMap(
            f"Latents after stage {i}, {name}",
            [(float(a), float(b)) for a, b in places[i]],
            shade.tolist(),
            "first component",
            "second component",
            label,
            limits,
            between=False,
            extent=(float(left), float(right), float(low), float(high)),
            cyclic=cyclic,
        )
        caption = f"{name}, seed {test['seed']}: mean latent of each task after stage {i}, in its principal components."
        yield drawing, caption
    known = [stage for stage in test["stages"] if "belief_stds" in stage]
    if len(known) > 1:
        widths = [float(np.mean(stage["belief_stds"])) for stage in known]
        line = Line(name, [float(stage["stage"]) for stage in known], widths)
        chart = Chart(f"Width of the belief, {name}", [line], "stage", "standard deviation")
        yield chart, f"{name}, seed {test['seed']}: of a latent feature, mean over features and tasks."


def _paths(labels: Sequence[str], test: dict[str, Any]) -> Iterator[Captioned]:
    """Where the policies went in a plane, for some tasks: stages spread from the first to the last."""
    name, tasks, stages = test["algorithm"], test["stages"][0]["tasks"], test["stages"]
    is_place = tuple(labels) == PLANE
    for i in _spread(len(tasks), GOALS):
        lines = []
        for stage in (stages[j] for j in _spread(len(stages), STAGES)):
            x, y = zip(*stage["paths"][i], strict=True)
            lines.append(Line(f"stage {stage['stage']}", x, y))
        chart = Chart(f"Paths to goal {i + 1}, {name}", lines, *PLANE, goal=tuple(tasks[i]) if is_place else None)
        star = "; star: the goal." if is_place else "."
        yield chart, f"{name}, seed {test['seed']}: paths of the deterministic policy, stage by stage{star}"


def _spread(n: int, most: int) -> list[int]:
    """At most so many of the numbers below n, the first and the last among them."""
    return sorted(set(np.linspace(0, n - 1, most, dtype=int).tolist()))
