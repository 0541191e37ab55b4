"""SLBO: stochastic lower bound optimisation (Luo, Xu, Li, Tian, Darrell, Ma 2019), Algorithm 2, for one task.

    1: for n_outer stages                                                               `step`
    2:     collect real samples with exploration noise, D ← D ∪ them                    `stage`
    3:     for n_inner iterations                                                       `virtual_training`
    4:         n_model steps of Adam on the model over D                                `fit_model`
    5:         n_policy steps of TRPO in the model                                          `practise`

Model, policy, value and their optimisers go on from stage to stage.

Differences from the released code: twenty episodes are taken at once instead of one after the other, and the noise
starts at zero in each; actions are clipped to [-1, 1] by both worlds, so that real and imagined control costs agree;
the entropy bonus is the exact integral and is not switched off; new statistics of observations leave what policy and
value do as it is (there, new data change it).
"""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.algorithms.protocol import Adapted, Metrics
from onebody.algorithms.stage import Shared, StageConfig, new_agents, new_shared, stage
from onebody.core.errors import at_least
from onebody.core.returns import first_episode_return
from onebody.core.types import Key, Transitions
from onebody.learning.actor_critic import Agent
from onebody.learning.policies import GaussianPolicy
from onebody.learning.replay import Replay
from onebody.tasks.family import TaskFamily
from onebody.worlds.imagination import Imagination
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator


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
        """calls of `step` in a whole training"""
        return self.n_outer


class State(eqx.Module):
    """Everything of the one task."""

    task: Float[Array, "1 feature"]
    shared: Shared
    agents: Agent


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
        shared = new_shared(self.simulator, self.config.stage, self.config.n_outer, shared_key)
        action_size = self.family.body.action_size
        agents = new_agents(agent_key, 1, shared.model.observation, action_size, self.config.stage)
        return State(task, shared, agents)

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        done = stage(state.shared, state.agents, state.task, key, self.simulator, self.config.stage)
        shared, agents, _, metrics = done
        return State(state.task, shared, agents), metrics

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        agents = jax.tree.map(lambda x: jnp.repeat(x, len(tasks), axis=0), state.agents)
        return adaptation(state.shared, agents, tasks, key, self.simulator, self.config.stage)


class _Learner(NamedTuple):
    """What adaptation keeps of one task: its own model and agent, and the samples beside those of training."""

    task: Float[Array, "1 feature"]
    shared: Shared
    agents: Agent
    seen: tuple[Transitions, ...] = ()


def adaptation(
    shared: Shared, agents: Agent, tasks: Array, key: Key, simulator: Simulator, config: StageConfig
) -> Iterator[Adapted]:
    """Stage 0 with the given agents, then stages of SLBO, each task on its own copy of φ and with its own samples."""
    split = [jax.tree.map(lambda x, i=i: x[i : i + 1], (tasks, agents)) for i in range(len(tasks))]
    learners = [_Learner(task, shared, agent) for task, agent in split]
    for i in itertools.count():
        predict_key, learn_key = jax.random.split(jax.random.fold_in(key, i))
        if i > 0:
            keys = jax.random.split(learn_key, len(tasks))
            learners = [_learn(each, shared.data, k, simulator, config) for each, k in zip(learners, keys, strict=True)]
        policies_now = jax.tree.map(lambda *x: jnp.concatenate(x), *(each.agents.policy for each in learners))
        predicted = [_predict(each, predict_key, simulator.family, config) for each in learners]
        yield Adapted(policies_now, jnp.concatenate(predicted))


def _learn(learner: _Learner, data: Replay, key: Key, simulator: Simulator, config: StageConfig) -> _Learner:
    """One stage of one task, on the data of training and its own."""
    data_and_own = functools.reduce(Replay.add, learner.seen, data)
    shared = eqx.tree_at(lambda s: s.data, learner.shared, data_and_own)
    shared, agents, seen, _ = stage(shared, learner.agents, learner.task, key, simulator, config)
    forgotten = eqx.tree_at(lambda s: s.data, shared, data)  # so that a task costs the memory of its own samples only
    return _Learner(learner.task, forgotten, agents, (*learner.seen, seen))


def _predict(learner: _Learner, key: Key, family: TaskFamily, config: StageConfig) -> Float[Array, "1"]:
    """Mean imagined return of its deterministic policy."""
    world = Imagination(family, learner.shared.model, learner.shared.starts)
    return imagined_return(world, learner.agents.policy, learner.task, key, config.imagined_episodes)


@functools.partial(jax.jit, static_argnames="episodes")
def imagined_return(
    world: Imagination, policy: GaussianPolicy, task: Array, key: Key, episodes: int
) -> Float[Array, "1"]:
    seen = rollout(world, policy, task, key, episodes=episodes, deterministic=True)
    return first_episode_return(seen.reward, seen.done).mean(axis=1)
