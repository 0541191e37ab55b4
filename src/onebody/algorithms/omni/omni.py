"""OMNI: one task-conditioned policy, trained wholly inside a learned ensemble, for all tasks at once.

    1: initialise the ensemble, the policy π(a | s, ψ) and its values; D ← ∅
    2: for n_iterations                                                                      `step`
    3:     predict the returns of some tasks, collect a real episode of each, half of them with exploration noise and
           half with the deterministic policy, on which predicted returns are calibrated; D ← D ∪ them
    4:     n_model gradient steps of each member on D
    5:     n_updates pathwise updates of the policy in random members: from where it comes in them, in the task it has
           there; and from states of D and p0, in tasks drawn afresh (`practice.py`)
    6: a new ψ: the policy as it is, a forward pass                                          `adapt`, stage 0
    7: stages 1, 2, …: real episodes of ψ; line 4; n_refine updates for ψ alone, from where it comes and from p0

Ours. The parts: ensembles of probabilistic networks (Chua et al. 2018), policy gradients through them with a short
horizon and a terminal value (Heess et al. 2015, Xu et al. 2022), values of all tasks at once (Schaul et al. 2015).
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from onebody.algorithms.omni import first_order, practice
from onebody.algorithms.omni.first_order import Agent, FirstOrderConfig
from onebody.algorithms.protocol import ADAPTATION_STAGES, Adapted, AlgorithmSpec, Metrics
from onebody.core.errors import at_least, at_most, positive
from onebody.core.nets import Normalizer, trainable
from onebody.core.returns import first_episode_return
from onebody.core.types import Key, Transitions
from onebody.learning import ensemble
from onebody.learning.dynamics import renormalize
from onebody.learning.ensemble import Ensemble, EnsembleConfig
from onebody.learning.policies import Exploring, Policy, for_each
from onebody.learning.replay import Replay
from onebody.tasks.family import TaskFamily
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

REFINE_RATE = 0.2
"""share of them in a practice for a single task"""
COVERAGE = (0.05, 0.95)
"""quantiles of the newest errors of prediction that the interval of a promise takes in"""
DEVIATIONS = 2.0
"""standard deviations of the members' predictions that it takes in"""
CANDIDATES = 5
"""tasks drawn for each one that is chosen"""
CLIMBS, STRIDE = 5, 0.3
"""steps up the gap from each, and how far a step goes towards another draw"""


@dataclass(frozen=True)
class Config:
    """Ours."""

    n_iterations: int = 25
    """Iterations of training"""
    real_episodes: int = 20
    """Real episodes per iteration, each of its own task"""
    deterministic_share: float = 0.5
    """Share of the real episodes, in training and adaptation, collected with the deterministic policy. These calibrate
    the predicted returns; the others have exploration noise"""
    collect: Literal["uniform", "disagreement", "worst", "gap"] = "uniform"
    """Tasks of the real episodes in training. uniform: draws from p(ψ). The others choose among five times as many
    draws: disagreement, where the models disagree most along the policy's trajectory; worst, where the predicted return
    is lowest; gap, where a short policy optimisation for all draws raises the predicted return most, followed by steps
    in ψ that raise this gap further"""
    n_model: int = 1000
    """Gradient steps of each model per iteration"""
    n_updates: int = 700
    """Policy updates per iteration"""
    refine_episodes: int = 5
    """Real episodes per task and stage of adaptation"""
    n_refine: int = 200
    """Policy updates per task and stage of adaptation"""
    n_refine_model: int = 200
    """Gradient steps of each model per task and stage of adaptation"""
    predicted_episodes: int = 4
    """Imagined episodes per model for a predicted return"""
    model: EnsembleConfig = field(default_factory=EnsembleConfig)
    """Settings of the ensemble of dynamics models"""
    policy: FirstOrderConfig = field(default_factory=FirstOrderConfig)
    """Settings of the policy's updates by pathwise gradients"""

    def __post_init__(self) -> None:
        at_least(
            1, self, "n_iterations", "real_episodes", "n_model", "n_updates", "refine_episodes", "predicted_episodes"
        )
        at_least(0, self, "n_refine", "n_refine_model")
        positive(self, "deterministic_share")
        at_most(1, self, "deterministic_share")

    def deterministic(self, episodes: int) -> np.ndarray:
        """Which of a number of real episodes are collected with the deterministic policy: an even mask [episode] that
        begins with one of them."""
        return np.diff(np.ceil(self.deterministic_share * np.arange(episodes + 1) - 1e-9)) > 0


class State(eqx.Module):
    """Everything of a training."""

    model: Ensemble
    optimizer: PyTree
    data: Replay
    starts: Float[Array, "start observation"]
    agent: Agent
    errors: Float[Array, " episode"]
    """Real minus predicted return of the newest real episodes with the deterministic policy; zeros before the first"""


@dataclass(frozen=True)
class OMNI:
    """One model, instantly any task."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = True
    refine_updates = practice.REFRESH

    def init(self, key: Key) -> State:
        family, config = self.family, self.config
        family.needs_one_model()
        model_key, start_key, agent_key = jax.random.split(key, 3)
        sizes = family.body.observation_size, family.body.action_size
        model = Ensemble(model_key, *sizes, config.model)
        optimizer = ensemble.optimizer(config.model).init(eqx.filter(model.nets, trainable(model.nets)))
        episodes = config.n_iterations * config.real_episodes + ADAPTATION_STAGES * config.refine_episodes
        capacity = episodes * family.horizon
        task = Normalizer(family.space.size).update(family.space.sample(jax.random.key(0), 1024))
        agent = first_order.new_agent(agent_key, model.observation, task, sizes[1], config.policy)
        errors = jnp.zeros(2 * config.real_episodes)
        return State(model, optimizer, Replay.empty(capacity, *sizes), self.simulator.starts(start_key), agent, errors)

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        task_key, collect_key, model_key, policy_key = jax.random.split(key, 4)
        state, metrics = self._collect(state, self._tasks(state, task_key), collect_key)
        state, metrics["model/loss"] = _fit(state, model_key, self.config.n_model, self.config.model)
        rates = ensemble.falling(self.config.n_updates)
        state, practised = self._practise(state, None, rates, policy_key)
        return state, {name: float(value) for name, value in (metrics | practised).items()}

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        """Stage 0 is a forward pass. Then each task goes on in its own copy of everything, with its own samples."""
        predict_key, *keys = jax.random.split(key, len(tasks) + 1)
        learners = [state] * len(tasks)
        for stage in itertools.count(1):
            yield self._promise(learners, tasks, predict_key)
            learners = [
                self._stage(learner, task[None], jax.random.fold_in(k, stage))
                for learner, task, k in zip(learners, tasks, keys, strict=True)
            ]

    def refine(self, state: State, task: Float[Array, " feature"], key: Key) -> Iterator[Adapted]:
        """Practice for one task alone inside the model, without a real sample and without end: the policy with the best
        prediction so far."""
        predict_key, key = jax.random.split(key)
        best = self._promise([state], task[None], predict_key)
        for i in itertools.count():
            yield best
            rates = jnp.full(practice.REFRESH, REFINE_RATE)
            state, _ = self._practise(state, task[None], rates, jax.random.fold_in(key, i))
            new = self._promise([state], task[None], predict_key)
            best = max(best, new, key=lambda each: float(cast(Array, each.predicted_return)[0]))

    def rewarded(self, state: State, family: TaskFamily) -> tuple["OMNI", State]:
        """The same body with another reward, of whose returns past errors of prediction say nothing."""
        forgotten = eqx.tree_at(lambda s: s.errors, state, jnp.zeros_like(state.errors))
        return OMNI(family, self.config, Simulator(family)), forgotten

    def _tasks(self, state: State, key: Key) -> Float[Array, "task feature"]:
        """Tasks of the next real episodes."""
        n, (task_key, predict_key, practice_key) = self.config.real_episodes, jax.random.split(key, 3)
        if self.config.collect == "uniform":
            return self.family.space.sample(task_key, n)
        tasks = self.family.space.sample(task_key, CANDIDATES * n)
        if self.config.collect == "gap":
            return self._up_the_gap(state, tasks, practice_key, predict_key)
        expected, novelty = self._expected(state, tasks, predict_key)
        wanted = -expected if self.config.collect == "worst" else novelty
        return tasks[jnp.argsort(-wanted)[:n]]

    def _up_the_gap(self, state: State, drawn: Array, key: Key, predict_key: Key) -> Float[Array, "task feature"]:
        """AdMRL's ascent without a real sample and without a gradient: gap(ψ) is the predicted return after a short
        practice for all draws, less that before. From the draws of the widest gaps, small steps towards other draws,
        where they widen it."""
        n, (practice_key, *climb_keys) = self.config.real_episodes, jax.random.split(key, CLIMBS + 1)
        refined, _ = self._practise(state, drawn, jnp.full(practice.REFRESH, REFINE_RATE), practice_key)

        def gap(tasks: Float[Array, "task feature"]) -> Float[Array, " task"]:
            after, before = (self._expected(each, tasks, predict_key)[0] for each in (refined, state))
            return after - before

        wide = gap(drawn)
        first = jnp.argsort(-wide)[:n]
        tasks, wide = drawn[first], wide[first]
        for climb_key in climb_keys:
            moved = tasks + STRIDE * (self.family.space.sample(climb_key, n) - tasks)
            inside = jnp.array([self.family.space.contains(task) for task in moved])
            found = jnp.where(inside, gap(moved), -jnp.inf)
            tasks, wide = jnp.where((found > wide)[:, None], moved, tasks), jnp.maximum(found, wide)
        return tasks

    def _expected(self, state: State, tasks: Array, key: Key) -> tuple[Float[Array, " task"], Float[Array, " task"]]:
        """Predicted returns of the policy as it is, and how new the states are where it goes."""
        returns, novelty = self._predict(state, for_each(state.agent.policy, len(tasks)), tasks, 1, key)
        return jnp.median(returns, axis=0), novelty

    def _collect(self, state: State, tasks: Array, key: Key) -> tuple[State, dict[str, Array]]:
        """Line 3: a real episode of each task. Those with the deterministic policy calibrate the predicted returns."""
        deterministic = self.config.deterministic(len(tasks))
        policies = Exploring(for_each(state.agent.policy, len(tasks)), jnp.asarray(~deterministic, jnp.float32))
        predict_key, rollout_key = jax.random.split(key)
        imagined, _ = self._predict(
            state, policies, tasks, self.config.predicted_episodes, predict_key, deterministic=False
        )
        seen = rollout(self.simulator, policies, tasks, rollout_key, episodes=1)
        real = first_episode_return(seen.reward, seen.done)[:, 0]
        imagined = jnp.median(imagined, axis=0)
        state, error = _learn_from(state, seen, (real - imagined)[deterministic])
        metrics = {
            "real/return": real.mean(),
            "real/deterministic_return": real[deterministic].mean(),
            "imagined/return": imagined.mean(),
            "imagined/deterministic_return": imagined[deterministic].mean(),
            "model/validation_error": error,
        }
        return state, metrics

    def _stage(self, state: State, task: Float[Array, "1 feature"], key: Key) -> State:
        """Line 7."""
        collect_key, model_key, policy_key = jax.random.split(key, 3)
        state, _ = self._collect(state, jnp.repeat(task, self.config.refine_episodes, axis=0), collect_key)
        state, _ = _fit(state, model_key, self.config.n_refine_model, self.config.model)
        return self._practise(state, task, jnp.full(self.config.n_refine, REFINE_RATE), policy_key)[0]

    def _practise(self, state: State, tasks: Array | None, rates: Array, key: Key) -> tuple[State, dict[str, Array]]:
        """Line 5."""
        agent, metrics = practice.practise(
            state.agent, state.model, state.starts, state.data, tasks, rates, key, self.family, self.config.policy
        )
        return eqx.tree_at(lambda s: s.agent, state, agent), metrics

    def _predict(
        self, state: State, policies: Policy, tasks: Array, episodes: int, key: Key, deterministic: bool = True
    ) -> tuple[Float[Array, "member task"], Float[Array, " task"]]:
        return practice.predict(
            policies, state.model, state.starts, state.data, tasks, key, self.family, episodes, deterministic
        )

    def _promise(self, states: Sequence[State], tasks: Array, key: Key) -> Adapted:
        """Policies of several tasks, and what their models say of them."""
        policies, promises = [], []
        for state, rows in _together(states, tasks):
            policies.append(for_each(state.agent.policy, len(rows)))
            returns, novelty = self._predict(state, policies[-1], rows, self.config.predicted_episodes, key)
            promises.append((jnp.median(returns, axis=0), _interval(returns, state.errors), novelty))
        stacked, promised = (jax.tree.map(lambda *x: jnp.concatenate(x), *each) for each in (policies, promises))
        return Adapted(stacked, *promised)


def _interval(returns: Float[Array, "member task"], errors: Float[Array, " episode"]) -> Float[Array, "task 2"]:
    """Where real returns are expected: what predictions missed of late, and what the members do not agree on."""
    low, high = jnp.quantile(errors, jnp.array(COVERAGE))
    middle, spread = jnp.median(returns, axis=0), DEVIATIONS * returns.std(0)
    away = jnp.hypot(jnp.minimum(low, 0.0), spread), jnp.hypot(jnp.maximum(high, 0.0), spread)
    return jnp.stack([middle - away[0], middle + away[1]], axis=1)


def _together(states: Sequence[State], tasks: Array) -> list[tuple[State, Array]]:
    """Tasks whose state is the same one are predicted at once."""
    if all(state is states[0] for state in states):
        return [(states[0], tasks)]
    return [(state, task[None]) for state, task in zip(states, tasks, strict=True)]


@jax.jit
def _learn_from(state: State, seen: Transitions, missed: Array) -> tuple[State, Array]:
    """Line 3: real transitions into data and normalisers; also the model's error on them before it is fitted."""
    predicted = state.model.predict(seen.observation, seen.action).mean(0)
    error = jnp.sqrt(jnp.mean(((predicted - seen.next_observation) / state.model.difference.scale) ** 2))
    model = renormalize(state.model, seen)
    agent = first_order.renormalize(state.agent, model.observation)
    errors = jnp.concatenate([state.errors, missed])[-len(state.errors) :]
    return State(model, state.optimizer, state.data.add(seen), state.starts, agent, errors), error


@functools.partial(jax.jit, static_argnames=("steps", "config"))
def _fit(state: State, key: Key, steps: int, config: EnsembleConfig) -> tuple[State, Array]:
    """Line 4."""
    model, optimizer, loss = ensemble.fit(state.model, state.optimizer, state.data, key, steps, config)
    return State(model, optimizer, state.data, state.starts, state.agent, state.errors), loss


SPEC = AlgorithmSpec(
    OMNI,
    presets={
        "paper": Config(),
        "laptop": Config(),
        "demo": Config(n_iterations=10),
        "smoke": Config(
            n_iterations=3,
            real_episodes=4,
            n_model=40,
            n_updates=20,
            n_refine=10,
            n_refine_model=10,
            model=EnsembleConfig(members=2, hidden=(32, 32), batch=32),
            policy=FirstOrderConfig(hidden=(16, 16), batch=32, window=5),
        ),
    },
)
