"""The linear feature baseline: a value that is fitted in closed form (Duan et al. 2016)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from onebody.core.returns import gae
from onebody.core.types import Transitions

RIDGE = 1e-5
"""share of the normal equations' diagonal that is added to it; and the number itself for features that are 0"""


def ages(done: Bool[Array, "time episode"]) -> Float[Array, "time episode"]:
    """Steps since each row's episode began."""

    def step(age: Array, done: Array) -> tuple[Array, Array]:
        return jnp.where(done, 0, age + 1), age

    return jax.lax.scan(step, jnp.zeros(done.shape[1]), done)[1]


def features(observation: Float[Array, "*axes observation"], age: Float[Array, "*axes"]) -> Float[Array, "*axes _"]:
    """Observations within ±10 and their squares; the episode's age, in hundreds of steps, to its cube."""
    age = age[..., None] / 100
    clipped = jnp.clip(observation, -10, 10)
    return jnp.concatenate([clipped, clipped**2, age, age**2, age**3, jnp.ones_like(age)], axis=-1)


def advantages(transitions: Transitions, discount: float, trace: float) -> Float[Array, "time episode"]:
    """GAE of one task's transitions, in slots of one horizon, with the baseline fitted to their own discounted returns.

    A return ends with a termination or with the horizon. An episode that began after another one in its slot is cut by
    the slot's end before its horizon: its return goes on with the baseline's value of the next observation. So the
    baseline is fitted twice, first to the rewards until the cut alone.

    Returns:
        Advantages `[time, episode]` of mean 0 and standard deviation 1.
    """
    age, zero = ages(transitions.done), jnp.zeros_like(transitions.reward)
    cut = transitions.truncated[-1] & (age[-1] + 1 < len(age))
    ended = transitions._replace(terminated=transitions.done.at[-1].set(~cut))
    rows, beyond = features(transitions.observation, age), features(transitions.next_observation[-1], age[-1] + 1)
    flat = rows.reshape(-1, rows.shape[-1])
    normal = flat.T @ flat
    ridge = RIDGE * (jnp.diag(normal) + 1.0)

    def fit(after: Float[Array, " episode"]) -> Float[Array, " feature"]:
        """Weights, with this value after each slot's end."""
        returns = gae(ended, zero, zero.at[-1].set(after), discount, 1.0)
        return jnp.linalg.solve(normal + jnp.diag(ridge), flat.T @ returns.reshape(-1))

    weights = fit(beyond @ fit(zero[-1]))
    value = rows @ weights
    next_value = jnp.concatenate([value[1:], (beyond @ weights)[None]])
    advantage = gae(ended, value, next_value, discount, trace)
    return (advantage - advantage.mean()) / (advantage.std() + 1e-8)
