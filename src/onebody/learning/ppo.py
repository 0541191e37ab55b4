"""Proximal policy optimisation (Schulman et al. 2017): its surrogate, and epochs of minibatches."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from onebody.core.types import Key
from onebody.learning.train_state import TrainState

Learned = TypeVar("Learned")
Batch = TypeVar("Batch")


def clipped_surrogate(ratio: Float[Array, "*axes"], advantage: Float[Array, "*axes"], clip: float) -> Float[Array, ""]:
    """L^CLIP (ibid., Eq. 7), to be made large: what a likelihood ratio gains beyond 1 ± `clip` does not count."""
    return jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage).mean()


def approximate_kl(log_ratio: Float[Array, "*axes"]) -> Float[Array, ""]:
    """KL(old ‖ new), estimated without a negative value from log-ratios new / old of the old policy's actions: the mean
    of ratio - 1 - log ratio (Schulman 2020, http://joschu.net/blog/kl-approx.html)."""
    return (jnp.expm1(log_ratio) - log_ratio).mean()


def minibatches(key: Key, rows: int, epochs: int, count: int) -> Int[Array, "step row"]:
    """The rows of each gradient step: every epoch has them in an order of its own, cut into `count` minibatches; what
    does not fill the last one is left out. Drawn on the host, where a shuffle is quicker than in a compiled program."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    size = max(rows // count, 1)
    orders = [rng.permutation(rows)[: count * size].reshape(-1, size) for _ in range(epochs)]
    return jax.device_put(np.int32(np.concatenate(orders)))


def minimize(
    learner: TrainState[Learned],
    loss: Callable[[Learned, Batch], tuple[Array, dict[str, Array]]],
    batch: Batch,
    rows: Int[Array, "step row"],
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState[Learned], dict[str, Array]]:
    """A step of the optimiser for each minibatch of a batch, arrays that share their leading axis.

    Args:
        rows: those of each minibatch.

    Returns:
        What was learned, and the loss's metrics, means over the last tenth of the steps.
    """

    def step(learner: TrainState[Learned], index: Array) -> tuple[TrainState[Learned], dict[str, Array]]:
        minibatch = jax.tree.map(lambda x: x[index], batch)
        return learner.minimize(lambda module: loss(module, minibatch), optimizer)

    learner, metrics = jax.lax.scan(step, learner, rows)
    return learner, {name: x[9 * len(rows) // 10 :].mean() for name, x in metrics.items()}
