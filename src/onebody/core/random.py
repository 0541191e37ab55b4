"""Random arrays of any shape: the same numbers as those of `jax.random`, sampled along one axis and reshaped.

On a CPU, `jax.random` compiles slowly and runs several times slower for shapes whose last axis is short.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from onebody.core.types import Key


@partial(jax.jit, static_argnames="shape")
def normal(key: Key, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
    """Standard normal numbers."""
    return jax.random.normal(key, (math.prod(shape),)).reshape(shape)


def truncated_normal(key: Key, low: float, high: float, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Standard normal numbers truncated to the range from `low` to `high`."""
    return jax.random.truncated_normal(key, low, high, (math.prod(shape),)).reshape(shape)


@partial(jax.jit, static_argnames="shape")
def uniform(key: Key, shape: tuple[int, ...], low: ArrayLike = 0.0, high: ArrayLike = 1.0) -> Float[Array, "..."]:
    """Uniform numbers in [low, high); both bounds are numbers or arrays that broadcast to the shape."""
    low, high = (jnp.broadcast_to(x, shape).ravel() for x in (low, high))
    return jax.random.uniform(key, low.shape, minval=low, maxval=high).reshape(shape)


@partial(jax.jit, static_argnames="shape")
def randint(key: Key, shape: tuple[int, ...], low: int | Array, high: int | Array) -> Int[Array, "..."]:
    """Uniform integers in [low, high)."""
    return jax.random.randint(key, (math.prod(shape),), low, high).reshape(shape)
