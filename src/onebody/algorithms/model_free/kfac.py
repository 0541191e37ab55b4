"""K-FAC: the natural gradient with a Fisher matrix that is a Kronecker product in each layer (Martens, Grosse 2015,
https://arxiv.org/abs/1503.05671), and the trust region of ACKTR (Wu et al. 2017, https://arxiv.org/abs/1708.05144).

Written here because kfac-jax (0.0.8), the implementation that is kept for JAX, fails in its first step under JAX 0.10,
and needs a nightly build of TensorFlow Probability.
"""

from dataclasses import dataclass
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.core.errors import OnebodyError, at_least, positive
from onebody.core.nets import MLP

Parameters = TypeVar("Parameters")


@dataclass(frozen=True)
class KFACConfig:
    """Settings of a K-FAC optimiser."""

    rate: float
    """Largest learning rate η_max"""
    radius: float
    """Trust region δ: largest ½ Δᵀ (F + λ I) Δ, in nats, of a step Δ before momentum is added"""
    damping: float
    """Tikhonov damping λ of the Fisher matrix, shared between a layer's two factors (Martens and Grosse 2015, §6.3)"""
    decay: float
    """Decay of the running averages of the factors per step; lower in the first steps"""
    momentum: float = 0.9
    """Share of the last step in the next one"""

    def __post_init__(self) -> None:
        at_least(0, self, "damping", "decay", "momentum")
        positive(self, "rate", "radius")
        for name in ("decay", "momentum"):
            if getattr(self, name) >= 1:
                raise OnebodyError(f"KFACConfig: {name} must be below 1, not {getattr(self, name)}")


class Factors(eqx.Module):
    """Running averages of both factors of each layer's Fisher matrix, whose biases are weights of an input of 1."""

    inputs: list[Float[Array, "_ _"]]
    """A: mean of a aᵀ, a the layer's inputs"""
    outputs: list[Float[Array, "_ _"]]
    """G: mean of g gᵀ, g the derivative of the log-density of an output that the network's distribution gives"""
    n: Float[Array, ""]
    """steps so far"""

    @staticmethod
    def empty(net: MLP) -> "Factors":
        square = lambda n: jnp.zeros((n, n))  # noqa: E731
        inputs, outputs = ([w.shape[axis] for w in net.weights] for axis in (0, 1))
        return Factors([square(n + 1) for n in inputs], [square(n) for n in outputs], jnp.zeros(()))

    def updated(self, net: MLP, x: Float[Array, "row in"], slope: Float[Array, "row out"], decay: float) -> "Factors":
        """With the averages over some rows; a plain mean over the steps, until these outweigh `decay` (ibid., §5).

        Args:
            slope: derivative of the log-density of outputs, drawn from the network's distribution, by its mean.
        """
        inputs, slopes = _passes(net, x, slope)
        keep = jnp.minimum(self.n / (self.n + 1), decay)
        mixed = lambda old, rows: keep * old + (1 - keep) * (rows.T @ rows) / len(rows)  # noqa: E731
        return Factors(
            list(map(mixed, self.inputs, map(_with_one, inputs))), list(map(mixed, self.outputs, slopes)), self.n + 1
        )


def _with_one(rows: Float[Array, "row in"]) -> Float[Array, "row more"]:
    return jnp.concatenate([rows, jnp.ones_like(rows[:, :1])], axis=1)


def _passes(net: MLP, x: Array, slope: Array) -> tuple[list[Array], list[Array]]:
    """Each layer's inputs, and the derivatives by its outputs before the activation."""

    def forward(shifts: list[Array]) -> tuple[Array, list[Array]]:
        inputs, out = [], x
        for weight, bias, shift in zip(net.weights, net.biases, shifts, strict=True):
            inputs.append(net.activation(out) if inputs else x)
            out = inputs[-1] @ weight + bias + shift
        return out, inputs

    _, pull, inputs = jax.vjp(forward, [jnp.zeros((len(x), len(b))) for b in net.biases], has_aux=True)
    return inputs, pull(slope)[0]


def natural(gradient: MLP, factors: Factors, damping: float) -> MLP:
    """F⁻¹ times a gradient: (A + π √λ I)⁻¹ ∇ (G + √λ / π I)⁻¹ in each layer, π² the ratio of their mean eigenvalues."""
    weights, biases = [], []
    for weight, bias, a, g in zip(gradient.weights, gradient.biases, factors.inputs, factors.outputs, strict=True):
        mean_a, mean_g = (jnp.maximum(jnp.diag(m).mean(), 1e-12) for m in (a, g))
        ratio, root = jnp.sqrt(mean_a / mean_g), damping**0.5
        left = a + ratio * root * jnp.eye(len(a))
        right = g + root / ratio * jnp.eye(len(g))
        both = jnp.concatenate([weight, bias[None]])
        both = jax.scipy.linalg.solve(left, both, assume_a="pos")
        both = jax.scipy.linalg.solve(right, both.T, assume_a="pos").T
        weights.append(both[:-1])
        biases.append(both[-1])
    return eqx.tree_at(lambda net: (net.weights, net.biases), gradient, (weights, biases))


def step(
    parameters: Parameters,
    gradient: Parameters,
    direction: Parameters,
    velocity: Parameters,
    rate: Float[Array, ""] | float,
    config: KFACConfig,
) -> tuple[Parameters, Parameters]:
    """Down a loss by η Δ, η = min(η_max, √(2 δ / Δᵀ F Δ)) (Wu et al. 2017, §4.2), averaged with the last steps.

    Args:
        direction: Δ, the natural `gradient`, so that the product of the two is Δᵀ F Δ, F damped.
        velocity: what this returned besides the parameters for the last step; zeros before the first one.
        rate: η_max.
    """
    products = jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, direction))
    length = jnp.minimum(rate, jnp.sqrt(2 * config.radius / jnp.maximum(sum(products), 1e-20)))
    share = (1 - config.momentum) * length
    velocity = jax.tree.map(lambda v, d: config.momentum * v + share * d, velocity, direction)
    return jax.tree.map(jnp.subtract, parameters, velocity), velocity
