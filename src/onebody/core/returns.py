"""Discounted returns and generalised advantage estimation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from onebody.core.types import Transitions


def gae(
    transitions: Transitions,
    value: Float[Array, "time episode"],
    next_value: Float[Array, "time episode"],
    discount: float,
    trace: float,
) -> Float[Array, "time episode"]:
    """Generalised advantage estimates (Schulman et al. 2016, Eq. 16) of `[time, episode]` transitions.

    Args:
        value: V(observation).
        next_value: V(next_observation); not used where the transition terminates.
        discount: discount factor γ.
        trace: λ; the end of an episode, for either reason, stops the sum.
    """
    delta = transitions.reward + discount * jnp.where(transitions.terminated, 0.0, next_value) - value

    def step(carry: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        delta, decay = row
        advantage = delta + decay * carry
        return advantage, advantage

    decay = jnp.where(transitions.done, 0.0, discount * trace)
    return jax.lax.scan(step, jnp.zeros_like(delta[0]), (delta, decay), reverse=True)[1]


@jax.jit
def first_episode_return(
    reward: Float[Array, "task time episode"], done: Bool[Array, "task time episode"]
) -> Float[Array, "task episode"]:
    """Undiscounted return of the first episode in each slot, including its last step."""
    ended_before = jnp.cumsum(done, axis=1) - done > 0
    return jnp.where(ended_before, 0.0, reward).sum(axis=1)


def return_so_far(
    reward: Float[Array, "time episode"], done: Bool[Array, "time episode"], discount: float
) -> Float[Array, "time episode"]:
    """Σ γ^(t - k) r_k over the steps k ≤ t of each step's episode."""

    def step(carry: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        reward, done = row
        current = discount * carry + reward
        return jnp.where(done, 0.0, current), current

    return jax.lax.scan(step, jnp.zeros_like(reward[0]), (reward, done))[1]
