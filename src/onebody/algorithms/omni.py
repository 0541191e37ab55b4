"""OMNI: one task-conditioned policy, trained wholly inside a learned ensemble, for all tasks at once.

    1: initialise the ensemble, the policy π(a | s, ψ) and its values; D ← ∅
    2: for n_iterations                                                                      `step`
    3:     collect real episodes, each with a task of its own, with exploration noise; D ← D ∪ them
    4:     n_model gradient steps of each member on D
    5:     n_updates pathwise updates of the policy in random members, from states of D, for tasks drawn afresh
    6: a new ψ: the policy as it is, a forward pass                                          `adapt`, stage 0
    7: stages 1, 2, …: real episodes of ψ; lines 4 and 5 for ψ alone, n_refine updates

Ours. The parts: ensembles of probabilistic networks (Chua et al. 2018), policy gradients through them with a short
horizon and a terminal value (Heess et al. 2015, Xu et al. 2022), values of all tasks at once (Schaul et al. 2015).
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from onebody.algorithms.protocol import Adapted, Metrics
from onebody.core.errors import OnebodyError, at_least
from onebody.core.nets import Normalizer, trainable
from onebody.core.returns import first_episode_return
from onebody.core.types import Key, Transitions
from onebody.learning import ensemble, first_order
from onebody.learning.ensemble import Ensemble, EnsembleConfig
from onebody.learning.first_order import Agent, FirstOrderConfig
from onebody.learning.policies import ConditionedPolicy, Exploring
from onebody.learning.replay import Replay
from onebody.tasks.family import TaskFamily
from onebody.worlds.imagination import Imagination
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

LAST_RATE = 0.1
"""share of the policy's learning rate at the end of a practice; it falls linearly, so that the policy settles"""
REFINE = 50
"""updates between two policies of `refine`"""
INTERVAL = 2.0
"""standard deviations of the members' predictions on either side of a promise"""


@dataclass(frozen=True)
class Config:
    """Ours."""

    n_iterations: int = 25
    """iterations of training"""
    real_episodes: int = 20
    """real episodes an iteration, each of its own task"""
    n_model: int = 800
    """gradient steps of each member an iteration"""
    n_updates: int = 1000
    """updates of the policy an iteration"""
    from_start: float = 0.1
    """share of the imagined windows that begin at p0; the others at states of the data"""
    refine_episodes: int = 5
    """real episodes a task and stage of adaptation"""
    n_refine: int = 200
    """updates of the policy a stage of adaptation"""
    n_refine_model: int = 200
    """gradient steps of each member a stage of adaptation"""
    predicted_episodes: int = 4
    """imagined episodes a member for the predicted return"""
    model: EnsembleConfig = field(default_factory=EnsembleConfig)
    policy: FirstOrderConfig = field(default_factory=FirstOrderConfig)

    def __post_init__(self) -> None:
        at_least(
            1, self, "n_iterations", "real_episodes", "n_model", "n_updates", "refine_episodes", "predicted_episodes"
        )
        at_least(0, self, "from_start", "n_refine", "n_refine_model")
        if self.from_start > 1:
            raise OnebodyError(f"omni configuration: from-start must be at most 1, not {self.from_start}")


class State(eqx.Module):
    """Everything of a training."""

    model: Ensemble
    optimizer: PyTree
    data: Replay
    starts: Float[Array, "start observation"]
    agent: Agent


@dataclass(frozen=True)
class OMNI:
    """One model, instantly any task."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    Config: ClassVar[type] = Config
    task_is_known: ClassVar[bool] = True

    @property
    def iterations(self) -> int:
        return self.config.n_iterations

    def init(self, key: Key) -> State:
        family, config = self.family, self.config
        family.needs_one_model()
        model_key, start_key, agent_key = jax.random.split(key, 3)
        sizes = family.body.observation_size, family.body.action_size
        model = Ensemble(model_key, *sizes, config.model)
        optimizer = ensemble.optimizer(config.model).init(eqx.filter(model.nets, trainable(model.nets)))
        capacity = config.n_iterations * config.real_episodes * family.horizon
        task = Normalizer(family.space.size).update(family.space.sample(jax.random.key(0), 1024))
        agent = first_order.new_agent(agent_key, model.observation, task, sizes[1], config.policy)
        return State(model, optimizer, Replay.empty(capacity, *sizes), self.simulator.starts(start_key), agent)

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        task_key, collect_key, model_key, policy_key = jax.random.split(key, 4)
        tasks = self.family.space.sample(task_key, self.config.real_episodes)
        seen = rollout(self.simulator, Exploring(_for_each(state.agent.policy, tasks)), tasks, collect_key, episodes=1)
        state, error = _learn_from(state, seen)
        state, loss = _fit(state, model_key, self.config.n_model, self.config.model)
        state, metrics = _practise(state, policy_key, self.family, None, self.config.n_updates, self.config)
        real = first_episode_return(seen.reward, seen.done).mean()
        policies = _for_each(state.agent.policy, tasks)
        imagined, _ = _predict(state, policies, tasks, collect_key, self.family, 1)
        metrics |= {"real/return": real, "imagined/return": imagined.mean()}
        metrics |= {"model/validation_error": error, "model/loss": loss}
        return state, {name: float(value) for name, value in metrics.items()}

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        """Stage 0 is a forward pass. Then each task goes on in its own copy of everything, with its own samples."""
        predict_key, *keys = jax.random.split(key, len(tasks) + 1)
        yield self._promise([state] * len(tasks), tasks, 0, predict_key)
        before, learners = self.simulator.samples, [state] * len(tasks)
        for stage in itertools.count(1):
            learners = [
                self._stage(learner, task[None], jax.random.fold_in(k, stage))
                for learner, task, k in zip(learners, tasks, keys, strict=True)
            ]
            samples = (self.simulator.samples - before) // len(tasks)
            yield self._promise(learners, tasks, stage, predict_key, samples)

    def refine(self, state: State, task: Float[Array, " feature"], key: Key) -> Iterator[Adapted]:
        """Practice for one task alone inside the model, without a real sample; better and better, without end."""
        for i in itertools.count():
            practise_key, predict_key = jax.random.split(jax.random.fold_in(key, i))
            if i > 0:
                state, _ = _practise(state, practise_key, self.family, task[None], REFINE, self.config)
            yield self._promise([state], task[None], 0, predict_key)

    def _stage(self, state: State, task: Float[Array, "1 feature"], key: Key) -> State:
        """Line 7."""
        collect_key, model_key, policy_key = jax.random.split(key, 3)
        policy = Exploring(_for_each(state.agent.policy, task))
        seen = rollout(self.simulator, policy, task, collect_key, episodes=self.config.refine_episodes)
        state, _ = _learn_from(state, seen)
        state, _ = _fit(state, model_key, self.config.n_refine_model, self.config.model)
        return _practise(state, policy_key, self.family, task, self.config.n_refine, self.config)[0]

    def _promise(self, states: Sequence[State], tasks: Array, stage: int, key: Key, samples: int = 0) -> Adapted:
        """Policies of several tasks, and what their models say of them."""
        policies, returns, novelty = [], [], []
        for state, rows in _together(states, tasks):
            policies.append(_for_each(state.agent.policy, rows))
            found = _predict(state, policies[-1], rows, key, self.family, self.config.predicted_episodes)
            returns.append(found[0])
            novelty.append(found[1])
        by_member = jnp.concatenate(returns, axis=1)
        mean, spread = by_member.mean(0), INTERVAL * by_member.std(0)
        stacked = jax.tree.map(lambda *x: jnp.concatenate(x), *policies)
        interval = jnp.stack([mean - spread, mean + spread], axis=1)
        return Adapted(stage, stacked, samples, mean, interval, jnp.concatenate(novelty))


def _together(states: Sequence[State], tasks: Array) -> list[tuple[State, Array]]:
    """Tasks whose state is the same one are predicted at once."""
    if all(state is states[0] for state in states):
        return [(states[0], tasks)]
    return [(state, task[None]) for state, task in zip(states, tasks, strict=True)]


def _for_each(policy: ConditionedPolicy, tasks: Array) -> ConditionedPolicy:
    """The policy, once for each task."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (len(tasks), *x.shape)), policy)


@jax.jit
def _learn_from(state: State, seen: Transitions) -> tuple[State, Array]:
    """Line 3: real transitions into data and normalisers; also the model's error on them before it is fitted."""
    predicted = state.model.predict(seen.observation, seen.action).mean(0)
    error = jnp.sqrt(jnp.mean(((predicted - seen.next_observation) / state.model.difference.std) ** 2))
    model = state.model.renormalize(seen)
    agent = first_order.renormalize(state.agent, model.observation)
    return State(model, state.optimizer, state.data.add(seen), state.starts, agent), error


@functools.partial(jax.jit, static_argnames=("steps", "config"))
def _fit(state: State, key: Key, steps: int, config: EnsembleConfig) -> tuple[State, Array]:
    """Line 4."""
    model, optimizer, loss = ensemble.fit(state.model, state.optimizer, state.data, key, steps, config)
    return State(model, optimizer, state.data, state.starts, state.agent), loss


@functools.partial(jax.jit, static_argnames=("family", "updates", "config"))
def _practise(
    state: State, key: Key, family: TaskFamily, tasks: Array | None, updates: int, config: Config
) -> tuple[State, dict[str, Array]]:
    """Line 5, for `tasks` [task, feature], by default for draws from p(ψ)."""
    n = config.policy.batch
    n_start = round(config.from_start * n)

    def judge(observation: Array, action: Array, following: Array, tasks: Array) -> tuple[Array, Array]:
        reward, ended = family.outcome(observation[:, None], action[:, None], following[:, None], tasks)
        return reward[:, 0], ended[:, 0]

    def improve(agent: Agent, row: tuple[Key, Array]) -> tuple[Agent, dict[str, Array]]:
        key, rate = row
        member_key, start_key, row_key, task_key, update_key = jax.random.split(key, 5)
        model = state.model.member(jax.random.randint(member_key, (), 0, state.model.size))
        starts = state.starts[jax.random.randint(start_key, (n_start,), 0, len(state.starts))]
        rows = jax.random.randint(row_key, (n - n_start,), 0, state.data.size)
        begin = jnp.concatenate([starts, state.data.observation[rows]])
        if tasks is None:
            drawn = family.space.sample(task_key, n)
        else:
            drawn = tasks[jax.random.randint(task_key, (n,), 0, len(tasks))]
        return first_order.update(agent, model, judge, begin, drawn, update_key, config.policy, rate)

    rates = jnp.linspace(1.0, LAST_RATE, updates)
    agent, metrics = jax.lax.scan(improve, state.agent, (jax.random.split(key, updates), rates))
    last = jax.tree.map(lambda x: x[-max(updates // 10, 1) :].mean(), metrics)
    return State(state.model, state.optimizer, state.data, state.starts, agent), last


@functools.partial(jax.jit, static_argnames=("family", "episodes"))
def _predict(
    state: State, policies: ConditionedPolicy, tasks: Array, key: Key, family: TaskFamily, episodes: int
) -> tuple[Float[Array, "member task"], Float[Array, " task"]]:
    """Mean imagined returns of deterministic policies in each member, and how new the states are where they go."""

    def imagined(index: Array) -> tuple[Array, Array]:
        world = Imagination(family, state.model.member(index), state.starts)
        seen = rollout(world, policies, tasks, key, episodes=episodes, deterministic=True)
        away = state.model.disagreement(seen.observation, seen.action).mean(axis=(1, 2))
        return first_episode_return(seen.reward, seen.done).mean(-1), away

    returns, away = jax.lax.map(imagined, jnp.arange(state.model.size))
    rows = jax.random.randint(key, (1024,), 0, jnp.maximum(state.data.size, 1))
    usual = state.model.disagreement(state.data.observation[rows], state.data.action[rows]).mean()
    return returns, away.mean(0) / usual
