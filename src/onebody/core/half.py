"""Networks whose layers multiply in bfloat16 and add up in single precision.

Some processors have matrix units for this (AMX, tensor cores), which are several times faster than single precision.
XLA reaches those of a CPU only by products that contract the last axis of their left operand. In a plain forward pass
all products are such. Where gradients are asked for activations stand [unit, row]: then they all are once more, but
weights, and what goes into and out of the first layer, have to be turned. No forward-mode derivatives.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

ROWS = 32
"""a network that is given fewer at once stays in single precision: it would gain nothing"""
UNIT_BY_UNIT = (jax.nn.relu, jax.nn.silu, jnp.tanh)
"""activations that do not care along which axis the units stand"""

Activation = Callable[[Array], Array]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def forward(
    activation: Activation, weights: Sequence[Array], biases: Sequence[Array], x: Float[Array, "*axes in"]
) -> Float[Array, "*axes out"]:
    """What the `nets.MLP` of these parts gives for x. The last layer, which is narrow, is in single precision."""
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        half = x.astype(jnp.bfloat16)
        x = activation(_contracted(half, weight.astype(jnp.bfloat16), x.ndim - 1, 0) + bias)
    return x @ weights[-1] + biases[-1]


def _unit_by_unit(activation: Activation, weights: Sequence[Array], biases: Sequence[Array], x: Array) -> Array:
    h = _first(x.reshape(-1, x.shape[-1]), weights[0])
    for weight, bias in zip(weights[1:-1], biases[:-2], strict=True):
        h = _later(activation(h + bias[:, None]), weight)
    h = activation(h + biases[-2][:, None])
    return (_contracted(h, weights[-1], 0, 0) + biases[-1]).reshape(*x.shape[:-1], -1)


def _forth(activation: Activation, weights: Sequence[Array], biases: Sequence[Array], x: Array) -> tuple[Array, Any]:
    return jax.vjp(partial(_unit_by_unit, activation), weights, biases, x)


def _back(activation: Activation, pull: Any, gradient: Array) -> tuple[Any, Any, Array]:
    return pull(gradient)


forward.defvjp(_forth, _back)


@jax.custom_vjp
def _first(x: Float[Array, "row in"], weight: Float[Array, "in out"]) -> Float[Array, "out row"]:
    return _first_forth(x, weight)[0]


def _first_forth(x: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    x, weight = x.astype(jnp.bfloat16), weight.astype(jnp.bfloat16)
    return _contracted(_turned(weight), x, 1, 1), (x, weight)


def _first_back(seen: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, weight = seen
    gradient = gradient.astype(jnp.bfloat16)
    return _turned(_contracted(weight, gradient, 1, 0)), _turned(_contracted(gradient, x, 1, 0))


@jax.custom_vjp
def _later(h: Float[Array, "in row"], weight: Float[Array, "in out"]) -> Float[Array, "out row"]:
    return _later_forth(h, weight)[0]


def _later_forth(h: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    h, weight = h.astype(jnp.bfloat16), weight.astype(jnp.bfloat16)
    return _contracted(_turned(weight), h, 1, 0), (h, weight)


def _later_back(seen: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    h, weight = seen
    gradient = gradient.astype(jnp.bfloat16)
    return _contracted(weight, gradient, 1, 0), _contracted(h, gradient, 1, 1)


_first.defvjp(_first_forth, _first_back)
_later.defvjp(_later_forth, _later_back)


def _contracted(a: Array, b: Array, axis: int, other: int) -> Array:
    return jax.lax.dot_general(a, b, (((axis,), (other,)), ((), ())), preferred_element_type=jnp.float32)


def _turned(x: Float[Array, "a b"]) -> Float[Array, "b a"]:
    """The transpose, taken number by number: XLA would make a transposition a part of the product."""
    order = np.arange(x.size).reshape(x.shape).T.ravel()
    return jnp.take(x.ravel(), order, unique_indices=True, mode="clip").reshape(x.shape[::-1])
