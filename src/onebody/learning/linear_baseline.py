"""The linear feature baseline: a value that is fitted in closed form (Duan et al. 2016)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from onebody.core.returns import gae
from onebody.core.types import Transitions

RIDGE = 1e-5
"""share of the normal equations' diagonal that is added to it; and the number itself for features that are 0"""


def features(
    observation: Float[Array, "time episode observation"], done: Bool[Array, "time episode"]
) -> Float[Array, "time episode feature"]:
    """Observations within ±10 and their squares; time since the episode began, in hundreds of steps, to its cube."""

    def step(age: Array, done: Array) -> tuple[Array, Array]:
        return jnp.where(done, 0, age + 1), age

    age = jax.lax.scan(step, jnp.zeros(done.shape[1]), done)[1][..., None] / 100
    clipped = jnp.clip(observation, -10, 10)
    return jnp.concatenate([clipped, clipped**2, age, age**2, age**3, jnp.ones_like(age)], axis=-1)


def advantages(transitions: Transitions, discount: float, trace: float) -> Float[Array, "time episode"]:
    """GAE of `[time, episode]` transitions of one task, with the baseline fitted to their own discounted returns.

    An episode's end stops the bootstrap, whichever it is, as the returns that the baseline is fitted to stop there.
    Mean 0 and deviation 1.
    """
    zero = jnp.zeros_like(transitions.reward)
    ended = transitions._replace(terminated=transitions.done)
    returns = gae(ended, zero, zero, discount, 1.0)
    rows = features(transitions.observation, transitions.done)
    flat = rows.reshape(-1, rows.shape[-1])
    normal = flat.T @ flat
    ridge = RIDGE * (jnp.diag(normal) + 1.0)
    value = rows @ jnp.linalg.solve(normal + jnp.diag(ridge), flat.T @ returns.reshape(-1))
    next_value = jnp.concatenate([value[1:], zero[:1]])
    found = gae(ended, value, next_value, discount, trace)
    return (found - found.mean()) / (found.std() + 1e-8)
