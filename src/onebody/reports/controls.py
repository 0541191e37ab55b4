"""Controls of the playground: sliders or a choice for a task, buttons, and lines of text."""

import html
import itertools
import math
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from onebody.core.errors import OnebodyError
from onebody.runs import playable
from onebody.tasks.space import Arc, FiniteSet, TaskSpace, box_around, whole
from onebody.worlds.refusals import first_line


def add(
    gui: Any, space: TaskSpace, names: tuple[str, ...], first: np.ndarray, ask: Callable[[], None]
) -> Callable[[], np.ndarray]:
    """Controls for a task: a slider per number, one for the angle of a direction, or a choice among a few tasks.

    Args:
        first: the task that they show.
        ask: called when one of them has changed.

    Returns:
        The task that the controls say [feature].

    Raises:
        OnebodyError: the space is of another kind.
    """
    space = whole(space)
    if isinstance(space, FiniteSet) and not space.size:
        return lambda: first
    if isinstance(space, FiniteSet):
        options = {", ".join(f"{x:g}" for x in task): np.array(task, np.float32) for task in space.tasks}
        choice = gui.add_dropdown(", ".join(names), tuple(options), initial_value=", ".join(f"{x:g}" for x in first))
        choice.on_update(lambda _: ask())
        return lambda: options[choice.value]
    if isinstance(space, Arc):
        degrees = round(math.degrees(math.atan2(first[1], first[0])) % 360)
        dial = gui.add_slider("direction (°)", 0, round(math.degrees(space.angle)), 1, degrees)
        dial.on_update(lambda _: ask())
        return lambda: np.array([math.cos(math.radians(dial.value)), math.sin(math.radians(dial.value))], np.float32)
    box = box_around(space)
    if box is None:
        raise OnebodyError(f"tasks in {space.bounds} have no controls; boxes, disks, directions and finite sets have")
    wide, sliders = box.widened(1 + 2 * playable.MARGIN), {}
    for i, (low, high) in enumerate(zip(box.low, box.high, strict=True)):
        if low < high:
            marks = ((low, f"{low:g}"), (high, f"{high:g}"))
            step = (wide.high[i] - wide.low[i]) / 150
            sliders[i] = gui.add_slider(names[i], wide.low[i], wide.high[i], step, float(first[i]), marks=marks)
            sliders[i].on_update(lambda _: ask())
    return lambda: np.array([sliders[i].value if i in sliders else x for i, x in enumerate(first)], np.float32)


def add_buttons(gui: Any, buttons: dict[str, Callable[[], None]], send: Callable[[Callable[[], None]], None]) -> None:
    """Buttons in a row; `send` gets what the one that is pressed stands for."""
    row = gui.add_button_group("", tuple(buttons))
    row.on_click(lambda event: send(buttons[event.target.value]))


def text(*lines: str) -> str:
    """Lines of text as HTML."""
    return f'<div style="font-size: 0.875em; margin: 0 0.5em">{"<br>".join(html.escape(line) for line in lines)}</div>'


def explained(error: Exception) -> str:
    """One line on an error, for the page; the traceback is printed unless it is an OnebodyError."""
    if isinstance(error, OnebodyError):
        return str(error)
    traceback.print_exception(error)
    return first_line(error)


def saved(save: Callable[[Path], Path], task: np.ndarray) -> str:
    """Have the policy for a task written to a new file, and say its name, or why there is none."""
    name = "-".join(["policy", *(f"{x:.4g}" for x in task)])
    names = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
    path = next(path for each in names if not (path := Path(f"{each}.npz")).exists())
    try:
        return f"saved: {save(path).absolute()}"
    except OnebodyError as error:
        return str(error)
