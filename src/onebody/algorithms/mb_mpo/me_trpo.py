"""ME-TRPO: model-ensemble trust region policy optimisation (Kurutach et al. 2018).

    1: initialise the policy θ and the models
    2: for n_iterations                                                                           `step`
    3:     D ← D ∪ real episodes with π_θ; with random actions in the first iteration             `models.collect`
    4:     fit each model on its own split of D until its validation loss no longer falls         `models.fit`
    5:     until 25 steps bring nothing that 70% of the models call better, or n_policy steps     `improve`
    6:         θ ← one step of TRPO on imagined episodes, each step of each in a random model
           θ ← the best of them, as the models say
    7: a new ψ: line 5 for ψ alone, without a real sample; then lines 3-5 for ψ                    `adapt`

As MB-MPO's authors have it for their comparison: their models, policy and linear baseline; here the models' vote in
line 5 is the original's, which that comparison leaves out (`validated`). The baseline is fitted before the advantages
are taken, as everywhere in onebody.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from onebody.algorithms.mb_mpo.models import (
    LAPTOP_MODELS,
    SMOKE_MODELS,
    Mixed,
    Models,
    collect,
    fit,
    imagination,
    new_models,
    returns_by_model,
)
from onebody.algorithms.mb_mpo.validated import ValidatedConfig
from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics
from onebody.core.errors import OnebodyError, at_least, at_most
from onebody.core.nets import Normalizer
from onebody.core.types import Key
from onebody.learning import linear_baseline, trpo
from onebody.learning.policies import GaussianPolicy, for_each, stacked
from onebody.learning.trpo import TRPOConfig
from onebody.tasks.family import TaskFamily
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

CHECK = 5
"""steps between two times that the models are asked whether it gets better"""
IMPROVED = 0.7
"""share of the models that must say so"""
JUDGED = 10
"""imagined episodes of each that say it"""
PATIENCE = 25
"""steps without a better policy after which it ends"""


@dataclass(frozen=True)
class Config:
    """The settings of MB-MPO's comparison."""

    n_iterations: int = 100
    """Iterations of training"""
    real_episodes: int = 20
    """Real episodes per iteration, and per task and stage of adaptation"""
    n_policy: int = 30
    """Largest number of TRPO steps per iteration and per stage of adaptation"""
    episodes: int = 250
    """Imagined episodes per TRPO step"""
    validated: bool = True
    """Let the models judge the policy every 5 TRPO steps: keep the last policy that 70% of them call better, and end an
    iteration's policy search after 25 steps without one. Otherwise take all n_policy steps and keep the last policy, as
    in MB-MPO's comparison"""
    hidden: tuple[int, ...] = (32, 32)
    """Units of each hidden layer of the policy"""
    discount: float = 0.99
    """Discount factor γ"""
    trace: float = 1.0
    """Trace decay λ of the generalised advantages"""
    task: tuple[float, ...] | None = None
    """Task ψ to train on; None: a draw from p(ψ)"""
    model: ValidatedConfig = field(default_factory=partial(ValidatedConfig, epochs=1000, capacity=400_000))
    """Settings of the ensemble of dynamics models"""
    trpo: TRPOConfig = field(default_factory=partial(TRPOConfig, entropy=0.0, damping=1e-5))
    """Settings of each TRPO step"""

    def __post_init__(self) -> None:
        at_least(1, self, "n_iterations", "real_episodes", "n_policy", "episodes", "hidden")
        at_least(0, self, "discount", "trace")
        at_most(1, self, "discount", "trace")
        if self.n_policy % CHECK:
            raise OnebodyError(
                f"n_policy must be a multiple of {CHECK}, the steps between two checks, not {self.n_policy}"
            )


class State(eqx.Module):
    """Everything of a training."""

    policy: GaussianPolicy
    models: Models


class _Best(NamedTuple):
    """The policy that the models call the best so far."""

    policy: GaussianPolicy
    returns: Float[Array, " member"]
    steps: Int[Array, ""]
    kl: Float[Array, ""]
    """of the step that led to it"""


@partial(jax.jit, static_argnames=("family", "config"))
def improve(state: State, key: Key, family: TaskFamily, config: Config) -> tuple[State, dict[str, Array]]:
    """Line 5; `policy/steps` says how many steps led to the policy that is kept."""
    models, members, (judge_key, step_key) = state.models, state.models.members, jax.random.split(key)
    judge = lambda policy: returns_by_model(policy, models, members, judge_key, family, JUDGED)  # noqa: E731

    def step(policy: GaussianPolicy, key: Key) -> tuple[GaussianPolicy, Array]:
        """Line 6."""
        member_key, rollout_key = jax.random.split(key)
        world, policies = imagination(models, Mixed(members, member_key), family), for_each(policy, 1)
        seen = rollout(world, policies, models.task, rollout_key, episodes=config.episodes)
        seen = jax.tree.map(lambda x: x[0], seen)
        advantage = linear_baseline.advantages(seen, config.discount, config.trace)
        observation, action = (x.reshape(-1, x.shape[-1]) for x in (seen.observation, seen.action))
        policy, metrics = trpo.update(policy, observation, action, advantage.reshape(-1), config.trpo)
        return policy, metrics["policy/kl"]

    def some(carry: tuple[GaussianPolicy, _Best, Array]) -> tuple[GaussianPolicy, _Best, Array]:
        policy, best, n = carry
        policy, kl = jax.lax.scan(step, policy, jax.random.split(jax.random.fold_in(step_key, n), CHECK))
        found = _Best(policy, judge(policy), n + CHECK, kl[-1])
        better = (found.returns > best.returns).mean() >= IMPROVED if config.validated else True
        return policy, jax.tree.map(lambda new, old: jnp.where(better, new, old), found, best), n + CHECK

    def goes_on(carry: tuple[GaussianPolicy, _Best, Array]) -> Array:
        _, best, n = carry
        return (n - best.steps < PATIENCE) & (n < config.n_policy)

    begun = _Best(state.policy, judge(state.policy), jnp.zeros((), jnp.int32), jnp.zeros(()))
    _, best, _ = jax.lax.while_loop(goes_on, some, (state.policy, begun, begun.steps))
    metrics = {"imagined/return": best.returns.mean(), "policy/kl": best.kl}
    metrics["policy/steps"] = best.steps.astype(jnp.float32)
    return eqx.tree_at(lambda s: s.policy, state, best.policy), metrics


@dataclass(frozen=True)
class METRPO:
    """Model-ensemble trust region policy optimisation."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = True

    def init(self, key: Key) -> State:
        policy_key, model_key = jax.random.split(key)
        models = new_models(self.simulator, model_key, self.config.model, self.config.task)
        body = self.family.body
        policy = GaussianPolicy(policy_key, self.config.hidden, Normalizer(body.observation_size), body.action_size)
        return State(policy, models)

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        collect_key, fit_key, improve_key = jax.random.split(key, 3)
        explorers = for_each(state.policy, self.config.real_episodes)
        models, metrics = collect(state.models, self.simulator, explorers, collect_key)
        models, fitted = fit(models, fit_key, self.config.model)
        state, improved = improve(State(state.policy, models), improve_key, self.family, self.config)
        return state, metrics | {name: float(x) for name, x in (fitted | improved).items()}

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        """Line 7; each task goes on in its own copy of everything."""
        judge_key, *keys = jax.random.split(key, len(tasks) + 1)
        learners = [eqx.tree_at(lambda s: s.models.task, state, task[None]) for task in tasks]
        if state.models.data.size:
            practice_keys = [jax.random.fold_in(k, 0) for k in keys]
            pairs = zip(learners, practice_keys, strict=True)
            learners = [improve(own, k, self.family, self.config)[0] for own, k in pairs]
        for stage in itertools.count():
            known = learners[0].models.data.size > 0
            predicted = jnp.stack([self._predict(own, judge_key) for own in learners]) if known else None
            yield Adapted(stacked(own.policy for own in learners), predicted)
            learners = [
                self.step(own, jax.random.fold_in(k, stage + 1))[0] for own, k in zip(learners, keys, strict=True)
            ]

    def _predict(self, state: State, key: Key) -> Float[Array, ""]:
        """Mean over the models."""
        members = state.models.members
        return returns_by_model(state.policy, state.models, members, key, self.family, JUDGED).mean()


SPEC = AlgorithmSpec(
    METRPO,
    presets={
        "paper": Config(),
        "laptop": Config(n_iterations=25, episodes=50, model=LAPTOP_MODELS),
        "smoke": Config(n_iterations=2, real_episodes=4, n_policy=5, episodes=4, hidden=(16, 16), model=SMOKE_MODELS),
    },
)
