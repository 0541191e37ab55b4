"""Networks whose layers multiply in bfloat16 and add up in single precision.

Some processors have units for this (AMX, tensor cores; AVX-512's bfloat16), which are two to several times faster than
single precision.
XLA reaches those of a CPU only by products that contract the last axis of their left operand. In a plain forward pass
all products are such. Where gradients are asked for activations stand [unit, row]: then they all are once more, but
weights and the inputs have to be turned. No forward-mode derivatives.
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
    h = _turned(x.reshape(-1, x.shape[-1]))
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        h = activation(_product(h, weight) + bias[:, None])
    return (_contracted(h, weights[-1], 0, 0) + biases[-1]).reshape(*x.shape[:-1], -1)


def _forth(activation: Activation, weights: Sequence[Array], biases: Sequence[Array], x: Array) -> tuple[Array, Any]:
    return jax.vjp(partial(_unit_by_unit, activation), weights, biases, x)


def _back(activation: Activation, pull: Any, gradient: Array) -> tuple[Any, Any, Array]:
    return pull(gradient)


forward.defvjp(_forth, _back)


@jax.custom_vjp
def _product(h: Float[Array, "in row"], weight: Float[Array, "in out"]) -> Float[Array, "out row"]:
    return _product_forth(h, weight)[0]


def _product_forth(h: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    h, weight = h.astype(jnp.bfloat16), weight.astype(jnp.bfloat16)
    return _contracted(_turned(weight), h, 1, 0), (h, weight)


def _product_back(seen: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    h, weight = seen
    gradient = gradient.astype(jnp.bfloat16)
    return _contracted(weight, gradient, 1, 0), _contracted(h, gradient, 1, 1)


_product.defvjp(_product_forth, _product_back)


def _contracted(a: Array, b: Array, axis: int, other: int) -> Array:
    return jax.lax.dot_general(a, b, (((axis,), (other,)), ((), ())), preferred_element_type=jnp.float32)


@jax.custom_vjp
def _turned(x: Float[Array, "a b"]) -> Float[Array, "b a"]:
    """The transpose, taken number by number: XLA would make a transposition a part of the product."""
    order = np.arange(x.size).reshape(x.shape).T.ravel()
    return jnp.take(x.ravel(), order, unique_indices=True, mode="clip").reshape(x.shape[::-1])


_turned.defvjp(lambda x: (_turned(x), None), lambda _, gradient: (_turned(gradient),))
