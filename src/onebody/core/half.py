"""Networks whose matrix products multiply in bfloat16 and accumulate in single precision.

Some processors have units for this (AMX, tensor cores, AVX-512's bfloat16), which are at least twice as fast as single
precision. On a CPU, XLA uses them only for products that contract the last axis of their left operand. A plain forward
pass has only such products. With gradients, activations are stored as [unit, row], so that all products have this form,
but the weights and the inputs must be transposed. Forward-mode derivatives are not supported.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

ROWS = 32
"""least number of rows for half precision; for fewer, it is not faster"""
ELEMENTWISE = (jax.nn.relu, jax.nn.silu, jnp.tanh)
"""activations that act on each unit separately, on any axis"""

Activation = Callable[[Array], Array]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def forward(
    activation: Activation, weights: Sequence[Array], biases: Sequence[Array], x: Float[Array, "*axes in"]
) -> Float[Array, "*axes out"]:
    """Output of the `nets.MLP` with these parts for x. The last layer, which is narrow, is in single precision."""
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        half = x.astype(jnp.bfloat16)
        x = activation(_contract(half, weight.astype(jnp.bfloat16), x.ndim - 1, 0) + bias)
    return x @ weights[-1] + biases[-1]


def _forward_units_first(activation: Activation, weights: Sequence[Array], biases: Sequence[Array], x: Array) -> Array:
    """As `forward`, with activations [unit, row]."""
    h = _transposed(x.reshape(-1, x.shape[-1]))
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        h = activation(_product(h, weight) + bias[:, None])
    return (_contract(h, weights[-1], 0, 0) + biases[-1]).reshape(*x.shape[:-1], -1)


def _forward_rule(
    activation: Activation, weights: Sequence[Array], biases: Sequence[Array], x: Array
) -> tuple[Array, Any]:
    return jax.vjp(partial(_forward_units_first, activation), weights, biases, x)


def _backward_rule(activation: Activation, pull: Any, gradient: Array) -> tuple[Any, Any, Array]:
    return pull(gradient)


forward.defvjp(_forward_rule, _backward_rule)


@jax.custom_vjp
def _product(h: Float[Array, "in row"], weight: Float[Array, "in out"]) -> Float[Array, "out row"]:
    """weightᵀ h."""
    return _product_forward(h, weight)[0]


def _product_forward(h: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    h, weight = h.astype(jnp.bfloat16), weight.astype(jnp.bfloat16)
    return _contract(_transposed(weight), h, 1, 0), (h, weight)


def _product_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    h, weight = saved
    gradient = gradient.astype(jnp.bfloat16)
    return _contract(weight, gradient, 1, 0), _contract(h, gradient, 1, 1)


_product.defvjp(_product_forward, _product_backward)


def _contract(a: Array, b: Array, axis: int, other: int) -> Array:
    """Product of two bfloat16 matrices over `axis` of a and `other` of b, in single precision."""
    return jax.lax.dot_general(a, b, (((axis,), (other,)), ((), ())), preferred_element_type=jnp.float32)


@jax.custom_vjp
def _transposed(x: Float[Array, "a b"]) -> Float[Array, "b a"]:
    """The transpose, by indexing: XLA would merge a transposition into the product."""
    order = np.arange(x.size).reshape(x.shape).T.ravel()
    return jnp.take(x.ravel(), order, unique_indices=True, mode="clip").reshape(x.shape[::-1])


_transposed.defvjp(lambda x: (_transposed(x), None), lambda _, gradient: (_transposed(gradient),))
