"""Texts about tasks: what was asked for and what was achieved, with units."""

import re
from typing import Any

import numpy as np

from onebody.runs.evaluate import PLANE
from onebody.tasks.family import TaskFamily

DIRECTION = ("direction x", "direction y")
"""task labels of a direction in the plane"""
AVERAGED = "Achieved: mean over the second half of each real episode."
"""how what is achieved is averaged"""


def text(family: TaskFamily, values: Any) -> str:
    """Values of the numbers of a task [feature], with their units: `1.00 m/s`, `(0.50, -0.30) m` or `53°`."""
    names, values = family.task_names, np.asarray(values, float).tolist()
    if names == PLANE:
        return "({:.2f}, {:.2f}) m".format(*values)
    if names == DIRECTION:
        return f"{np.degrees(np.arctan2(values[1], values[0])):.0f}°"
    parts = []
    for name, value in zip(names, values, strict=True):
        kind, unit = re.fullmatch(r"(.*?)(?:,.*)?(?: \((.*)\))?", name).groups("")  # pyright: ignore[reportOptionalMemberAccess]
        parts.append(" ".join(filter(None, [kind if len(names) > 1 or not unit else "", f"{value:.2f}", unit])))
    return ", ".join(parts)


def answer(family: TaskFamily, task: Any, achieved: Any) -> str:
    """A task [feature] and what was achieved of it, as in `asked 1.00 m/s, achieved 0.97 m/s`; the latter may be None.

    For a goal in the plane, also the distance from it.
    """
    asked = f"asked {text(family, task)}"
    if achieved is None:
        return asked
    distance = f", {np.linalg.norm(np.subtract(achieved, task)):.2f} m away" if family.task_names == PLANE else ""
    return f"{asked}, achieved {text(family, achieved)}{distance}"
