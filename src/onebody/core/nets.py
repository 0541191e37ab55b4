"""Networks and the running normaliser, as Equinox modules that accept any leading axes."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from onebody.core import half as precision
from onebody.core import random
from onebody.core.types import Key

Draw = Callable[[Key, tuple[int, ...]], Array]


class Initializer(NamedTuple):
    """How the weights of a layer are drawn: standard numbers, turned into weights."""

    draw: Draw
    """(key, shape) -> standard numbers"""
    weights: Callable[[Float[Array, "in out"]], Float[Array, "in out"]]
    """standard numbers -> weights"""

    def __call__(self, key: Key, shape: tuple[int, int]) -> Float[Array, "in out"]:
        return self.weights(self.draw(key, shape))


def _truncated(key: Key, shape: tuple[int, ...]) -> Array:
    return random.truncated_normal(key, -2.0, 2.0, shape)


def _centred(key: Key, shape: tuple[int, ...]) -> Array:
    return random.uniform(key, shape, low=-1.0, high=1.0)


def normalized_columns(gain: float) -> Initializer:
    """Gaussian weights with the column of each output scaled to norm `gain` ("normc", Dhariwal et al. 2017)."""
    return Initializer(random.normal, lambda x: gain * x / jnp.linalg.norm(x, axis=0, keepdims=True))


def truncated_normal(std: float) -> Initializer:
    """Normal weights of standard deviation `std`, truncated at two standard deviations."""
    return Initializer(_truncated, lambda x: std * x)


def fan_in(gain: float) -> Initializer:
    """Normal weights of standard deviation gain / √inputs, truncated at two of them (LeCun et al. 1998)."""
    return Initializer(_truncated, lambda x: gain * x / jnp.sqrt(len(x)))


def uniform(limit: float | None = None) -> Initializer:
    """Uniform weights within ± `limit`, by default 1/√outputs (as in the released PEARL, in place of 1/√inputs)."""
    return Initializer(_centred, lambda x: (x.shape[1] ** -0.5 if limit is None else limit) * x)


def xavier() -> Initializer:
    """Uniform weights within ± √(6 / (inputs + outputs)) (Glorot and Bengio 2010)."""
    return Initializer(_centred, lambda x: jnp.sqrt(6 / sum(x.shape)) * x)


def _drawn(
    key: Key, shapes: Sequence[tuple[int, int]], initializers: Sequence[Initializer]
) -> list[Float[Array, "in out"]]:
    """Weights of each layer. Layers with one distribution draw as many numbers as the largest of them needs, in one
    call: the numbers of a longer draw begin with those of a shorter one, and one call compiles faster."""
    keys, weights = jax.random.split(key, len(shapes)), {}
    for draw in dict.fromkeys(initializer.draw for initializer in initializers):
        layers = [i for i, initializer in enumerate(initializers) if initializer.draw is draw]
        size = max(math.prod(shapes[i]) for i in layers)
        numbers = jax.vmap(lambda k, draw=draw, size=size: draw(k, (size,)))(keys[jnp.array(layers)])
        for own, i in zip(numbers, layers, strict=True):
            weights[i] = initializers[i].weights(own[: math.prod(shapes[i])].reshape(shapes[i]))
    return [weights[i] for i in range(len(shapes))]


def _mean(x: Array) -> Array:
    """Mean over the last axis, which is kept."""
    return x @ jnp.full((x.shape[-1], 1), 1.0 / x.shape[-1])


def _normed(activation: Callable[[Array], Array], pull: Callable[[Array, Array], Array]) -> Callable[[Array], Array]:
    """The activation of layer-normalised units (Ba et al. 2016, without gain and bias).

    The derivative is explicit, and means are products with a column, because those of XLA are slow on a CPU.

    Args:
        pull: backward pass of the activation: (gradients of its outputs, its inputs) -> gradients of its inputs.
    """

    def forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
        centred = x - _mean(x)
        scale = jax.lax.rsqrt(_mean(centred**2) + 1e-6)
        y = centred * scale
        return activation(y), (y, scale)

    def backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array]:
        y, scale = saved
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
    """A multi-layer perceptron: `x @ weight + bias` per layer, with `activation` between layers and none at the end."""

    weights: list[Float[Array, "in out"]]
    biases: list[Float[Array, " out"]]
    activation: Callable[[Array], Array] = eqx.field(static=True)
    half: bool = eqx.field(static=True)
    """whether large batches are multiplied in half precision (`core/half.py`)"""

    def __init__(
        self,
        key: Key,
        sizes: Sequence[int],
        activation: Callable[[Array], Array],
        initializers: Sequence[Initializer],
        half: bool = False,
    ):
        """Initialise the network; biases start at 0.

        Args:
            sizes: number of units of the input, of each hidden layer and of the output.
            initializers: one per layer.
            half: multiply large batches in half precision.

        Raises:
            ValueError: half precision with an activation that is not elementwise.
        """
        if half and activation not in precision.ELEMENTWISE:
            raise ValueError("half precision needs an elementwise activation, such as jax.nn.relu")
        shapes = list(itertools.pairwise(sizes))
        self.weights = _drawn(key, shapes, initializers)
        self.biases = [jnp.zeros(shape[1]) for shape in shapes]
        self.activation = activation
        self.half = half

    def features(self, x: Float[Array, "*axes in"]) -> Float[Array, "*axes unit"]:
        """Activations of the last hidden layer."""
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = self.activation(x @ weight + bias)
        return x

    def __call__(self, x: Float[Array, "*axes in"]) -> Float[Array, "*axes out"]:
        if self.half and len(self.weights) > 1 and math.prod(x.shape[:-1]) >= precision.ROWS:
            return precision.forward(self.activation, self.weights, self.biases, x)
        return self.features(x) @ self.weights[-1] + self.biases[-1]


CONSTANT = 1e-6
"""a feature counts as constant if its standard deviation is at most this, or this times its mean"""


class Normalizer(eqx.Module):
    """Running mean and standard deviation per feature; not trained by gradients (see `trainable`).

    A constant feature is normalised to 0, so that networks ignore it until it varies in the data.
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
        """Whether each feature has varied, as far as float32 can resolve it; true before any data."""
        return self.std > CONSTANT * jnp.maximum(1.0, jnp.abs(self.mean))

    @property
    def scale(self) -> Float[Array, "*axes feature"]:
        """Standard deviations for division; infinite for a constant feature."""
        return jnp.where(self.varied, self.std, jnp.inf)

    @property
    def spread(self) -> Float[Array, "*axes feature"]:
        """Standard deviations for multiplication; 0 for a constant feature."""
        return jnp.where(self.varied, self.std, 0.0)

    def update(self, x: Float[Array, "*axes feature"]) -> "Normalizer":
        """Merge all rows of `x` into the statistics (Chan, Golub, LeVeque 1983); std is at least CONSTANT."""
        x = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        n, mean, variance = x.shape[0], x.mean(0), x.var(0)
        total, difference = self.count + n, mean - self.mean
        merged = self.count * self.spread**2 + n * variance + difference**2 * self.count * n / total
        statistics = (total, self.mean + difference * n / total, jnp.maximum(jnp.sqrt(merged / total), CONSTANT))
        return eqx.tree_at(lambda s: (s.count, s.mean, s.std), self, statistics)


MAX_GROWTH = 10.0
"""growth of a feature's standard deviation above which its old statistics count as unknown and its weights become 0"""


def renormalized(module: Any, new: Normalizer, net: Callable[[Any], MLP] = lambda module: module.net) -> Any:
    """Replace the statistics of a module's normaliser `observation` without changing the function that it computes.

    The first layer compensates for the change, so that new data do not change what has been learned. With the first
    statistics there is nothing to preserve, and the network stays as it is. A feature that was constant was ignored, so
    its weights become 0 and are trained once it varies. Leading axes are kept.

    Args:
        net: returns the network in the module, whose inputs are the normalised observation and possibly more features.
    """
    old, weight, bias = module.observation, net(module).weights[0], net(module).biases[0]
    size = new.mean.shape[-1]
    known = (old.count[..., None] > 0) & old.varied & (new.std < MAX_GROWTH * old.std)
    scale = jnp.where(known, new.std / old.std, old.varied)
    shift = jnp.where(known, (new.mean - old.mean) / old.std, 0.0)
    of_observation = weight[..., :size, :]
    weight = weight.at[..., :size, :].set(of_observation * scale[..., None])
    where = lambda m: (net(m).weights[0], net(m).biases[0], m.observation)  # noqa: E731
    return eqx.tree_at(where, module, (weight, bias + (shift[..., None, :] @ of_observation)[..., 0, :], new))


def trainable(module: Any) -> Any:
    """A filter for `eqx.partition` that selects the float arrays of a module, except those of normalizers."""

    def keep(node: Any) -> Any:
        return jax.tree.map(lambda _: False, node) if isinstance(node, Normalizer) else eqx.is_inexact_array(node)

    return jax.tree.map(keep, module, is_leaf=lambda node: isinstance(node, Normalizer))
