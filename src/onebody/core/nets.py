"""Networks and the running normaliser, as Equinox modules that work on any leading axes."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from onebody.core import half as precision
from onebody.core import random
from onebody.core.types import Key

Initializer = Callable[[Key, tuple[int, int]], Array]


def normalized_columns(gain: float) -> Initializer:
    """Gaussian weights, each output's column scaled to norm `gain` ("normc", Dhariwal et al. 2017)."""

    def initialize(key: Key, shape: tuple[int, int]) -> Array:
        weight = random.normal(key, shape)
        return gain * weight / jnp.linalg.norm(weight, axis=0, keepdims=True)

    return initialize


def truncated_normal(std: float) -> Initializer:
    """Normal weights of standard deviation `std`, cut at two deviations."""
    return lambda key, shape: std * random.truncated_normal(key, -2.0, 2.0, shape)


def fan_in(gain: float) -> Initializer:
    """Normal weights of standard deviation gain / √inputs, cut at two deviations (LeCun et al. 1998)."""
    return lambda key, shape: gain * random.truncated_normal(key, -2.0, 2.0, shape) / jnp.sqrt(shape[0])


def uniform(limit: float | None = None) -> Initializer:
    """Weights within ± `limit`, by default 1/√outputs (the released PEARL takes a layer's outputs for its inputs)."""

    def initialize(key: Key, shape: tuple[int, int]) -> Array:
        bound = shape[1] ** -0.5 if limit is None else limit
        return random.uniform(key, shape, low=-bound, high=bound)

    return initialize


def _mean(x: Array) -> Array:
    return x @ jnp.full((x.shape[-1], 1), 1.0 / x.shape[-1])


def _normed(activation: Callable[[Array], Array], pull: Callable[[Array, Array], Array]) -> Callable[[Array], Array]:
    """An activation of the layer-normalised units (Ba et al. 2016, without gain and bias).

    Its derivative is written out, and means are products with a column, because XLA's own are slow on a CPU.

    Args:
        pull: gradients of its outputs, and its inputs -> gradients of its inputs.
    """

    def forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
        centred = x - _mean(x)
        scale = jax.lax.rsqrt(_mean(centred**2) + 1e-6)
        y = centred * scale
        return activation(y), (y, scale)

    def backward(seen: tuple[Array, Array], gradient: Array) -> tuple[Array]:
        y, scale = seen
        inner = pull(gradient, y)
        return (scale * (inner - _mean(inner) - y * _mean(inner * y)),)

    @jax.custom_vjp
    def normed(x: Float[Array, "*axes unit"]) -> Float[Array, "*axes unit"]:
        return forward(x)[0]

    normed.defvjp(forward, backward)
    return normed


def _pull_silu(gradient: Array, y: Array) -> Array:
    sigmoid = jax.nn.sigmoid(y)
    return gradient * sigmoid * (1 + y * (1 - sigmoid))


normed_silu = _normed(jax.nn.silu, _pull_silu)
normed_tanh = _normed(jnp.tanh, lambda gradient, y: gradient * (1 - jnp.tanh(y) ** 2))
normed_relu = _normed(jax.nn.relu, lambda gradient, y: jnp.where(y > 0, gradient, 0.0))


class MLP(eqx.Module):
    """A multi-layer perceptron: `x @ weight + bias` a layer, `activation` between them, none at the end."""

    weights: list[Float[Array, "in out"]]
    biases: list[Float[Array, " out"]]
    activation: Callable[[Array], Array] = eqx.field(static=True)
    half: bool = eqx.field(static=True)
    """multiplies large batches in half precision (`core/half.py`)"""

    def __init__(
        self,
        key: Key,
        sizes: Sequence[int],
        activation: Callable[[Array], Array],
        initializers: Sequence[Initializer],
        half: bool = False,
    ):
        """`sizes` counts the input, each hidden layer and the output; one initializer a layer; biases start at 0.

        Raises:
            ValueError: half precision with an activation that looks at several units.
        """
        if half and activation not in precision.UNIT_BY_UNIT:
            raise ValueError("half precision needs an activation of single units, such as jax.nn.relu")
        keys = jax.random.split(key, len(sizes) - 1)
        shapes = list(itertools.pairwise(sizes))
        self.weights = [f(k, shape) for f, k, shape in zip(initializers, keys, shapes, strict=True)]
        self.biases = [jnp.zeros(shape[1]) for shape in shapes]
        self.activation = activation
        self.half = half

    def features(self, x: Float[Array, "*axes in"]) -> Float[Array, "*axes unit"]:
        """The last hidden layer."""
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = self.activation(x @ weight + bias)
        return x

    def __call__(self, x: Float[Array, "*axes in"]) -> Float[Array, "*axes out"]:
        if self.half and len(self.weights) > 1 and math.prod(x.shape[:-1]) >= precision.ROWS:
            return precision.forward(self.activation, self.weights, self.biases, x)
        return self.features(x) @ self.weights[-1] + self.biases[-1]


UNVARIED = 1e-6
"""a feature whose standard deviation is no more than this, or than this times its mean, counts as constant"""


class Normalizer(eqx.Module):
    """Running mean and standard deviation per feature; never trained by gradients (see `trainable`).

    A constant feature is normalised to 0, so that whatever reads it ignores it until the data show that it varies.
    """

    count: Float[Array, ""]
    mean: Float[Array, " feature"]
    std: Float[Array, " feature"]

    def __init__(self, size: int):
        self.count, self.mean, self.std = jnp.zeros(()), jnp.zeros(size), jnp.ones(size)

    def __call__(self, x: Float[Array, "*axes feature"]) -> Float[Array, "*axes feature"]:
        return (x - self.mean) / self.scale

    def inverse(self, x: Float[Array, "*axes feature"]) -> Float[Array, "*axes feature"]:
        return x * self.spread + self.mean

    @property
    def varied(self) -> Bool[Array, "*axes feature"]:
        """Whether each feature has varied; float32 resolves no smaller deviations. Before any data: yes."""
        return self.std > UNVARIED * jnp.maximum(1.0, jnp.abs(self.mean))

    @property
    def scale(self) -> Float[Array, "*axes feature"]:
        """Standard deviations to divide by; infinite for a constant feature."""
        return jnp.where(self.varied, self.std, jnp.inf)

    @property
    def spread(self) -> Float[Array, "*axes feature"]:
        """Standard deviations to multiply with; 0 for a constant feature."""
        return jnp.where(self.varied, self.std, 0.0)

    def update(self, x: Float[Array, "*axes feature"]) -> "Normalizer":
        """Merge all rows of `x` into the statistics (Chan, Golub, LeVeque 1983); std is at least UNVARIED."""
        x = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        n, mean, variance = x.shape[0], x.mean(0), x.var(0)
        total, difference = self.count + n, mean - self.mean
        merged = self.count * self.spread**2 + n * variance + difference**2 * self.count * n / total
        new = (total, self.mean + difference * n / total, jnp.maximum(jnp.sqrt(merged / total), UNVARIED))
        return eqx.tree_at(lambda s: (s.count, s.mean, s.std), self, new)


UNKNOWN = 10.0
"""a feature whose standard deviation grows more than so many times hardly varied before, and begins anew"""


def renormalized(module: Any, new: Normalizer, net: Callable[[Any], MLP] = lambda module: module.net) -> Any:
    """A module with a network behind its normaliser `observation`, given other statistics: the same function.

    The first layer takes up the change; without that, new data would change what has been learned from old ones. At the
    first statistics there is nothing to keep, and the network stays as it is. A feature that was constant was ignored,
    so its weights become 0, from where they are trained once it varies. Leading axes are kept.

    Args:
        net: the network in the module. Its inputs are the normalised observation and whatever follows that.
    """
    old, weight, bias = module.observation, net(module).weights[0], net(module).biases[0]
    size = new.mean.shape[-1]
    known = (old.count[..., None] > 0) & old.varied & (new.std < UNKNOWN * old.std)
    scale = jnp.where(known, new.std / old.std, old.varied)
    shift = jnp.where(known, (new.mean - old.mean) / old.std, 0.0)
    seen = weight[..., :size, :]
    weight = weight.at[..., :size, :].set(seen * scale[..., None])
    where = lambda m: (net(m).weights[0], net(m).biases[0], m.observation)  # noqa: E731
    return eqx.tree_at(where, module, (weight, bias + (shift[..., None, :] @ seen)[..., 0, :], new))


def trainable(module: Any) -> Any:
    """A filter for `eqx.partition`: the float arrays of a module that gradients may change, so no normalizer."""

    def keep(node: Any) -> Any:
        return jax.tree.map(lambda _: False, node) if isinstance(node, Normalizer) else eqx.is_inexact_array(node)

    return jax.tree.map(keep, module, is_leaf=lambda node: isinstance(node, Normalizer))
