"""Trust region policy optimisation (Schulman et al. 2015)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from onebody.core.errors import at_least, at_most, positive
from onebody.core.gaussian import Gaussian
from onebody.core.nets import trainable
from onebody.learning.policies import GaussianPolicy


@dataclass(frozen=True)
class TRPOConfig:
    """Step size and solver of TRPO. Defaults as in SLBO's released code, except `slack`, which is 1.5 there and in the
    `paper` presets of SLBO's family."""

    max_kl: float = 0.01
    """Trust region δ: mean KL(old ‖ new) that the natural-gradient step is scaled to, in nats"""
    slack: float = 1.0
    """Largest mean KL at which the line search accepts a step, as a multiple of δ"""
    cg_iterations: int = 10
    """Iterations of conjugate gradient for the natural-gradient direction"""
    damping: float = 0.1
    """Damping added to the diagonal of the Fisher matrix"""
    backtracks: int = 10
    """Largest number of times that the line search shortens a step"""
    shrink: float = 0.5
    """Factor by which the line search shortens a step each time"""
    entropy: float = 0.005
    """Coefficient of the entropy bonus, of the part of the distribution within |action| ≤ 2"""

    def __post_init__(self) -> None:
        at_least(1, self, "slack", "cg_iterations")
        at_least(0, self, "damping", "backtracks", "entropy")
        at_most(1, self, "shrink")
        positive(self, "max_kl", "shrink")


RLLAB_STEP = TRPOConfig(entropy=0.0, damping=1e-5, backtracks=15, shrink=0.8)
"""rllab's settings, those of the experiments of MAML, MAESN and MB-MPO"""


def surrogate(
    new: Gaussian, old: Gaussian, action: Float[Array, "*axes action"], advantage: Float[Array, "*axes"], entropy: float
) -> Float[Array, ""]:
    """Mean likelihood ratio times advantage (Schulman et al. 2015, Eq. 14), plus the entropy bonus."""
    ratio = jnp.exp(new.log_prob(action) - old.log_prob(action))
    gain = jnp.mean(ratio * advantage)
    return gain + entropy * jnp.mean(new.limited_entropy(2.0)) if entropy else gain


def no_penalty(parameters: Any) -> Float[Array, ""]:
    return jnp.zeros(())


def conjugate_gradient(
    product: Callable[[Array], Array], target: Float[Array, " n"], iterations: int
) -> Float[Array, " n"]:
    """x with product(x) = target, for a symmetric positive definite product; stops moving once solved."""

    def step(carry: tuple[Array, Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array, Array], None]:
        x, residual, direction, square = carry
        image = product(direction)
        length = square / jnp.maximum(direction @ image, 1e-20)
        x, residual = x + length * direction, residual - length * image
        new_square = residual @ residual
        direction = residual + new_square / jnp.maximum(square, 1e-20) * direction
        return (x, residual, direction, new_square), None

    start = (jnp.zeros_like(target), target, target, target @ target)
    return jax.lax.scan(step, start, None, length=iterations)[0][0]


def fisher_product(
    distribution: Callable[[Array], Gaussian], parameters: Float[Array, " n"]
) -> Callable[[Float[Array, " n"]], Float[Array, " n"]]:
    """v -> F v: the Gauss-Newton product Jᵀ M J v, M the Fisher matrix of the Gaussian in (mean, log_std).

    It equals the Hessian of the mean KL at `parameters`, at the cost of one forward and one backward pass. The
    log_std may have fewer rows than the mean and be broadcast; then each of its rows must cover equally many of them.
    """
    at, forward = jax.linearize(distribution, parameters)
    backward = jax.linear_transpose(forward, parameters)
    variance = jnp.exp(2 * at.log_std)
    rows, shared = (x.size // x.shape[-1] for x in at)

    def product(v: Array) -> Array:
        tangent = forward(v)
        return backward(Gaussian(tangent.mean / variance / rows, 2 * tangent.log_std / shared))[0]

    return product


def update(
    policy: GaussianPolicy,
    observation: Float[Array, "row observation"],
    action: Float[Array, "row action"],
    advantage: Float[Array, " row"],
    config: TRPOConfig,
) -> tuple[GaussianPolicy, dict[str, Float[Array, ""]]]:
    """One TRPO step of a policy, with advantages normalised to mean 0 and standard deviation 1."""
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    free, fixed = eqx.partition(policy, trainable(policy))
    parameters, unravel = ravel_pytree(free)

    def distribution(parameters: Array) -> Gaussian:
        return eqx.combine(unravel(parameters), fixed).distribution(observation)

    parameters, metrics = natural_gradient_step(distribution, parameters, action, advantage, config)
    return eqx.combine(unravel(parameters), fixed), metrics


def natural_gradient_step(
    distribution: Callable[[Array], Gaussian],
    parameters: Float[Array, " n"],
    action: Float[Array, "*axes action"],
    advantage: Float[Array, "*axes"],
    config: TRPOConfig,
    old: Gaussian | None = None,
    curvature: Callable[[Array], Gaussian] | None = None,
    penalty: Callable[[Array], Array] = no_penalty,
) -> tuple[Float[Array, " n"], dict[str, Float[Array, ""]]]:
    """A step along the natural gradient to the edge of the trust region, shortened until KL ≤ slack · δ and the
    surrogate does not fall. If no step is accepted, the parameters stay as they are.

    Args:
        distribution: the distributions of all actions, as a function of the parameters.
        old: these distributions at `parameters`, if they are known already.
        curvature: the distributions of a subset of the actions, used for the Fisher matrix alone (Schulman et al. 2015,
            Appendix C); by default those of all actions.
        penalty: a function of the parameters that is subtracted from the surrogate.
    """
    old = distribution(parameters) if old is None else old

    def objective(new: Gaussian, parameters: Array) -> Array:
        return surrogate(new, old, action, advantage, config.entropy) - penalty(parameters)

    before = objective(old, parameters)
    gradient = jax.grad(lambda parameters: objective(distribution(parameters), parameters))(parameters)
    fisher = fisher_product(curvature or distribution, parameters)
    damped = lambda v: fisher(v) + config.damping * v  # noqa: E731
    direction = conjugate_gradient(damped, gradient, config.cg_iterations)
    length = jnp.sqrt(2 * config.max_kl / jnp.maximum(direction @ damped(direction), 1e-20))

    def measure(times: Array) -> tuple[Array, Array, Array]:
        candidate = parameters + length * config.shrink**times * direction
        new = distribution(candidate)
        kl, gain = old.kl(new).mean(), objective(new, candidate) - before
        return (kl <= config.slack * config.max_kl) & (gain >= 0.0), kl, gain

    def backtrack(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        times = carry[0] + 1
        return times, *measure(times)

    def unfinished(carry: tuple[Array, Array, Array, Array]) -> Array:
        return ~carry[1] & (carry[0] < config.backtracks)

    first = jnp.zeros(())
    times, accepted, kl, gain = jax.lax.while_loop(unfinished, backtrack, (first, *measure(first)))
    stepped = parameters + length * config.shrink**times * direction
    metrics = {"policy/kl": jnp.where(accepted, kl, 0.0), "policy/surrogate": jnp.where(accepted, gain, 0.0)}
    return jnp.where(accepted, stepped, parameters), metrics
