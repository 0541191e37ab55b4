"""Notes on a user's family that is valid but may be unintended; printed when it is registered."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from onebody.tasks.family import TaskFamily


def notes(family: TaskFamily, observations: Float[np.ndarray, "row observation"]) -> Iterator[str]:
    """One line each on observations that are constant in these rows, and on a task that nothing depends on."""
    if labels := constant(family.body.labels, observations):
        yield (
            f"family {family.id}: {labels} never varied in {len(observations)} random steps; leave out of the "
            "observation what will never vary"
        )
    if (
        family.space.size
        and family.physics is None
        and not any(uses_task(f, family) for f in (family.reward, family.terminal))
    ):
        yield (
            f"family {family.id}: neither its reward nor its terminal function uses the task, so all its tasks are the "
            "same; use their argument task in at least one of them"
        )


def constant(labels: tuple[str, ...], observations: Float[np.ndarray, "row observation"]) -> str:
    """Numbers and labels of the observation's columns that are constant over all rows; empty if there are none."""
    columns = np.flatnonzero(np.ptp(observations, axis=0) == 0)
    return ", ".join(f"column {i} ({labels[i]})" for i in columns)


def uses_task(function: Callable[..., Any], family: TaskFamily) -> bool:
    """Whether the family's reward or terminal function depends on the task."""
    observation, action, task = (
        np.zeros(n, np.float32) for n in (family.body.observation_size, family.body.action_size, family.space.size)
    )
    before = (observation, action, observation) if function is family.reward else (observation,)
    with jax.ensure_compile_time_eval():
        return _uses_last(function, *before, task)


def _uses_last(function: Callable[..., Any], *arguments: np.ndarray) -> bool:
    """Whether the result depends on the last argument, by the program that JAX traces."""
    program = jax.make_jaxpr(function)(*arguments).jaxpr
    needed = {id(each) for each in program.outvars}
    for line in reversed(program.eqns):
        if any(id(each) in needed for each in line.outvars):
            needed |= {id(each) for each in line.invars}
    return id(program.invars[-1]) in needed
