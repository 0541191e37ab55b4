"""MB-MPC: model predictive control in learned models (Nagabandi et al. 2018), as MB-MPO's authors compare with it.

    1: for n_iterations                                                                        `step`
    2:     D ← D ∪ real episodes: at each step a plan, of which the first action is taken; with
           random actions in the first iteration                                               `Planner`
    3:     fit each model on its own split of D until its validation loss no longer falls      `models.fit`
    4: a new ψ: plans for ψ in the models, without a real sample; then lines 2-3 for ψ         `adapt`

The planner is random shooting or iCEM (Pinneri et al. 2020). Each step of each candidate is predicted by a
random member.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.algorithms.adaptation import task_by_task
from onebody.algorithms.mb_mpo.early_stopping import EarlyStoppingConfig
from onebody.algorithms.mb_mpo.models import LAPTOP_MODELS, SMOKE_MODELS, Models, RandomMember, collect, fit, new_models
from onebody.algorithms.mb_mpo.planning import PlanConfig, plan
from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics
from onebody.core.errors import OnebodyError, at_least
from onebody.core.types import Key
from onebody.learning.dynamics import Dynamics
from onebody.learning.policies import Deployed, for_each, stacked
from onebody.tasks.family import TaskFamily
from onebody.worlds.simulator import Simulator


@dataclass(frozen=True)
class Config:
    """The settings of MB-MPO's comparison."""

    n_iterations: int = 100
    """Iterations of training"""
    real_episodes: int = 20
    """Real episodes per iteration, and per task and stage of adaptation"""
    task: tuple[float, ...] | None = None
    """Task ψ to train on; None: a draw from p(ψ)"""
    plan: PlanConfig = field(default_factory=PlanConfig)
    """Settings of the planner that chooses each action"""
    model: EarlyStoppingConfig = field(default_factory=partial(EarlyStoppingConfig, epochs=200, capacity=300_000))
    """Settings of the ensemble of dynamics models"""

    def __post_init__(self) -> None:
        at_least(1, self, "n_iterations", "real_episodes")


class Planner(eqx.Module):
    """A policy that plans at each step. Its memory is a key and the rest of the last plan, of each slot.

    The same key in every rollout: without noise it is a deterministic policy; noise draws other candidates.
    """

    members: Dynamics
    family: TaskFamily = eqx.field(static=True)
    config: PlanConfig = eqx.field(static=True)

    @property
    def noise_size(self) -> int:
        return 1

    def memory(self, axes: tuple[int, ...]) -> tuple[Any, Array]:
        keys = jax.random.split(jax.random.key(0), axes)
        return keys, jnp.zeros((*axes, self.config.steps, self.family.body.action_size))

    def __call__(
        self, observation: Float[Array, "*axes observation"], task: Array, memory: Any, noise: Array
    ) -> tuple[Float[Array, "*axes action"], Any]:
        axes, keys, last = observation.shape[:-1], *memory
        flat = lambda x: x.reshape(-1, *x.shape[len(axes) :])  # noqa: E731
        plans = jax.vmap(lambda *row: self._plan(task, *row))(*map(flat, (observation, keys, last, noise)))
        keys, best = (x.reshape(*axes, *x.shape[1:]) for x in plans)
        rest = jnp.concatenate([best[..., 1:, :], jnp.zeros_like(best[..., :1, :])], axis=-2)
        return best[..., 0, :], (keys, rest)

    def deployed(self, task: Array) -> Deployed:
        raise OnebodyError("a planner acts with its models, within an episode: it has no file, and cannot be played")

    def _plan(self, task: Array, observation: Array, key: Any, last: Array, noise: Array) -> tuple[Any, Array]:
        key, plan_key, member_key = jax.random.split(key, 3)
        plan_key = jax.random.fold_in(plan_key, jax.lax.bitcast_convert_type(noise[0], jnp.uint32))
        model, keys = RandomMember(self.members), jax.random.split(member_key, self.config.steps)

        def score(actions: Float[Array, "candidate time action"]) -> Float[Array, " candidate"]:
            def step(carry: tuple[Array, Array], inputs: tuple[Key, Array]) -> tuple[tuple[Array, Array], Array]:
                (observation, weight), (key, action) = carry, inputs
                next_observation = model(key, observation, action)
                reward, ended = self.family.outcome(observation, action, next_observation, task)
                return (next_observation, self.config.discount * weight * ~ended), weight * reward

            start = jnp.broadcast_to(observation, (len(actions), len(observation))), jnp.ones(len(actions))
            return jax.lax.scan(step, start, (keys, jnp.swapaxes(actions, 0, 1)))[1].sum(0)

        return key, plan(score, last, plan_key, self.config)


@dataclass(frozen=True)
class MBMPC:
    """Model-based reinforcement learning by model predictive control."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = True

    def init(self, key: Key) -> Models:
        return new_models(self.simulator, key, self.config.model, self.config.task)

    def step(self, state: Models, key: Key) -> tuple[Models, Metrics]:
        collect_key, fit_key = jax.random.split(key)
        planners = for_each(self._planner(state), self.config.real_episodes)
        state, metrics = collect(state, self.simulator, planners, collect_key)
        state, fitted = fit(state, fit_key, self.config.model)
        return state, metrics | {name: float(x) for name, x in fitted.items()}

    def adapt(self, state: Models, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        """Line 4; each task goes on with its own copy of everything."""
        learners = [eqx.tree_at(lambda m: m.task, state, task[None]) for task in tasks]

        def adapted(learners: Sequence[Models]) -> Adapted:
            return Adapted(stacked(map(self._planner, learners)))

        return task_by_task(learners, tasks, key, adapted, lambda own, _, key: self.step(own, key)[0])

    def _planner(self, models: Models) -> Planner:
        return Planner(models.members, self.family, self.config.plan)


SPEC = AlgorithmSpec(
    MBMPC,
    presets={
        "paper": Config(plan=PlanConfig(discount=0.99)),
        "laptop": Config(
            n_iterations=10, real_episodes=5, plan=PlanConfig(method="icem", candidates=200), model=LAPTOP_MODELS
        ),
        "smoke": Config(
            n_iterations=2, real_episodes=4, plan=PlanConfig(steps=4, candidates=20, elites=4), model=SMOKE_MODELS
        ),
    },
)
