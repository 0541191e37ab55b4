"""The diagonal Gaussian: samples, log-density, KL divergence and entropy."""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax.nn import softplus
from jax.scipy.special import erf
from jaxtyping import Array, Float

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def log_tanh_slope(x: Float[Array, "*axes feature"]) -> Float[Array, "*axes"]:
    """Σ log(1 - tanh² x) over the last axis, the log-determinant of tanh's Jacobian, computed without cancellation."""
    return (2 * (jnp.log(2.0) - x - softplus(-2 * x))).sum(-1)


class Gaussian(NamedTuple):
    """A diagonal Gaussian over the last axis; `log_std` broadcasts against `mean`."""

    mean: Float[Array, "*axes feature"]
    log_std: Float[Array, "*features"]

    def sample(self, noise: Float[Array, "*axes feature"]) -> Float[Array, "*axes feature"]:
        """`mean + std · noise`: a sample if the noise is standard normal, the mean if it is zero."""
        return self.mean + jnp.exp(self.log_std) * noise

    def log_prob(self, x: Float[Array, "*axes feature"]) -> Float[Array, "*axes"]:
        """Log-density of x, summed over the last axis."""
        z = (x - self.mean) * jnp.exp(-self.log_std)
        return -(0.5 * z**2 + self.log_std + _HALF_LOG_2PI).sum(-1)

    def kl(self, other: "Gaussian") -> Float[Array, "*axes"]:
        """KL(self ‖ other) in nats, summed over the last axis."""
        variance, other_variance = jnp.exp(2 * self.log_std), jnp.exp(2 * other.log_std)
        ratio = (variance + (self.mean - other.mean) ** 2) / (2 * other_variance)
        return (other.log_std - self.log_std + ratio - 0.5).sum(-1)

    def limited_entropy(self, limit: float) -> Float[Array, "*axes"]:
        """∫ -p log p over |x| ≤ limit per dimension, summed over the last axis.

        Unlike the entropy, it does not grow with the standard deviation once the mass leaves the range of actions
        (SLBO, Appendix F). The released code has another second term; this is the exact integral.
        """
        scale = jnp.sqrt(2.0) * jnp.exp(self.log_std)
        low, high = (-limit - self.mean) / scale, (limit - self.mean) / scale
        mass = 0.5 * (erf(high) - erf(low))
        edges = (high * jnp.exp(-(high**2)) - low * jnp.exp(-(low**2))) / (2 * jnp.sqrt(jnp.pi))
        return ((self.log_std + _HALF_LOG_2PI + 0.5) * mass - edges).sum(-1)


def standard(*shape: int) -> Gaussian:
    """The standard normal distribution N(0, I) with mean and log-std of this shape."""
    return Gaussian(jnp.zeros(shape), jnp.zeros(shape))
