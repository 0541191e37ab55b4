"""Array names and the one record of experience, shared by every room.

Axis order everywhere is `[task, time, episode, feature]`, as far as the axes occur.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxtyping
from jaxtyping import Array, Bool, Float, PRNGKeyArray

Key = PRNGKeyArray
Keys = jaxtyping.Key[Array, " task"]
"""one key a task"""


class Transitions(NamedTuple):
    """Steps taken in a world, with any leading axes; `[task, time, episode]` when they come from a rollout.

    `action` is what the policy asked for; a world acts with it clipped to [-1, 1].
    `terminated` ends an episode because the task says so, `truncated` because the horizon is reached (or the
    rollout ends there); only `terminated` stops a bootstrap. The row after an end begins a new episode.
    """

    observation: Float[Array, "*axes observation"]
    action: Float[Array, "*axes action"]
    reward: Float[Array, "*axes"]
    next_observation: Float[Array, "*axes observation"]
    terminated: Bool[Array, "*axes"]
    truncated: Bool[Array, "*axes"]

    @property
    def done(self) -> Bool[Array, "*axes"]:
        """Where an episode ends, for either reason."""
        return self.terminated | self.truncated

    @property
    def by_time(self) -> "Transitions":
        """Transitions `[task, time, episode]` as `[time, task · episode]`."""
        return jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0).reshape(x.shape[1], -1, *x.shape[3:]), self)
