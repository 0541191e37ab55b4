"""Parts of algorithms that learn from a replay buffer: values of several inputs, target networks, repeated updates."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from onebody.core.nets import MLP


def value(net: MLP, *inputs: Float[Array, "*axes _"]) -> Float[Array, "*axes"]:
    """V or Q: one number of several inputs."""
    return net(jnp.concatenate(inputs, axis=-1))[..., 0]


Nets = TypeVar("Nets")
Learner = TypeVar("Learner")


def averaged(targets: Nets, nets: Nets, share: float) -> Nets:
    """Target networks with this share of the networks' weights in theirs (Polyak averaging)."""
    return jax.tree.map(lambda old, new: (1 - share) * old + share * new, targets, nets)


def repeated(
    update: Callable[[Learner, Any], tuple[Learner, dict[str, Array]]], learner: Learner, inputs: PyTree
) -> tuple[Learner, dict[str, Array]]:
    """An update for each of the inputs, along their leading axis, in a compiled loop; metrics are means over the last
    tenth."""
    learner, metrics = jax.lax.scan(update, learner, inputs)
    return learner, {name: x[9 * len(x) // 10 :].mean() for name, x in metrics.items()}
