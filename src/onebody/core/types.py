"""Array types and the record of experience that all packages share.

Axes are always in the order `[task, time, episode, feature]`; some may be absent.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxtyping
from jaxtyping import Array, Bool, Float, PRNGKeyArray

Key = PRNGKeyArray
Keys = jaxtyping.Key[Array, " task"]
"""one key per task"""


class Transitions(NamedTuple):
    """Environment steps in a world, with any leading axes; `[task, time, episode]` from a rollout.

    `action` is the output of the policy; a world clips it to [-1, 1]. `terminated` means that the terminal function of
    the family ended the episode, `truncated` that its horizon or the rollout ended; only `terminated` stops a
    bootstrap. The row after the end of an episode is the first of a new one.
    """

    observation: Float[Array, "*axes observation"]
    action: Float[Array, "*axes action"]
    reward: Float[Array, "*axes"]
    next_observation: Float[Array, "*axes observation"]
    terminated: Bool[Array, "*axes"]
    truncated: Bool[Array, "*axes"]

    @property
    def done(self) -> Bool[Array, "*axes"]:
        """Whether an episode ends, by termination or truncation."""
        return self.terminated | self.truncated

    @property
    def by_time(self) -> "Transitions":
        """Transitions `[task, time, episode]` reshaped to `[time, task · episode]`."""
        return jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0).reshape(x.shape[1], -1, *x.shape[3:]), self)
