"""OMNI: one task-conditioned policy, trained wholly inside a learned ensemble, for all tasks at once.

    1: initialise the ensemble, the policy π(a | s, ψ) and its values; D ← ∅
    2: for n_iterations                                                                      `step`
    3:     predict the returns of some tasks, collect a horizon of real steps in each, half of them with exploration
           noise and half with the deterministic policy, on which predicted returns are calibrated; D ← D ∪ them
    4:     n_model gradient steps of each member on D
    5:     n_updates pathwise updates of the policy, each in a random member, whose predictions are sampled: from states
           that it visits there, in its task there; from states of D and p0, in new tasks
                                                                                       `policy_optimization.optimize`
    6: a new ψ: the policy as it is, a forward pass                                          `adapt`, stage 0
    7: stages 1, 2, …: real episodes of ψ; line 4; n_refine updates for ψ alone, from visited states and p0

With logged transitions, these are in D from the beginning, and line 3 may be left out.                   `with_logs`

Ours. The parts: ensembles of probabilistic networks (Chua et al. 2018), policy gradients through them with a short
horizon and a terminal value (Heess et al. 2015, Xu et al. 2022), values of all tasks at once (Schaul et al. 2015).
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from onebody.algorithms.adaptation import task_by_task
from onebody.algorithms.omni import first_order, policy_optimization, prediction, task_choice
from onebody.algorithms.omni.first_order import Agent, FirstOrderConfig
from onebody.algorithms.protocol import ADAPTATION_STAGES, Adapted, AlgorithmSpec, Metrics, iterations_held
from onebody.core.errors import OnebodyError, at_least, at_most, positive
from onebody.core.nets import Normalizer
from onebody.core.returns import first_episode_return
from onebody.core.types import Key, Transitions
from onebody.learning import ensemble
from onebody.learning.dynamics import merge_statistics
from onebody.learning.ensemble import Ensemble, EnsembleConfig
from onebody.learning.policies import Exploring, Policy, for_each, joined
from onebody.learning.replay import Replay
from onebody.learning.train_state import TrainState
from onebody.tasks.family import TaskFamily
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

REFINE_RATE = 0.2
"""Share of the learning rates in policy optimisation for single tasks"""
CANDIDATES = 5
"""Tasks drawn for each one that is chosen"""
ASCENT_STEPS = 5
"""Steps up the gap, from each chosen task"""
IMAGINED_TASKS = 20
"""Tasks whose mean imagined return and novelty are metrics of an iteration without real episodes"""


@dataclass(frozen=True)
class Config:
    """Ours."""

    n_iterations: int = 25
    """Iterations of training"""
    real_episodes: int = 20
    """Real episodes per iteration, each of its own task; 0 needs logged transitions"""
    logged_transitions: int = 0
    """Largest number of transitions of logs (train --data) that are kept; a larger log is sampled by whole episodes"""
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
        at_least(1, self, "n_iterations", "n_model", "n_updates", "refine_episodes", "predicted_episodes")
        at_least(0, self, "real_episodes", "logged_transitions", "n_refine", "n_refine_model")
        positive(self, "deterministic_share")
        at_most(1, self, "deterministic_share")
        if not (self.real_episodes or self.logged_transitions):
            raise OnebodyError("real-episodes must be at least 1 where there are no logs to learn from (train --data)")

    def deterministic(self, episodes: int) -> np.ndarray:
        """Which of a number of real episodes are collected with the deterministic policy: an even mask [episode] that
        begins with one of them."""
        return np.diff(np.ceil(self.deterministic_share * np.arange(episodes + 1) - 1e-9)) > 0


class State(eqx.Module):
    """State of a training run."""

    model: TrainState[Ensemble]
    data: Replay
    starts: Float[Array, "start observation"]
    """Initial states: draws from p0, or those of logged episodes"""
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
    logs_alone = MappingProxyType({"real_episodes": 0})
    refine_updates = policy_optimization.REFRESH

    def init(self, key: Key) -> State:
        """Line 1."""
        if self.family.tested.physics and not self.family.physics:
            raise OnebodyError(
                f"the dynamics of {self.family.tested.id} vary with the task and those of {self.family.id} do not, so "
                "OMNI's models could not learn how: give both families physics, or use smt"
            )
        model_key, start_key, agent_key = jax.random.split(key, 3)
        return new_state(model_key, agent_key, self.simulator.starts(start_key), self.family, self.config)

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        """Lines 3-5."""
        task_key, collect_key, model_key, policy_key = jax.random.split(key, 4)
        metrics: dict[str, Array] = {}
        if self.config.real_episodes:
            state, metrics = self._collect(state, self._choose_tasks(state, task_key), collect_key)
        state, metrics["model/loss"] = fit_model(state, model_key, self.config.n_model, self.config.model)
        state, optimized = self._optimize(state, None, ensemble.falling(self.config.n_updates), policy_key)
        metrics |= optimized
        if not self.config.real_episodes:
            returns, novelty = self._expected(state, self.family.space.sample(task_key, IMAGINED_TASKS), collect_key)
            metrics |= {"imagined/return": returns.mean(), "imagined/novelty": novelty.mean()}
        return state, {name: float(value) for name, value in metrics.items()}

    def with_logs(self, state: State, transitions: Transitions, starts: Float[Array, "start observation"]) -> State:
        """The state with logged transitions added, and with initial states from the logs; see `LearnsFromLogs`."""
        return eqx.tree_at(lambda s: s.starts, extended(state, transitions), starts)

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        """Lines 6-7. Each task goes on in its own copy of everything, with its own samples."""
        predict_key, key = jax.random.split(key)
        adapted = lambda states: self._adapted(states, tasks, predict_key)  # noqa: E731
        return task_by_task([state] * len(tasks), tasks, key, adapted, self._stage)

    def refine(self, state: State, task: Float[Array, " feature"], key: Key) -> Iterator[Adapted]:
        """Policy optimisation for one task inside the model, without real samples; yields the policy of the highest
        predicted return so far, for as long as the caller asks."""
        predict_key, key = jax.random.split(key)
        best = self._adapted([state], task[None], predict_key)
        for i in itertools.count():
            yield best
            rates = jnp.full(policy_optimization.REFRESH, REFINE_RATE)
            state, _ = self._optimize(state, task[None], rates, jax.random.fold_in(key, i))
            new = self._adapted([state], task[None], predict_key)
            best = max(best, new, key=lambda each: float(cast(Array, each.predicted_return)[0]))

    def rewarded(self, state: State, family: TaskFamily) -> tuple["OMNI", State]:
        """The same body with another reward, of whose returns past errors of prediction say nothing."""
        forgotten = eqx.tree_at(lambda s: s.errors, state, jnp.zeros_like(state.errors))
        return OMNI(family, self.config, Simulator(family)), forgotten

    def _choose_tasks(self, state: State, key: Key) -> Float[Array, "task feature"]:
        """Tasks of the next real episodes."""
        n, (task_key, predict_key, optimize_key) = self.config.real_episodes, jax.random.split(key, 3)
        if self.config.collect == "uniform":
            return self.family.space.sample(task_key, n)
        draws = self.family.space.sample(task_key, CANDIDATES * n)
        if self.config.collect != "gap":
            expected, novelty = self._expected(state, draws, predict_key)
            return task_choice.largest(draws, -expected if self.config.collect == "worst" else novelty, n)
        optimize_key, *ascent_keys = jax.random.split(optimize_key, ASCENT_STEPS + 1)
        refined, _ = self._optimize(state, draws, jnp.full(policy_optimization.REFRESH, REFINE_RATE), optimize_key)

        def gap(tasks: Float[Array, "task feature"]) -> Float[Array, " task"]:
            after, before = (self._expected(each, tasks, predict_key)[0] for each in (refined, state))
            return after - before

        widest = task_choice.largest(draws, gap(draws), n)
        return task_choice.ascend(gap, widest, self.family.space, ascent_keys)

    def _collect(self, state: State, tasks: Array, key: Key) -> tuple[State, dict[str, Array]]:
        """Line 3: a real episode of each task. Those with the deterministic policy calibrate the predicted returns."""
        deterministic = self.config.deterministic(len(tasks))
        policies = for_each(state.agent.policy.module, len(tasks))
        explorers = Exploring(policies, jax.device_put(np.float32(~deterministic)))
        predict_key, rollout_key = jax.random.split(key)
        n = self.config.predicted_episodes
        predicted, _ = self._predict(state, explorers, tasks, n, predict_key, deterministic=False)
        transitions = rollout(self.simulator, explorers, tasks, rollout_key, episodes=1)
        real = first_episode_return(transitions.reward, transitions.done)[:, 0]
        predicted = jnp.median(predicted, axis=0)
        whole = ~np.asarray(transitions.truncated[:, :-1].any(axis=(1, 2)))  # no emergency stop of a robot, for example
        errors = (real - predicted)[deterministic & whole]
        inputs = self.family.model_action(transitions.action, tasks[:, None, None])
        state, error = add_data(state, transitions._replace(action=inputs), errors)
        metrics = {
            "real/return": real.mean(),
            "real/deterministic_return": real[deterministic].mean(),
            "imagined/return": predicted.mean(),
            "imagined/deterministic_return": predicted[deterministic].mean(),
            "model/validation_error": error,
        }
        return state, metrics

    def _stage(self, state: State, task: Float[Array, "1 feature"], key: Key) -> State:
        """Line 7."""
        collect_key, model_key, policy_key = jax.random.split(key, 3)
        state, _ = self._collect(state, jnp.repeat(task, self.config.refine_episodes, axis=0), collect_key)
        state, _ = fit_model(state, model_key, self.config.n_refine_model, self.config.model)
        return self._optimize(state, task, jnp.full(self.config.n_refine, REFINE_RATE), policy_key)[0]

    def _optimize(self, state: State, tasks: Array | None, rates: Array, key: Key) -> tuple[State, dict[str, Array]]:
        """Line 5."""
        model, config = state.model.module, self.config.policy
        agent, metrics = policy_optimization.optimize(
            state.agent, model, state.starts, state.data, tasks, rates, key, self.family, config
        )
        return eqx.tree_at(lambda s: s.agent, state, agent), metrics

    def _predict(
        self, state: State, policies: Policy, tasks: Array, episodes: int, key: Key, deterministic: bool = True
    ) -> tuple[Float[Array, "member task"], Float[Array, " task"]]:
        model = state.model.module
        return prediction.predict(
            policies, model, state.starts, state.data, tasks, key, self.family, episodes, deterministic
        )

    def _expected(self, state: State, tasks: Array, key: Key) -> tuple[Float[Array, " task"], Float[Array, " task"]]:
        """Predicted returns of the policy as it is, and the novelty of the states that it visits."""
        returns, novelty = self._predict(state, for_each(state.agent.policy.module, len(tasks)), tasks, 1, key)
        return jnp.median(returns, axis=0), novelty

    def _adapted(self, states: Sequence[State], tasks: Array, key: Key) -> Adapted:
        """The policies of several tasks, and what their models predict of them."""
        parts = []
        for state, own in _grouped(states, tasks):
            policies = for_each(state.agent.policy.module, len(own))
            returns, novelty = self._predict(state, policies, own, self.config.predicted_episodes, key)
            interval = prediction.interval(returns, state.errors)
            parts.append(Adapted(policies, jnp.median(returns, axis=0), interval, novelty))
        return joined(parts)


def _grouped(states: Sequence[State], tasks: Array) -> list[tuple[State, Array]]:
    """Each state with its task; all tasks with one state where they share it, so that they are predicted at once."""
    if all(state is states[0] for state in states):
        return [(states[0], tasks)]
    return [(state, task[None]) for state, task in zip(states, tasks, strict=True)]


@functools.partial(jax.jit, static_argnames=("family", "config"))
def new_state(
    model_key: Key, agent_key: Key, starts: Float[Array, "start observation"], family: TaskFamily, config: Config
) -> State:
    """An untrained ensemble, policy and values, and an empty buffer."""
    sizes = family.body.observation_size, family.model_action_size
    model = Ensemble(model_key, *sizes, config.model, family.limited)
    episodes = iterations_held(config.n_iterations) * config.real_episodes + ADAPTATION_STAGES * config.refine_episodes
    data = Replay.empty(config.logged_transitions + episodes * family.horizon, *sizes)
    task = Normalizer(family.space.size).update(family.space.sample(jax.random.key(0), 1024))
    agent = first_order.new_agent(agent_key, model.observation, task, family.body.action_size, config.policy)
    trained = TrainState.create(model, ensemble.optimizer(config.model))
    errors = jnp.zeros(2 * max(config.real_episodes or config.refine_episodes, prediction.FEWEST_ERRORS))
    return State(trained, data, starts, agent, errors)


@jax.jit
def add_data(state: State, transitions: Transitions, new_errors: Array) -> tuple[State, Float[Array, ""]]:
    """Line 3: add real transitions to data and normalisers; also the model's error on them before it is fitted to them.

    Their actions are those of `TaskFamily.model_action`.
    """
    model = state.model.module
    predicted = model.predict(transitions.observation, transitions.action).mean(0)
    error = jnp.sqrt(jnp.mean(((predicted - transitions.next_observation) / model.difference.scale) ** 2))
    new_errors = jnp.where(new_errors == 0, jnp.finfo(new_errors.dtype).tiny, new_errors)  # zeros: before the first
    errors = jnp.concatenate([state.errors, new_errors])[-len(state.errors) :]
    return eqx.tree_at(lambda s: s.errors, extended(state, transitions), errors), error


@jax.jit
def extended(state: State, transitions: Transitions) -> State:
    """Transitions added to data and normalisers."""
    model = merge_statistics(state.model.module, transitions)
    agent = first_order.renormalize(state.agent, model.observation)
    return State(state.model.with_module(model), state.data.add(transitions), state.starts, agent, state.errors)


@functools.partial(jax.jit, static_argnames=("steps", "config"))
def fit_model(state: State, key: Key, steps: int, config: EnsembleConfig) -> tuple[State, Float[Array, ""]]:
    """Line 4, and the mean loss."""
    model, loss = ensemble.fit(state.model, state.data, key, steps, config)
    return State(model, state.data, state.starts, state.agent, state.errors), loss


SPEC = AlgorithmSpec(
    OMNI,
    presets={
        "paper": Config(),
        "laptop": Config(),
        "demo": Config(
            n_iterations=16,
            n_model=700,
            n_updates=650,
            model=EnsembleConfig(batch=128, learning_rate=1.5e-3),
            policy=FirstOrderConfig(batch=64, learning_rate=1e-3),
        ),
        "smoke": Config(
            n_iterations=3,
            real_episodes=4,
            n_model=40,
            n_updates=20,
            refine_episodes=4,
            n_refine=10,
            n_refine_model=40,
            model=EnsembleConfig(members=2, hidden=(32, 32), batch=32),
            policy=FirstOrderConfig(hidden=(16, 16), batch=32, window=5),
        ),
    },
)
