"""How OMNI chooses its next training tasks among random draws."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.core.types import Key
from onebody.tasks.space import TaskSpace

STRIDE = 0.3
"""Share of the way to another draw that a step of the ascent goes"""


def largest(tasks: Float[Array, "task feature"], score: Float[Array, " task"], n: int) -> Float[Array, "n feature"]:
    """The n tasks of the highest score."""
    return tasks[jnp.argsort(-score)[:n]]


def ascend(
    gap: Callable[[Float[Array, "task feature"]], Float[Array, " task"]],
    tasks: Float[Array, "task feature"],
    space: TaskSpace,
    keys: Sequence[Key],
) -> Float[Array, "task feature"]:
    """AdMRL's ascent of the gap, without a gradient: small steps towards other draws, kept where they raise it.

    Args:
        keys: one per step.
    """
    height = gap(tasks)
    for key in keys:
        moved = tasks + STRIDE * (space.sample(key, len(tasks)) - tasks)
        inside = jnp.array([space.contains(task) for task in moved])
        new = jnp.where(inside, gap(moved), -jnp.inf)
        tasks, height = jnp.where((new > height)[:, None], moved, tasks), jnp.maximum(new, height)
    return tasks
