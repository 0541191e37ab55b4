"""What learns from replay by steps of Adam: values of several inputs, the steps, targets that follow slowly."""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from onebody.core.nets import MLP


def value(net: MLP, *inputs: Float[Array, "*axes _"]) -> Float[Array, "*axes"]:
    """V or Q: one number of several inputs."""
    return net(jnp.concatenate(inputs, axis=-1))[..., 0]


Nets = TypeVar("Nets")
Learner = TypeVar("Learner")


def new_optimizer(learning_rate: float, nets: Any) -> PyTree:
    """What Adam remembers before its first step."""
    return optax.adam(learning_rate).init(eqx.filter(nets, eqx.is_inexact_array))


def descend(learning_rate: float, nets: Nets, gradient: Any, state: PyTree) -> tuple[Nets, PyTree]:
    """A step of Adam."""
    updates, state = optax.adam(learning_rate).update(gradient, state)
    return eqx.apply_updates(nets, updates), state


def averaged(targets: Nets, nets: Nets, share: float) -> Nets:
    """Targets with this share of the networks."""
    mix = lambda old, new: (1 - share) * old + share * new if eqx.is_array(old) else old  # noqa: E731
    return jax.tree.map(mix, targets, nets)


def repeated(
    update: Callable[[Learner, Any], tuple[Learner, dict[str, Array]]], learner: Learner, inputs: PyTree
) -> tuple[Learner, dict[str, Array]]:
    """An update for each of the inputs, along their leading axis, in a compiled loop; metrics are means over the last
    tenth."""
    arrays, fixed = eqx.partition(learner, eqx.is_array)

    def step(arrays: PyTree, own: Any) -> tuple[PyTree, dict[str, Array]]:
        learner, metrics = update(eqx.combine(arrays, fixed), own)
        return eqx.filter(learner, eqx.is_array), metrics

    arrays, metrics = jax.lax.scan(step, arrays, inputs)
    return eqx.combine(arrays, fixed), {name: x[9 * len(x) // 10 :].mean() for name, x in metrics.items()}
