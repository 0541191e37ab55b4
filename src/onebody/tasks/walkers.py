"""Gymnasium's rewards and terminal functions of hopper and walker, which PEARL, MB-MPO and AdMRL use."""

import jax.numpy as jnp
from jaxtyping import Array


def walker_forward(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return 1.0 + next_observation[8] - 1e-3 * jnp.sum(action**2)


def hopper_forward(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return 1.0 + next_observation[5] - 1e-3 * jnp.sum(action**2)


def walker_falls(next_observation: Array, task: Array) -> Array:
    height, pitch = next_observation[0], next_observation[1]
    return (height <= 0.8) | (height >= 2.0) | (jnp.abs(pitch) >= 1.0)


def hopper_falls(next_observation: Array, task: Array) -> Array:
    height, pitch = next_observation[0], next_observation[1]
    return (height <= 0.7) | (jnp.abs(pitch) >= 0.2) | jnp.any(jnp.abs(next_observation) >= 100.0)
