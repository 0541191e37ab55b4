"""MB-MPO: model-based reinforcement learning via meta-policy optimisation (Clavera et al. 2018), Algorithm 1.

    1: initialise the policy θ and the models
    2: for n_iterations                                                                                 `step`
    3:     D ← D ∪ a real episode with each adapted policy θ'_k of the last line 6; with random
           actions in the first iteration                                                               `models.collect`
    4:     fit each model on its own split of D until its validation loss no longer falls               `models.fit`
    5:     n_meta times                                                                                 `meta_step`
    6:         for each imaginary task, a model: imagined episodes with π_θ; θ'_k = θ - α ∇ L_k(θ); once more
           from there for each further inner step
    7:         imagined episodes with π_θ'_k; θ ← one step of TRPO on Σ_k L_k(θ'_k), through line 6
    8: a new ψ: policy gradient steps from θ on real episodes                                `maml.adaptation`

With logged transitions, these are in D from the beginning, and line 3 may be left out.           `models.with_logs`

MAML's meta-step with models in the place of tasks. The models know dynamics and the family's own reward of one task;
adaptation sees rewards alone. As in the released code, line 3 has the policies adapted before the last outer step,
and imagined observations stay in bounds; the share of steps that this cuts is a metric. Unlike there, the bounds are
100 standard deviations of the real ones (not ±1000), Hessian-vector products are exact, and imagined actions are
clipped to [-1, 1] where the reward sees them, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.algorithms.maml import maml
from onebody.algorithms.maml.maml import Batch, likelihood
from onebody.algorithms.mb_mpo.early_stopping import EarlyStoppingConfig
from onebody.algorithms.mb_mpo.models import (
    LAPTOP_MODELS,
    SMOKE_MODELS,
    Models,
    collect,
    fit,
    imagination,
    needs_data,
    new_models,
    novelty,
    penalised,
    with_logs,
)
from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics
from onebody.core.errors import OnebodyError, at_least
from onebody.core.returns import first_episode_return
from onebody.core.types import Key, Transitions
from onebody.learning.dynamics import FURTHEST, Dynamics
from onebody.learning.policies import GaussianPolicy, for_each
from onebody.learning.trpo import TRPOConfig
from onebody.tasks.family import TaskFamily
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator


@dataclass(frozen=True)
class Config(maml.Config):
    """The released settings; `episodes` are imagined ones of a task, before each inner step and after the last one."""

    n_iterations: int = 100
    """Iterations of training"""
    meta_batch: int = 20
    """Number of imaginary tasks per meta-step, each of them one of the models"""
    episodes: int = 50
    """Imagined episodes per imaginary task, before each inner step and after the last one"""
    inner_rate: float = 1e-3
    """Step size α of an inner policy gradient step, in the models and in adaptation"""
    hidden: tuple[int, ...] = (32, 32)
    """Units of each hidden layer of the policy"""
    real_episodes: int = 20
    """Real episodes per iteration; 0 needs logged transitions"""
    refine_episodes: int = 20
    """Real episodes per task and stage of adaptation"""
    logged_transitions: int = 0
    """Largest number of transitions of logs (train --data) that are kept; a larger log is sampled by whole episodes"""
    n_meta: int = 30
    """Meta-steps per iteration"""
    tailored: bool = True
    """Collect real episodes with the policies adapted to each model; otherwise with the policy before adaptation"""
    disagreement_penalty: float = 0.0
    """Coefficient of the models' disagreement, which is subtracted from each imagined reward, in reward per standard
    deviation of differences. It keeps the policy near the data, which matters most where training takes no real samples
    (train --data)"""
    task: tuple[float, ...] | None = None
    """Task ψ to train on; None: a draw from p(ψ)"""
    trpo: TRPOConfig = field(default_factory=partial(TRPOConfig, entropy=0.0, damping=1e-5, backtracks=15, shrink=0.8))
    """Settings of the outer TRPO step"""
    model: EarlyStoppingConfig = field(default_factory=EarlyStoppingConfig)
    """Settings of the ensemble of dynamics models"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "refine_episodes", "n_meta")
        at_least(0, self, "real_episodes", "logged_transitions", "disagreement_penalty")
        needs_data(self.real_episodes, self.logged_transitions)
        if self.meta_batch < self.model.members:
            raise OnebodyError(f"{self.meta_batch} imaginary tasks are fewer than the {self.model.members} models")


class State(eqx.Module):
    """State of a training run."""

    policy: GaussianPolicy
    adapted: GaussianPolicy
    """of each imaginary task"""
    models: Models


def imagine(
    models: Models, members: Dynamics, policies: GaussianPolicy, key: Key, family: TaskFamily, config: Config
) -> tuple[Batch, dict[str, Array]]:
    """Episodes of each imaginary task's policy in its model; task i is imagined in model i modulo their number."""
    n_models = config.model.members
    tasks_per_model = -(-config.meta_batch // n_models)  # rounded up; surplus ones are computed and not used
    task_of = jnp.arange(n_models * tasks_per_model).reshape(tasks_per_model, n_models).T  # [model, slot]
    grouped = jax.tree.map(lambda x: x[task_of % config.meta_batch], policies)
    tasks = jnp.broadcast_to(models.task, (tasks_per_model, models.task.shape[-1]))

    def one(row: tuple[Dynamics, GaussianPolicy, Key]) -> tuple[Array, ...]:
        member, policies, key = row
        return rollout(imagination(models, member, family), policies, tasks, key, episodes=config.episodes)

    imagined = jax.lax.map(one, (members, grouped, jax.random.split(key, n_models)))
    task = jnp.arange(config.meta_batch)
    imagined = jax.tree.map(lambda x: x[task % n_models, task // n_models], imagined)
    statistics = models.ensemble.observation
    away = jnp.abs(imagined.next_observation - statistics.mean)
    cut = jnp.any(away > 0.999 * FURTHEST * statistics.std, axis=-1).mean()
    returns = first_episode_return(imagined.reward, imagined.done).mean()
    imagined = penalised(imagined, models, members, config.disagreement_penalty)
    batch = maml.with_advantages(policies, imagined, imagined.observation, config.discount, config.trace)
    return batch, {"return": returns, "cut": cut}


def meta_step(
    state: State, members: Dynamics, key: Key, family: TaskFamily, config: Config
) -> tuple[State, dict[str, Array]]:
    """Lines 6-7."""
    keys = jax.random.split(key, config.inner_steps + 1)
    adapted, before, statistics = for_each(state.policy, config.meta_batch), [], []
    for k in keys[:-1]:
        batch, of_batch = imagine(state.models, members, adapted, k, family, config)
        adapted = maml.inner_step_each(adapted, batch, config.inner_rate, likelihood)
        before.append(batch)
        statistics.append(of_batch)
    after, of_after = imagine(state.models, members, adapted, keys[-1], family, config)
    policy, metrics = maml.outer_step(state.policy, tuple(before), after, config)
    imagined = {"imagined/return": statistics[0]["return"], "imagined/adapted_return": of_after["return"]}
    imagined["imagined/clipped"] = jnp.stack([x["cut"] for x in [*statistics, of_after]]).max()
    state = eqx.tree_at(lambda s: (s.policy, s.adapted), state, (policy, adapted))
    return state, metrics | imagined


@partial(jax.jit, static_argnames=("family", "config"))
def meta_steps(state: State, key: Key, family: TaskFamily, config: Config) -> tuple[State, dict[str, Array]]:
    """Line 5."""
    members = state.models.members
    step = lambda state, key: meta_step(state, members, key, family, config)  # noqa: E731
    state, metrics = jax.lax.scan(step, state, jax.random.split(key, config.n_meta))
    return state, jax.tree.map(lambda x: x[-1], metrics) | {"imagined/clipped": metrics["imagined/clipped"].max()}


@dataclass(frozen=True)
class MBMPO:
    """Model-based meta-policy optimisation."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = False
    logs_alone = MappingProxyType({"real_episodes": 0})

    def init(self, key: Key) -> State:
        policy_key, model_key = jax.random.split(key)
        config = self.config
        models = new_models(self.simulator, model_key, config.model, config.task, config.logged_transitions)
        policy = maml.new_policy(self.family, policy_key, self.config)
        return State(policy, for_each(policy, self.config.meta_batch), models)

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        collect_key, fit_key, meta_key = jax.random.split(key, 3)
        models, metrics = state.models, {}
        if self.config.real_episodes:
            models, metrics = collect(models, self.simulator, self._explorers(state), collect_key)
        models, fitted = fit(models, fit_key, self.config.model)
        state, optimized = meta_steps(State(state.policy, state.adapted, models), meta_key, self.family, self.config)
        if not self.config.real_episodes:
            optimized["imagined/novelty"] = novelty(state.policy, state.models, collect_key, self.family)
        return state, metrics | {name: float(x) for name, x in (fitted | optimized).items()}

    def with_logs(self, state: State, transitions: Transitions, starts: Float[Array, "start observation"]) -> State:
        """The state with logged transitions added, and with initial states from the logs; see `LearnsFromLogs`."""
        return State(state.policy, state.adapted, with_logs(state.models, transitions, starts))

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        """Line 8."""
        episodes = self.config.refine_episodes
        return maml.adaptation(self.simulator, state.policy, tasks, key, self.config, episodes, likelihood)

    def _explorers(self, state: State) -> GaussianPolicy:
        """Line 3's policies, in turn where there are more episodes than policies."""
        if not self.config.tailored:
            return for_each(state.policy, self.config.real_episodes)
        turn = jnp.arange(self.config.real_episodes) % self.config.meta_batch
        return jax.tree.map(lambda x: x[turn], state.adapted)


SPEC = AlgorithmSpec(
    MBMPO,
    presets={
        "paper": Config(),
        "laptop": Config(n_iterations=25, episodes=20, model=LAPTOP_MODELS),
        "smoke": Config(
            n_iterations=2,
            meta_batch=4,
            episodes=4,
            n_meta=2,
            hidden=(16, 16),
            real_episodes=4,
            refine_episodes=4,
            model=SMOKE_MODELS,
        ),
    },
    family_settings={
        ("paper", "mbmpo/point"): {
            "n_iterations": 50,
            "meta_batch": 40,
            "real_episodes": 10,
            "episodes": 150,
            "model": EarlyStoppingConfig(hidden=(128, 128)),
        }
    },
)
