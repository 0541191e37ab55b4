"""AdMRL, and its controls MB-Unif and MB-Gauss: Algorithm 1 of Lin, Thomas, Yang, Ma 2020.

Train on the task that the model is worst at:

    1: initialise the model, D ← ∅; a first task ψ
    2: for n_tasks training tasks                                                                    `step`
    3:     θ̂(ψ): a new policy, warmed up in the model                                                `SMT.warm_up`
    4:     n_slbo stages of SLBO from there: D grows, the policy becomes π*, about the best for ψ    `SMT.slbo`
    5:     one step of ψ up the gradient of the gap η(π*, ψ) - η(θ̂(ψ), ψ):                           `_ascend`
    6:         episodes of θ̂ in the model that it was warmed up in: H, J and ∂θ̂/∂ψ = -H⁻¹ J          `implicit.response`
    7:         real episodes of θ̂ and π*: ∂η(π*)/∂ψ - ∂η(θ̂)/∂ψ - (∂θ̂/∂ψ)ᵀ ∇_θ η(θ̂)                   `gap_gradient`
    8:         ψ ← the nearest task of the space to ψ + rate · gradient, in units of half the space
    9: a new ψ: as SMT                                                                               `adapt`

With tasks that are drawn, uniformly or from a Gaussian, all is the same but lines 5 to 8. The first task is at the same
place, and may have more stages, in all three.

Differences from the released code: the real episodes of θ̂ in line 7 are those that its first stage collects, which
therefore have the policy's own noise alone; the episodes of π* go into D, too; Hessians have cross terms between times,
which fade with λ; the policy's deviation does not move with ψ; those of SLBO (see `slbo`).
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics, iterations_held
from onebody.algorithms.slbo import implicit
from onebody.algorithms.slbo.implicit import ImplicitConfig
from onebody.algorithms.slbo.slbo import LAPTOP_STAGE, Shared, StageConfig, add_data, imagination
from onebody.algorithms.slbo.smt import SMOKE_SMT, SMT
from onebody.algorithms.slbo.smt import Config as SMTConfig
from onebody.core import random
from onebody.core.errors import OnebodyError, at_least, at_most, positive
from onebody.core.returns import first_episode_return
from onebody.core.types import Key, Transitions
from onebody.learning.actor_critic import ActorCritic
from onebody.learning.dynamics import DynamicsConfig
from onebody.tasks.family import TaskFamily
from onebody.tasks.space import Box
from onebody.worlds.imagination import Imagination
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

SOLVED = 0.5
"""residual of the linear system, over its right-hand side, above which ∂θ̂/∂ψ is not used"""


PAPER = SMTConfig(
    n_slbo=3,
    slbo=StageConfig(
        n_policy=20,
        real_episodes=50,
        imagined_episodes=50,
        model=DynamicsConfig(hidden=(1000, 1000), window=1, batch=256),
    ),
)


@dataclass(frozen=True)
class Config:
    """The released code."""

    tasks: Literal["adversarial", "uniform", "gaussian"] = "adversarial"
    """Training tasks: adversarial, each a step up the gradient of the sub-optimality gap; uniform, draws from p(ψ);
    gaussian, draws from N(0, 1) in units of half the task space, cut off at its bounds"""
    first: float = 0.3
    """Coordinate of the first training task in every task dimension, from -1 (lower bound) over 0 (centre) to 1 (upper
    bound). mb-unif draws the first task from p(ψ) if the task space is not a box"""
    n_first: int = 0
    """Number of SLBO stages on the first training task; the second training task is then the centre of the task space.
    0: the first task has as many stages as any other. The released code offers 20"""
    rate: float = 1.0
    """Step size of the gradient ascent on the task, in units of half the width of the task space"""
    real_episodes: int = 50
    """Real episodes collected with the policy π* after SLBO for each task gradient; for the warmed-up policy θ̂ the
    episodes of the task's first SLBO stage are used again"""
    imagined_episodes: int = 50
    """Imagined episodes of the warmed-up policy θ̂ per task gradient"""
    implicit: ImplicitConfig = field(default_factory=ImplicitConfig)
    """Settings of the implicit differentiation in the gradient of the sub-optimality gap"""
    smt: SMTConfig = PAPER
    """Settings of SMT's training on each task"""

    def __post_init__(self) -> None:
        at_least(-1, self, "first")
        at_most(1, self, "first")
        at_least(0, self, "n_first")
        at_least(1, self, "real_episodes", "imagined_episodes")
        positive(self, "rate")
        if self.smt.logged_transitions:
            raise OnebodyError("admrl cannot learn from logs; smt can")

    @property
    def n_iterations(self) -> int:
        """Calls of `step` in a whole training run"""
        return self.smt.n_tasks


class State(eqx.Module):
    """What all tasks share, and the task that comes next."""

    shared: Shared
    task: Float[Array, "1 feature"]


@dataclass(frozen=True)
class AdMRL:
    """Adversarial meta-training."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = True

    @property
    def smt(self) -> SMT:
        return SMT(self.family, self.config.smt, self.simulator)

    def init(self, key: Key) -> State:
        shared_key, task_key = jax.random.split(key)
        config, smt = self.config, self.config.smt
        task = self._at(config.first, task_key)
        of_first = max(config.n_first - smt.n_slbo, 0) * smt.slbo.real_episodes
        of_gradients = iterations_held(smt.n_tasks) * config.real_episodes if config.tasks == "adversarial" else 0
        shared = self.smt.begin(shared_key, more_episodes=of_first + of_gradients)
        if config.tasks == "adversarial":
            _needs_gradient(self.family, shared.starts, task_key)
        return State(shared, task)

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        warmup_key, real_key, slbo_key, next_key = jax.random.split(key, 4)
        config, smt, task = self.config, self.smt, state.task
        is_first = int(state.shared.data.size) == 0
        warm_shared, warm, _ = smt.warm_up(state.shared, task, warmup_key)
        warm_episodes = rollout(self.simulator, warm.policy, task, real_key, episodes=smt.config.slbo.real_episodes)
        if is_first and config.n_first:
            smt = replace(smt, config=replace(smt.config, n_slbo=config.n_first))
        shared, best, metrics = smt.slbo(warm_shared, warm, task, slbo_key, warm_episodes)
        if is_first and config.n_first:
            return State(shared, self._at(0.0, next_key)), metrics
        if config.tasks != "adversarial":
            return State(shared, self._drawn(next_key)), metrics
        # with equal numbers of episodes, π* and θ̂ have the same initial states and action noise
        best_episodes = rollout(self.simulator, best.policy, task, real_key, episodes=config.real_episodes)
        untrained = is_first or smt.config.n_warmup == 0
        world = imagination(warm_shared, self.family)
        task, gap = self._ascend(world, task, warm, warm_episodes, best_episodes, next_key, untrained)
        return State(add_data(shared, best, best_episodes)[0], task), metrics | gap

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        return self.smt.adapt(state.shared, tasks, key)

    def _drawn(self, key: Key) -> Float[Array, "1 feature"]:
        if self.config.tasks == "uniform":
            return self.family.space.sample(key, 1)
        middle, half = _box(self.family)
        return middle + half * jnp.clip(random.normal(key, (1, len(half))), -1.0, 1.0)

    def _at(self, place: float, key: Key) -> Float[Array, "1 feature"]:
        """The task at this place in each feature, in units of half the space; a draw where the space is no box."""
        if self.config.tasks == "uniform" and not isinstance(self.family.space, Box):
            return self._drawn(key)
        middle, half = _box(self.family)
        return (middle + place * half)[None]

    def _ascend(
        self,
        world: Imagination,
        task: Float[Array, "1 feature"],
        warm: ActorCritic,
        warm_episodes: Transitions,
        best_episodes: Transitions,
        key: Key,
        untrained: bool,
    ) -> tuple[Float[Array, "1 feature"], Metrics]:
        """Lines 5-8, from real episodes of θ̂ and of π*."""
        direct, indirect, residual = _gradient(
            world, task, warm, warm_episodes, best_episodes, key, self.config.imagined_episodes, self.config.implicit
        )
        solved = float(residual) <= SOLVED and not untrained  # an untrained policy does not move with ψ
        middle, half = _box(self.family)
        slope = half * (direct + indirect if solved else direct)
        place = jnp.clip((task[0] - middle) / jnp.where(half > 0, half, 1.0) + self.config.rate * slope, -1.0, 1.0)
        returns = [
            float(first_episode_return(each.reward, each.done).mean()) for each in (best_episodes, warm_episodes)
        ]
        metrics = {
            "gap/return": returns[0] - returns[1],
            "gap/direct": float(jnp.linalg.norm(half * direct)),
            "gap/implicit": float(jnp.linalg.norm(half * indirect)) if solved else 0.0,
            "gap/residual": float(residual),
            "gap/solved": float(solved),
        }
        return (middle + half * place)[None], metrics


@functools.partial(jax.jit, static_argnames=("imagined_episodes", "config"))
def _gradient(
    world: Imagination,
    task: Float[Array, "1 feature"],
    warm: ActorCritic,
    warm_episodes: Transitions,
    best_episodes: Transitions,
    key: Key,
    imagined_episodes: int,
    config: ImplicitConfig,
) -> tuple[Float[Array, " feature"], Float[Array, " feature"], Float[Array, ""]]:
    """Lines 6-7: the direct and the implicit terms, and the residual of the linear system."""
    imagined = rollout(world, warm.policy, task, key, episodes=imagined_episodes)
    rows = task, warm.policy, warm.value.module, imagined, warm_episodes, best_episodes
    psi, policy, value, imagined, warmed, best = jax.tree.map(lambda x: x[0], rows)
    moved = implicit.response(policy, value, psi, world.family, imagined, config)
    terms = implicit.gap_gradient(psi, policy, value, moved.jacobian, world.family, warmed, best, config)
    return *terms, moved.residual


def _box(family: TaskFamily) -> tuple[Float[Array, " feature"], Float[Array, " feature"]]:
    """Middle and half of the sides of the space."""
    space = family.space
    if not isinstance(space, Box):
        raise OnebodyError(
            f"tasks of {family.id} are {space.bounds}, and AdMRL moves the task in a box: use mb-unif, or smt"
        )
    low, high = jnp.array(space.low), jnp.array(space.high)
    return (low + high) / 2, (high - low) / 2


def _needs_gradient(family: TaskFamily, starts: Float[Array, "start observation"], key: Key) -> None:
    """Raises OnebodyError where the reward has no gradient in ψ at any initial state, each with a random task, or one
    that is not finite."""
    action = jnp.zeros((len(starts), family.body.action_size))

    def total(tasks: Float[Array, "start feature"]) -> Float[Array, ""]:
        return family.outcome(starts, action, jnp.roll(starts, 1, axis=0), tasks)[0].sum()

    gradient = jax.jit(jax.grad(total))(family.space.sample(key, len(starts)))
    if not jnp.any(gradient):
        raise OnebodyError(
            f"the reward of {family.id} has no gradient in its task at any of {len(starts)} initial states: "
            "use mb-unif, or smt"
        )
    if not jnp.all(jnp.isfinite(gradient)):
        raise OnebodyError(f"the gradient of {family.id}'s reward in its task is not finite: use mb-unif, or smt")


_PRESETS = {
    "paper": Config(),
    "published": Config(),
    # numbers of stages, iterations and gradient steps in the proportions of `paper`
    "laptop": Config(
        real_episodes=6,
        smt=SMTConfig(
            n_tasks=20,
            n_warmup=8,
            n_slbo=3,
            slbo=replace(
                LAPTOP_STAGE,
                n_inner=4,
                n_model=100,
                n_policy=20,
                real_episodes=6,
                model=DynamicsConfig(hidden=(256, 256), window=1, batch=256),
            ),
        ),
    ),
    "smoke": Config(real_episodes=4, imagined_episodes=8, smt=SMOKE_SMT),
}


def _with_tasks(tasks: str) -> AlgorithmSpec:
    presets = {name: replace(config, tasks=tasks) for name, config in _PRESETS.items()}
    return AlgorithmSpec(AdMRL, presets, fixed={"tasks": tasks}, general="admrl")


SPEC = AlgorithmSpec(AdMRL, _PRESETS)
MB_UNIF, MB_GAUSS = _with_tasks("uniform"), _with_tasks("gaussian")
