"""How the best policy moves with the task: derivatives of returns in both, and the implicit function theorem.

η(θ, ψ): discounted return of a Gaussian policy θ in task ψ, divided by the steps of a horizon              `discounted`
∇_θ η, ∇²_θ η and ∇_θ ∇_ψ η: derivatives of one function, from episodes of the policy                 `dice_objective`
∂θ̂/∂ψ = -H⁻¹ J where θ̂(ψ) maximises η in a model, H = ∇²_θ η, J = ∇_θ ∇_ψ η                               `response`

Rewards are the family's own function of ψ, whose derivatives are exact (Lin et al. 2020). Gradients in θ are
REINFORCE's with generalised advantages and a value that stays as it is: without bias where λ = 1 and episodes end,
else as good as the value. As in TRPO, and in the released code, they weigh all steps alike instead of by γ^t: it is
this policy gradient that is zero at θ̂. With γ = 1 it is ∇_θ η.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from onebody.core.errors import at_least, at_most, positive
from onebody.core.returns import gae
from onebody.core.types import Transitions
from onebody.learning.actor_critic import ValueFunction
from onebody.learning.policies import GaussianPolicy
from onebody.tasks.family import TaskFamily


@dataclass(frozen=True)
class ImplicitConfig:
    """Discounts, and the solver of ∂θ̂/∂ψ. AdMRL's released code."""

    discount: float = 0.99
    """Discount factor γ"""
    trace: float = 0.95
    """Trace decay λ of the generalised advantages, and factor per step between two steps by which their cross term
    counts less (Farquhar et al. 2019)"""
    damping: float = 0.1
    """Added to the diagonal of H² divided by the number of policy parameters"""
    iterations: int = 200
    """Largest number of conjugate gradient iterations"""
    tolerance: float = 1e-2
    """Residual, relative to the right-hand side, at which conjugate gradient ends; the released code has 1e-3,
    absolute"""

    def __post_init__(self) -> None:
        at_least(1, self, "iterations")
        at_least(0, self, "discount", "trace", "damping")
        at_most(1, self, "discount", "trace")
        positive(self, "tolerance")


def rewards(family: TaskFamily, episodes: Transitions, task: Float[Array, " feature"]) -> Float[Array, "time episode"]:
    """What `[time, episode]` transitions would have given in another task."""
    return family.outcome(episodes.observation, episodes.action, episodes.next_observation, task)[0]


def discounted(
    task: Float[Array, " feature"], family: TaskFamily, episodes: Transitions, discount: float
) -> Float[Array, ""]:
    """η: mean of γ^t r_t(ψ) over the steps of a horizon, 0 once the episode has ended."""
    weight = discount ** jnp.arange(len(episodes.done))[:, None]
    return jnp.mean(weight * _counted(episodes) * rewards(family, episodes, task))


def dice_objective(
    parameters: Float[Array, " n"],
    task: Float[Array, " feature"],
    policy: GaussianPolicy,
    value: ValueFunction,
    family: TaskFamily,
    episodes: Transitions,
    config: ImplicitConfig,
) -> Float[Array, ""]:
    """Loaded DiCE (Farquhar, Whiteson, Foerster 2019): mean of (□(w_t) - □(w_t - log π_t)) A_t(ψ), where
    w_t = Σ_{j ≤ t} λ^{t-j} log π_θ(a_j | s_j) and □(w) = exp(w - stop_gradient(w)).

    Only its derivatives in θ and ψ mean something. They estimate those of η, except that steps are not weighted by γ^t;
    V bootstraps truncated episodes. Cross terms between times fade with λ.
    """
    rewarded = episodes._replace(reward=rewards(family, episodes, task))
    advantage = gae(
        rewarded, value(episodes.observation), value(episodes.next_observation), config.discount, config.trace
    )
    log_prob = _with(policy, parameters).distribution(episodes.observation).log_prob(episodes.action)

    def step(decayed_sum: Array, log_prob: Array) -> tuple[Array, Array]:
        decayed_sum = log_prob + config.trace * decayed_sum
        return decayed_sum, decayed_sum

    _, w = jax.lax.scan(step, jnp.zeros_like(log_prob[0]), log_prob)
    magic_box = lambda x: jnp.exp(x - jax.lax.stop_gradient(x))  # noqa: E731
    return jnp.mean(_counted(episodes) * (magic_box(w) - magic_box(w - log_prob)) * advantage)


class Response(NamedTuple):
    """∂θ̂/∂ψ, and how well it solves its equations."""

    jacobian: Float[Array, "n feature"]
    residual: Float[Array, ""]
    """largest norm, over ψ's features, of what is left, over that of the right-hand side"""


def response(
    policy: GaussianPolicy,
    value: ValueFunction,
    task: Float[Array, " feature"],
    family: TaskFamily,
    imagined: Transitions,
    config: ImplicitConfig,
) -> Response:
    """∂θ̂/∂ψ of a policy that is stationary in the model, from its episodes there.

    H is indefinite away from a maximum, so conjugate gradient solves the normal equations (H² / n + damping) x =
    -H J / n of each feature of ψ. H is never formed.
    """
    parameters = flat(policy)

    def slope(parameters: Array, task: Array) -> Array:
        return jax.grad(dice_objective)(parameters, task, policy, value, family, imagined, config)

    cross, n = jax.jacfwd(slope, argnums=1)(parameters, task), len(parameters)
    _, hessian = jax.linearize(lambda parameters: slope(parameters, task), parameters)

    def solve(column: Float[Array, " n"]) -> tuple[Array, Array]:
        squared = lambda v: hessian(hessian(v)) / n + config.damping * v  # noqa: E731
        return least_residual(squared, -hessian(column) / n, config)

    columns, left = jax.lax.map(solve, cross.T)
    return Response(columns.T, left.max())


def least_residual(
    product: Callable[[Array], Array], target: Float[Array, " n"], config: ImplicitConfig
) -> tuple[Float[Array, " n"], Float[Array, ""]]:
    """Conjugate gradient for product(x) = target: the iterate with the smallest residual, and that over the target's
    norm. A product that is not positive definite may leave it at 1."""
    whole = target @ target

    def step(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        i, x, residual, direction, square, best, least = carry
        image = product(direction)
        length = square / (direction @ image)
        x, residual = x + length * direction, residual - length * image
        new = residual @ residual
        direction = residual + new / square * direction
        return i + 1, x, residual, direction, new, jnp.where(new < least, x, best), jnp.fmin(new, least)

    def goes_on(carry: tuple[Array, ...]) -> Array:
        i, _, _, _, square, _, least = carry
        return (i < config.iterations) & jnp.isfinite(square) & (least > config.tolerance**2 * whole)

    zero = jnp.zeros_like(target)
    *_, best, least = jax.lax.while_loop(goes_on, step, (jnp.array(0), zero, target, target, whole, zero, whole))
    left = jnp.where(jnp.isfinite(whole), jnp.sqrt(least / jnp.where(whole == 0, 1.0, whole)), 1.0)
    return best, jnp.where(whole == 0, 0.0, left)


def gap_gradient(
    task: Float[Array, " feature"],
    policy: GaussianPolicy,
    value: ValueFunction,
    moved: Float[Array, "n feature"],
    family: TaskFamily,
    warm: Transitions,
    best: Transitions,
    config: ImplicitConfig,
) -> tuple[Float[Array, " feature"], Float[Array, " feature"]]:
    """∇_ψ of η(π*, ψ) - η(θ̂(ψ), ψ) in the real world: its direct terms, and the one through ∂θ̂/∂ψ.

    For γ < 1 the direct terms are those of the discounted returns, while the policy gradient in the other weighs all
    steps alike, as in the released code: the sum is then not the gradient of the discounted gap.

    Args:
        policy, value: θ̂, and its V.
        moved: ∂θ̂/∂ψ.
        warm, best: real episodes of θ̂ and of π*.
    """
    of = jax.grad(discounted)
    direct = of(task, family, best, config.discount) - of(task, family, warm, config.discount)
    slope = jax.grad(dice_objective)(flat(policy), task, policy, value, family, warm, config)
    return direct, -slope @ moved


def flat(policy: GaussianPolicy) -> Float[Array, " n"]:
    """θ in a row: the network of the mean. The deviation, which entropy keeps up, is at no maximum of η, and stays."""
    return ravel_pytree(policy.net)[0]


def _with(policy: GaussianPolicy, parameters: Float[Array, " n"]) -> GaussianPolicy:
    return eqx.tree_at(lambda p: p.net, policy, ravel_pytree(policy.net)[1](parameters))


def _counted(episodes: Transitions) -> Float[Array, "time episode"]:
    """1 in the first episode of each slot; 0 in those that follow where it ends early, which η does not count."""
    return jnp.where(jnp.cumsum(episodes.done, axis=0) > episodes.done, 0.0, 1.0)
