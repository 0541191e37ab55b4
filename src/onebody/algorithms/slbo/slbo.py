"""SLBO: stochastic lower bound optimisation (Luo, Xu, Li, Tian, Darrell, Ma 2019), Algorithm 2, for one task.

    1: for n_outer stages                                                               `step`
    2:     collect real samples with exploration noise, D ← D ∪ them                    `stage`
    3:     for n_inner iterations                                                       `virtual_training`
    4:         n_model steps of Adam on the model over D                                `fit_model`
    5:         n_policy steps of TRPO in the model                                      `optimize_policies`
    6: a new ψ: stage 0 is the policy of the one task; each stage lines 2-5 for ψ       `adaptation`

Model, policy, value and their optimisers go on from stage to stage.

Differences from the released code: twenty episodes are taken at once instead of one after the other, and the noise
starts at zero in each; actions are clipped to [-1, 1] by both worlds, so that real and imagined control costs agree;
the entropy bonus is the exact integral and is not switched off; new statistics of observations leave what policy and
value do as it is (there, new data change it).
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.algorithms.adaptation import task_by_task
from onebody.algorithms.protocol import ADAPTATION_STAGES, Adapted, AlgorithmSpec, Metrics, iterations_held
from onebody.core.errors import OnebodyError, at_least, at_most
from onebody.core.nets import Normalizer
from onebody.core.returns import first_episode_return
from onebody.core.types import Key, Transitions
from onebody.learning import actor_critic, dynamics
from onebody.learning.actor_critic import ActorCritic, ValueConfig, new_actor_critic
from onebody.learning.dynamics import Dynamics, DynamicsConfig, new_dynamics
from onebody.learning.policies import Exploring, GaussianPolicy, joined
from onebody.learning.replay import Replay
from onebody.learning.train_state import TrainState
from onebody.learning.trpo import TRPOConfig
from onebody.tasks.family import TaskFamily
from onebody.worlds.imagination import Imagination
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator


@dataclass(frozen=True)
class StageConfig:
    """A stage of SLBO, Appendix F. Lengths of episodes are the family's horizon."""

    n_inner: int = 20
    """Iterations of virtual training per stage, each of model and policy"""
    n_model: int = 100
    """Gradient steps of the model per iteration of virtual training"""
    n_policy: int = 40
    """TRPO steps per iteration of virtual training"""
    real_episodes: int = 20
    """Real episodes collected per stage"""
    imagined_episodes: int = 20
    """Imagined episodes per TRPO step"""
    hidden: tuple[int, ...] = (32, 32)
    """Units of each hidden layer of the policy"""
    discount: float = 0.99
    """Discount factor γ"""
    trace: float = 0.95
    """Trace decay λ of the generalised advantages"""
    model: DynamicsConfig = field(default_factory=DynamicsConfig)
    """Settings of the dynamics model"""
    value: ValueConfig = field(default_factory=ValueConfig)
    """Settings of the value network"""
    trpo: TRPOConfig = field(default_factory=functools.partial(TRPOConfig, slack=1.5))
    """Settings of each TRPO step"""

    def __post_init__(self) -> None:
        at_least(1, self, "n_inner", "n_model", "n_policy", "real_episodes", "imagined_episodes", "hidden")
        at_least(0, self, "discount", "trace")
        at_most(1, self, "discount", "trace")


@dataclass(frozen=True)
class Config:
    """SLBO, Appendix F."""

    n_outer: int = 100
    """Stages of training, each with new real episodes (n_outer of SLBO's Algorithm 2)"""
    task: tuple[float, ...] | None = None
    """Task ψ to train on; None: a draw from p(ψ)"""
    stage: StageConfig = field(default_factory=StageConfig)
    """Settings of each stage of SLBO"""

    def __post_init__(self) -> None:
        at_least(1, self, "n_outer")

    @property
    def n_iterations(self) -> int:
        """Calls of `step` in a whole training run"""
        return self.n_outer


class Shared(eqx.Module):
    """What all tasks share (φ): the model of the body and the data it is fitted to."""

    model: TrainState[Dynamics]
    data: Replay
    starts: Float[Array, "start observation"]
    """Initial states: draws from p0, or those of logged episodes"""


def new_shared(simulator: Simulator, config: StageConfig, stages: int, key: Key, logged: int = 0) -> Shared:
    """An untrained model and an empty buffer with room for `stages` stages of training and `logged` transitions.

    Raises:
        OnebodyError: the windows of the model's loss are longer than an episode.
    """
    family = simulator.family
    if config.model.window > family.horizon:
        raise OnebodyError(f"model window {config.model.window} is longer than an episode of {family.id}")
    model_key, start_key = jax.random.split(key)
    capacity = logged + (stages + ADAPTATION_STAGES) * config.real_episodes * family.horizon
    data = Replay.empty(capacity, family.body.observation_size, family.body.action_size)
    return Shared(new_model(model_key, family, config), data, simulator.starts(start_key))


@functools.partial(jax.jit, static_argnames=("family", "config"))
def new_model(key: Key, family: TaskFamily, config: StageConfig) -> TrainState[Dynamics]:
    """An untrained model."""
    body = family.body
    model = new_dynamics(key, body.observation_size, body.action_size, config.model, family.limited)
    return TrainState.create(model, dynamics.optimizer(config.model))


@functools.partial(jax.jit, static_argnames=("n", "action_size", "config"))
def new_agents(key: Key, n: int, observation: Normalizer, action_size: int, config: StageConfig) -> ActorCritic:
    """n random policies and value functions, stacked along a leading axis of tasks."""
    one = functools.partial(
        new_actor_critic, kind=GaussianPolicy, observation=observation, action_size=action_size, config=config
    )
    return jax.vmap(one)(jax.random.split(key, n))


def stage(
    shared: Shared,
    agents: ActorCritic,
    tasks: Array,
    key: Key,
    simulator: Simulator,
    config: StageConfig,
    transitions: Transitions | None = None,
) -> tuple[Shared, ActorCritic, Transitions, Metrics]:
    """Lines 2-5: real samples of one task, then virtual training.

    Args:
        transitions: real samples to learn from; None: they are collected here, with exploration noise.

    Returns:
        What was learned, the real samples, and metrics.
    """
    collect_key, training_key = jax.random.split(key)
    if transitions is None:
        explorers = Exploring(agents.policy, jnp.ones(len(tasks)))
        transitions = rollout(simulator, explorers, tasks, collect_key, episodes=config.real_episodes)
    shared, agents, error = add_data(shared, agents, transitions)
    family = simulator.family
    shared, agents, metrics = virtual_training(shared, agents, tasks, config.n_inner, training_key, family, config)
    real = first_episode_return(transitions.reward, transitions.done).mean()
    return shared, agents, transitions, {"real/return": float(real), "model/validation_error": float(error), **metrics}


def virtual_training(
    shared: Shared,
    agents: ActorCritic,
    tasks: Array,
    iterations: int,
    key: Key,
    family: TaskFamily,
    config: StageConfig,
) -> tuple[Shared, ActorCritic, Metrics]:
    """Lines 3-5, without a real sample. The policies of all tasks are optimised in the same model."""
    metrics: dict[str, Array] = {}
    for iteration_key in jax.random.split(key, iterations):
        model_key, policy_key = jax.random.split(iteration_key)
        shared, model_loss = fit_model(shared, model_key, config)
        agents, metrics = optimize_policies(shared, agents, tasks, policy_key, family, config)
        metrics["model/loss"] = model_loss
    return shared, agents, {name: float(value) for name, value in metrics.items()}


@functools.partial(jax.jit, static_argnames="config")
def fit_model(shared: Shared, key: Key, config: StageConfig) -> tuple[Shared, Float[Array, ""]]:
    """Line 4, and the mean loss."""
    model, loss = dynamics.fit(shared.model, shared.data, key, config.n_model, config.model)
    return Shared(model, shared.data, shared.starts), loss


@functools.partial(jax.jit, static_argnames=("family", "config"))
def optimize_policies(
    shared: Shared,
    agents: ActorCritic,
    tasks: Float[Array, "task feature"],
    key: Key,
    family: TaskFamily,
    config: StageConfig,
) -> tuple[ActorCritic, dict[str, Array]]:
    """Line 5: TRPO of every agent on its own task, in the same learned world."""
    world = imagination(shared, family)

    def trpo_step(agents: ActorCritic, key: Key) -> tuple[ActorCritic, dict[str, Array]]:
        rollout_key, value_key = jax.random.split(key)
        imagined = rollout(world, agents.policy, tasks, rollout_key, episodes=config.imagined_episodes)

        def update(own: tuple[ActorCritic, Transitions, Key]) -> tuple[ActorCritic, dict[str, Array]]:
            return actor_critic.trpo_and_value_update(*own, config)

        # one agent after the other: on a CPU, batched products of small matrices are slower
        agents, metrics = jax.lax.map(update, (agents, imagined, jax.random.split(value_key, len(tasks))))
        metrics["imagined/return"] = first_episode_return(imagined.reward, imagined.done).mean()
        return agents, metrics

    agents, metrics = jax.lax.scan(trpo_step, agents, jax.random.split(key, config.n_policy))
    return agents, jax.tree.map(lambda x: x[-1].mean(), metrics)


def imagination(shared: Shared, family: TaskFamily) -> Imagination:
    """The learned world."""
    return Imagination(family, shared.model.module, shared.starts)


@jax.jit
def add_data(
    shared: Shared, agents: ActorCritic, transitions: Transitions
) -> tuple[Shared, ActorCritic, Float[Array, ""]]:
    """Append real transitions to D and update all normalisers; policies and values keep the functions that they
    compute. Also returns the model's error on these transitions before it is fitted to them."""
    model = shared.model.module
    difference = transitions.next_observation - transitions.observation
    predicted = model.predict(transitions.observation, transitions.action) - transitions.observation
    error = dynamics.error(model, predicted, difference).mean()
    shared = extended(shared, transitions)
    n_agents, observation = agents.policy.log_std.shape[0], shared.model.module.observation
    statistics = jax.tree.map(lambda x: jnp.broadcast_to(x, (n_agents, *x.shape)), observation)
    return shared, agents.renormalized(statistics), error


@jax.jit
def extended(shared: Shared, transitions: Transitions) -> Shared:
    """Transitions added to D and to the model's normalisers."""
    model = dynamics.merge_statistics(shared.model.module, transitions)
    return Shared(shared.model.with_module(model), shared.data.add(transitions), shared.starts)


class State(eqx.Module):
    """Everything of the one task."""

    task: Float[Array, "1 feature"]
    shared: Shared
    agents: ActorCritic


@dataclass(frozen=True)
class SLBO:
    """Single-task SLBO. Adaptation goes on from what its one task has taught.

    An untrained SLBO (`--samples 0`) adapts from nothing: single-task SLBO for each test task.
    """

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = True

    def init(self, key: Key) -> State:
        task_key, shared_key, agent_key = jax.random.split(key, 3)
        task = self.family.given_or_drawn(self.config.task, task_key)
        shared = new_shared(self.simulator, self.config.stage, iterations_held(self.config.n_outer), shared_key)
        action_size = self.family.body.action_size
        agents = new_agents(agent_key, 1, shared.model.module.observation, action_size, self.config.stage)
        return State(task, shared, agents)

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        task, config = state.task, self.config.stage
        shared, agents, _, metrics = stage(state.shared, state.agents, task, key, self.simulator, config)
        return State(task, shared, agents), metrics

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        return adaptation(state.shared, [state.agents] * len(tasks), tasks, key, self.simulator, self.config.stage)


@jax.jit
def agent_of(agents: ActorCritic, task: int | Array) -> ActorCritic:
    """The agent of one task, by its index, with a task axis of length one."""
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, task, 1), agents)


class _Learner(NamedTuple):
    """What adaptation keeps of one task: its own model and agent, and its samples besides those of training."""

    shared: Shared
    agents: ActorCritic
    samples: tuple[Transitions, ...] = ()


def adaptation(
    shared: Shared, agents: Sequence[ActorCritic], tasks: Array, key: Key, simulator: Simulator, config: StageConfig
) -> Iterator[Adapted]:
    """Stage 0 with the given agents, one per task, then stages of SLBO, each task on its own copy of φ and with its own
    samples."""
    predict_key, key = jax.random.split(key)
    learners = [_Learner(shared, agent) for agent in agents]

    def adapted(learners: Sequence[_Learner]) -> Adapted:
        predicted = [
            imagined_return(
                imagination(own.shared, simulator.family),
                own.agents.policy,
                task[None],
                predict_key,
                config.imagined_episodes,
            )
            for own, task in zip(learners, tasks, strict=True)
        ]
        return joined([Adapted(own.agents.policy, returned) for own, returned in zip(learners, predicted, strict=True)])

    def one_stage(own: _Learner, task: Float[Array, "1 feature"], key: Key) -> _Learner:
        with_own = eqx.tree_at(lambda s: s.data, own.shared, functools.reduce(Replay.add, own.samples, shared.data))
        learned, agents, new, _ = stage(with_own, own.agents, task, key, simulator, config)
        forgotten = eqx.tree_at(lambda s: s.data, learned, shared.data)  # a task costs the memory of its own samples
        return _Learner(forgotten, agents, (*own.samples, new))

    return task_by_task(learners, tasks, key, adapted, one_stage)


@functools.partial(jax.jit, static_argnames="episodes")
def imagined_return(
    world: Imagination, policy: GaussianPolicy, task: Array, key: Key, episodes: int
) -> Float[Array, "1"]:
    """Mean over the episodes of a deterministic policy."""
    imagined = rollout(world, policy, task, key, episodes=episodes, deterministic=True)
    return first_episode_return(imagined.reward, imagined.done).mean(axis=1)


LAPTOP_STAGE = StageConfig(
    n_inner=10,
    n_model=200,
    n_policy=30,
    model=DynamicsConfig(hidden=(256, 256)),
    value=ValueConfig(epochs=3, learning_rate=2e-3),
    trpo=TRPOConfig(cg_iterations=6),
)
SMOKE_STAGE = StageConfig(
    n_inner=2,
    n_model=20,
    n_policy=4,
    real_episodes=4,
    imagined_episodes=8,
    model=DynamicsConfig(hidden=(32, 32), batch=32),
    value=ValueConfig(hidden=(16, 16), batch=64, epochs=2),
    trpo=TRPOConfig(),
)

SPEC = AlgorithmSpec(
    SLBO,
    presets={
        "paper": Config(stage=StageConfig(real_episodes=50)),
        "laptop": Config(n_outer=10, stage=LAPTOP_STAGE),
        "smoke": Config(n_outer=2, stage=SMOKE_STAGE),
    },
)
