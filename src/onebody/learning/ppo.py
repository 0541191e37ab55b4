"""Proximal policy optimisation (Schulman et al. 2017): its surrogate, and epochs of minibatches."""

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from onebody.core.nets import trainable
from onebody.core.types import Key

Learned = TypeVar("Learned")
Rows = TypeVar("Rows")


def clipped_surrogate(ratio: Float[Array, "*axes"], advantage: Float[Array, "*axes"], clip: float) -> Float[Array, ""]:
    """L^CLIP (ibid., Eq. 7), to be made large: what a likelihood ratio gains beyond 1 ± `clip` does not count."""
    return jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage).mean()


def minibatches(key: Key, rows: int, epochs: int, count: int) -> Int[Array, "step row"]:
    """The rows of each gradient step: every epoch has them in an order of its own, cut into `count` minibatches; what
    does not fill the last one is left out. Drawn on the host, where a shuffle is quicker than in a compiled program."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    size = max(rows // count, 1)
    orders = [rng.permutation(rows)[: count * size].reshape(-1, size) for _ in range(epochs)]
    return jnp.asarray(np.concatenate(orders), jnp.int32)


def minimize(
    loss: Callable[[Learned, Rows], tuple[Array, dict[str, Array]]],
    learned: Learned,
    state: PyTree,
    rows: Rows,
    chosen: Int[Array, "step row"],
    optimizer: optax.GradientTransformation,
) -> tuple[Learned, PyTree, dict[str, Array]]:
    """A step of the optimiser for each minibatch of `rows`, arrays that share their leading axis.

    Returns:
        What was learned, what the optimiser remembers, and the loss's metrics, means over the last tenth of the steps.
    """
    free, fixed = eqx.partition(learned, trainable(learned))

    def step(carry: tuple[PyTree, PyTree], index: Array) -> tuple[tuple[PyTree, PyTree], dict[str, Array]]:
        free, state = carry
        some = jax.tree.map(lambda x: x[index], rows)
        gradient, metrics = jax.grad(lambda free: loss(eqx.combine(free, fixed), some), has_aux=True)(free)
        updates, state = optimizer.update(gradient, state, free)
        return (optax.apply_updates(free, updates), state), metrics

    (free, state), metrics = jax.lax.scan(step, (free, state), chosen)
    last = {name: x[9 * len(chosen) // 10 :].mean() for name, x in metrics.items()}
    return eqx.combine(free, fixed), state, last
