"""ME-TRPO: model-ensemble trust region policy optimisation (Kurutach et al. 2018).

    1: initialise the policy θ and the models
    2: for n_iterations                                                                           `step`
    3:     D ← D ∪ real episodes with π_θ; with random actions in the first iteration             `models.collect`
    4:     fit each model on its own split of D until its validation loss no longer falls         `models.fit`
    5:     until 25 steps without a policy that 70% of the models predict to be better,
           or n_policy steps                                                              `optimize_policy`
    6:         θ ← one step of TRPO on imagined episodes, each step of each in a random model
           θ ← the best of them, as the models predict
    7: a new ψ: line 5 for ψ alone, without a real sample; then lines 3-5 for ψ                    `adapt`

With logged transitions, these are in D from the beginning, and line 3 may be left out in training.   `models.with_logs`

As MB-MPO's authors have it for their comparison: their models, policy and linear baseline; here line 5's validation
in the models is the original's, which that comparison leaves out (`policy_validation`). The baseline is fitted before
the advantages are taken, as everywhere in onebody.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from onebody.algorithms.adaptation import task_by_task
from onebody.algorithms.mb_mpo.early_stopping import EarlyStoppingConfig
from onebody.algorithms.mb_mpo.models import (
    LAPTOP_MODELS,
    SMOKE_MODELS,
    Models,
    RandomMember,
    collect,
    fit,
    imagination,
    needs_data,
    new_models,
    novelty,
    penalised,
    returns_by_model,
    with_logs,
)
from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics
from onebody.core.errors import OnebodyError, at_least, at_most
from onebody.core.nets import Normalizer
from onebody.core.types import Key, Transitions
from onebody.learning import linear_baseline, trpo
from onebody.learning.policies import GaussianPolicy, for_each, stacked
from onebody.learning.trpo import TRPOConfig
from onebody.tasks.family import TaskFamily
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

STEPS_PER_CHECK = 5
"""TRPO steps between two validations of the policy by the models"""
IMPROVED = 0.7
"""Share of the models that must predict a higher return for a policy to count as better"""
VALIDATION_EPISODES = 10
"""Imagined episodes per model and validation"""
PATIENCE = 25
"""TRPO steps without a better policy after which a policy search ends"""


@dataclass(frozen=True)
class Config:
    """The settings of MB-MPO's comparison."""

    n_iterations: int = 100
    """Iterations of training"""
    real_episodes: int = 20
    """Real episodes per iteration; 0 needs logged transitions"""
    refine_episodes: int = 20
    """Real episodes per task and stage of adaptation"""
    logged_transitions: int = 0
    """Largest number of transitions of logs (train --data) that are kept; a larger log is sampled by whole episodes"""
    n_policy: int = 30
    """Largest number of TRPO steps per iteration and per stage of adaptation"""
    episodes: int = 250
    """Imagined episodes per TRPO step"""
    policy_validation: bool = True
    """Validate the policy in the models every 5 TRPO steps: keep the last policy that 70% of them predict to be better,
    and end an iteration's policy search after 25 steps without one. Otherwise take all n_policy steps and keep the last
    policy, as in MB-MPO's comparison"""
    disagreement_penalty: float = 0.0
    """Coefficient of the models' disagreement, which is subtracted from each imagined reward, in reward per standard
    deviation of differences. It keeps the policy near the data, which matters most where training takes no real samples
    (train --data)"""
    hidden: tuple[int, ...] = (32, 32)
    """Units of each hidden layer of the policy"""
    discount: float = 0.99
    """Discount factor γ"""
    trace: float = 1.0
    """Trace decay λ of the generalised advantages"""
    task: tuple[float, ...] | None = None
    """Task ψ to train on; None: a draw from p(ψ)"""
    model: EarlyStoppingConfig = field(default_factory=partial(EarlyStoppingConfig, epochs=1000, capacity=400_000))
    """Settings of the ensemble of dynamics models"""
    trpo: TRPOConfig = field(default_factory=partial(TRPOConfig, entropy=0.0, damping=1e-5))
    """Settings of each TRPO step"""

    def __post_init__(self) -> None:
        at_least(1, self, "n_iterations", "refine_episodes", "n_policy", "episodes", "hidden")
        at_least(0, self, "real_episodes", "logged_transitions", "disagreement_penalty", "discount", "trace")
        at_most(1, self, "discount", "trace")
        needs_data(self.real_episodes, self.logged_transitions)
        if self.n_policy % STEPS_PER_CHECK:
            raise OnebodyError(
                f"n_policy must be a multiple of {STEPS_PER_CHECK}, the steps between two checks, not {self.n_policy}"
            )


class State(eqx.Module):
    """State of a training run."""

    policy: GaussianPolicy
    models: Models


class _Best(NamedTuple):
    """The best policy so far, as the models predict."""

    policy: GaussianPolicy
    returns: Float[Array, " member"]
    steps: Int[Array, ""]
    kl: Float[Array, ""]
    """of the step that led to it"""


@partial(jax.jit, static_argnames=("family", "config"))
def optimize_policy(state: State, key: Key, family: TaskFamily, config: Config) -> tuple[State, dict[str, Array]]:
    """Line 5; `policy/steps` says how many steps led to the policy that is kept."""
    models, members, (validation_key, step_key) = state.models, state.models.members, jax.random.split(key)
    penalty, validation = config.disagreement_penalty, (validation_key, family, VALIDATION_EPISODES)
    predicted = lambda policy: returns_by_model(policy, models, members, *validation, penalty)  # noqa: E731

    def step(policy: GaussianPolicy, key: Key) -> tuple[GaussianPolicy, Array]:
        """Line 6."""
        world, policies = imagination(models, RandomMember(members), family), for_each(policy, 1)
        imagined = rollout(world, policies, models.task, key, episodes=config.episodes)
        imagined = jax.tree.map(lambda x: x[0], penalised(imagined, models, members, penalty))
        advantage = linear_baseline.advantages(imagined, config.discount, config.trace)
        observation, action = (x.reshape(-1, x.shape[-1]) for x in (imagined.observation, imagined.action))
        policy, metrics = trpo.update(policy, observation, action, advantage.reshape(-1), config.trpo)
        return policy, metrics["policy/kl"]

    def search(carry: tuple[GaussianPolicy, _Best, Array]) -> tuple[GaussianPolicy, _Best, Array]:
        policy, best, n = carry
        policy, kl = jax.lax.scan(step, policy, jax.random.split(jax.random.fold_in(step_key, n), STEPS_PER_CHECK))
        new = _Best(policy, predicted(policy), n + STEPS_PER_CHECK, kl[-1])
        better = (new.returns > best.returns).mean() >= IMPROVED if config.policy_validation else True
        return policy, jax.tree.map(lambda x, old: jnp.where(better, x, old), new, best), n + STEPS_PER_CHECK

    def goes_on(carry: tuple[GaussianPolicy, _Best, Array]) -> Array:
        _, best, n = carry
        return (n - best.steps < PATIENCE) & (n < config.n_policy)

    start = _Best(state.policy, predicted(state.policy), jnp.zeros((), jnp.int32), jnp.zeros(()))
    _, best, _ = jax.lax.while_loop(goes_on, search, (state.policy, start, start.steps))
    returns = returns_by_model(best.policy, models, members, *validation) if penalty else best.returns
    metrics = {"imagined/return": returns.mean(), "policy/kl": best.kl}
    metrics["policy/steps"] = best.steps.astype(jnp.float32)
    return eqx.tree_at(lambda s: s.policy, state, best.policy), metrics


@dataclass(frozen=True)
class METRPO:
    """Model-ensemble trust region policy optimisation."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = True
    logs_alone = MappingProxyType({"real_episodes": 0})

    def init(self, key: Key) -> State:
        policy_key, model_key = jax.random.split(key)
        config = self.config
        models = new_models(self.simulator, model_key, config.model, config.task, config.logged_transitions)
        body = self.family.body
        policy = GaussianPolicy(policy_key, self.config.hidden, Normalizer(body.observation_size), body.action_size)
        return State(policy, models)

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        return self._iteration(state, self.config.real_episodes, key)

    def with_logs(self, state: State, transitions: Transitions, starts: Float[Array, "start observation"]) -> State:
        """The state with logged transitions added, and with initial states from the logs; see `LearnsFromLogs`."""
        return State(state.policy, with_logs(state.models, transitions, starts))

    def _iteration(self, state: State, episodes: int, key: Key) -> tuple[State, Metrics]:
        """Lines 3-5, with so many real episodes."""
        collect_key, fit_key, optimize_key = jax.random.split(key, 3)
        models, metrics = state.models, {}
        if episodes:
            models, metrics = collect(models, self.simulator, for_each(state.policy, episodes), collect_key)
        models, fitted = fit(models, fit_key, self.config.model)
        state, optimized = optimize_policy(State(state.policy, models), optimize_key, self.family, self.config)
        if not episodes:
            optimized["imagined/novelty"] = novelty(state.policy, state.models, collect_key, self.family)
        return state, metrics | {name: float(x) for name, x in (fitted | optimized).items()}

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        """Line 7; each task goes on in its own copy of everything."""
        predict_key, zero_shot_key, key = jax.random.split(key, 3)
        learners = [eqx.tree_at(lambda s: s.models.task, state, task[None]) for task in tasks]
        if state.models.data.size:
            pairs = zip(learners, jax.random.split(zero_shot_key, len(tasks)), strict=True)
            learners = [optimize_policy(own, k, self.family, self.config)[0] for own, k in pairs]

        def adapted(learners: Sequence[State]) -> Adapted:
            known = learners[0].models.data.size > 0
            predicted = jnp.stack([self._predict(own, predict_key) for own in learners]) if known else None
            novel = jnp.stack([self._novelty(own, predict_key) for own in learners]) if known else None
            return Adapted(stacked(own.policy for own in learners), predicted, novelty=novel)

        stage = lambda own, _, key: self._iteration(own, self.config.refine_episodes, key)[0]  # noqa: E731
        return task_by_task(learners, tasks, key, adapted, stage)

    def _predict(self, state: State, key: Key) -> Float[Array, ""]:
        """Mean over the models."""
        members = state.models.members
        return returns_by_model(state.policy, state.models, members, key, self.family, VALIDATION_EPISODES).mean()

    def _novelty(self, state: State, key: Key) -> Float[Array, ""]:
        return novelty(state.policy, state.models, key, self.family)


SPEC = AlgorithmSpec(
    METRPO,
    presets={
        "paper": Config(),
        "laptop": Config(n_iterations=25, episodes=50, model=LAPTOP_MODELS),
        "smoke": Config(
            n_iterations=2,
            real_episodes=4,
            refine_episodes=4,
            n_policy=5,
            episodes=4,
            hidden=(16, 16),
            model=SMOKE_MODELS,
        ),
    },
)
