"""What is right about a user's family but may not be meant: said when it is registered, and no reason to refuse it."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from onebody.tasks.family import TaskFamily


def notes(family: TaskFamily, observations: Float[np.ndarray, "row observation"]) -> Iterator[str]:
    """One line each: observations that are the same in all these rows, and a task that nothing depends on."""
    if same := constant(family.body.labels, observations):
        yield (
            f"family {family.id}: {same} never varied in {len(observations)} random steps; nothing can be learned from "
            "that: leave out of the observation what never will vary"
        )
    if family.space.size and family.physics is None and not _uses_task(family):
        yield (
            f"family {family.id}: neither its reward nor its terminal function uses the task, so all its tasks are the "
            "same; use the argument task in one of them"
        )


def constant(labels: tuple[str, ...], observations: Float[np.ndarray, "row observation"]) -> str:
    """Columns of the observation, with their labels, that are the same in all rows; empty if there are none."""
    same = np.flatnonzero(np.ptp(observations, axis=0) == 0)
    return ", ".join(f"column {i} ({labels[i]})" for i in same)


def _uses_task(family: TaskFamily) -> bool:
    observation, action, task = (
        np.zeros(n, np.float32) for n in (family.body.observation_size, family.body.action_size, family.space.size)
    )
    return _uses_last(family.reward, observation, action, observation, task) or _uses_last(
        family.terminal, observation, task
    )


def _uses_last(function: Callable[..., Any], *arguments: np.ndarray) -> bool:
    """Whether the result is computed from the last argument."""
    program = jax.make_jaxpr(function)(*arguments).jaxpr
    needed = {id(each) for each in program.outvars}
    for line in reversed(program.eqns):
        if any(id(each) in needed for each in line.outvars):
            needed |= {id(each) for each in line.invars}
    return id(program.invars[-1]) in needed
