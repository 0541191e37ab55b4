"""SMT that skips the tasks its model knows already: active task selection (Landolfi, Thomas, Ma 2019, §4.4).

    1: for n_tasks training tasks                                                                        `step`
    2:     sample a task ψ from p(ψ); a new policy, warmed up in the model                               `SMT.warm_up`
    3:     μ(ψ), a rating of how far the model is off there:                                             `_rate`
               real: the policy's imagined return minus its real one; the real samples go into D
               models: how far apart its imagined returns in a pair of models are; no real sample
    4:     L tasks are rated and μ(ψ) is below the q-quantile of the first L ratings: to 2; of `tries` tasks that are
           all below it, the one of the highest rating is taken
    5:     n_slbo stages of SLBO                                                                         `SMT.slbo`

The second model of the pair is a network of its own, with its own initial weights, optimiser and minibatches. It takes
as many gradient steps as the first one, on the data that there are then: after each warm-up, before the task is rated,
and after the stages of a task. The first task has no model to rate.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics, iterations_held
from onebody.algorithms.slbo.slbo import Shared, add_data, fit_model, imagined_return, new_model
from onebody.algorithms.slbo.smt import EIGHT_THOUSAND, LAPTOP_SMT, OF_EIGHT_THOUSAND, SMOKE_SMT, SMT
from onebody.algorithms.slbo.smt import Config as SMTConfig
from onebody.core.errors import OnebodyError, at_least, at_most
from onebody.core.returns import first_episode_return
from onebody.core.types import Key
from onebody.learning.actor_critic import ActorCritic
from onebody.learning.dynamics import Dynamics
from onebody.learning.train_state import TrainState
from onebody.tasks.family import TaskFamily
from onebody.worlds.imagination import Imagination
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator


@dataclass(frozen=True)
class Config:
    """The window is the released code's; the other numbers are ours."""

    rating: Literal["models", "real"] = "models"
    """Rating μ(ψ) of a candidate task. real: imagined minus real return of its policy; models: the difference between
    the policy's imagined returns in a pair of models"""
    window: int = 4
    """Number L of first ratings whose quantile q the later ratings are compared with"""
    quantile: float = 0.5
    """Quantile q of the first ratings below which a task is skipped"""
    tries: int = 10
    """Largest number of candidate tasks that are rated before one is trained on"""
    real_episodes: int = 5
    """Real episodes collected to rate a candidate task"""
    smt: SMTConfig = field(default_factory=SMTConfig)
    """Settings of SMT's training on the tasks that are taken"""

    def __post_init__(self) -> None:
        at_least(1, self, "window", "tries", "real_episodes")
        at_least(0, self, "quantile")
        at_most(1, self, "quantile")
        if self.smt.logged_transitions:
            raise OnebodyError("smt-active cannot learn from logs; smt can")

    @property
    def n_iterations(self) -> int:
        """Calls of `step` in a whole training run"""
        return self.smt.n_tasks


class State(eqx.Module):
    """What all tasks share, the second model where tasks are rated by a pair of them, and the first L ratings."""

    shared: Shared
    second_model: TrainState[Dynamics] | None
    ratings: Float[Array, " window"]
    n_rated: Int[Array, ""]
    """Number of ratings so far"""


@dataclass(frozen=True)
class ActiveSMT:
    """SMT with active task selection."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = True

    @property
    def smt(self) -> SMT:
        return SMT(self.family, self.config.smt, self.simulator)

    def init(self, key: Key) -> State:
        shared_key, second_key = jax.random.split(key)
        config, models = self.config, self.config.rating == "models"
        more = 0 if models else iterations_held(config.smt.n_tasks) * config.tries * config.real_episodes
        second = new_model(second_key, self.family, config.smt.slbo) if models else None
        return State(self.smt.begin(shared_key, more), second, jnp.zeros(config.window), jnp.array(0))

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        try_key, slbo_key, last_key = jax.random.split(key, 3)
        smt, shared, second = self.config.smt, state.shared, state.second_model
        ratings, n_rated = state.ratings, int(state.n_rated)
        candidates: list[tuple[float, Array, ActorCritic]] = []
        while True:
            candidate_key = jax.random.fold_in(try_key, len(candidates))
            task_key, warmup_key, second_key, rating_key = jax.random.split(candidate_key, 4)
            task = self.family.space.sample(task_key, 1)
            shared, agents, _ = self.smt.warm_up(shared, task, warmup_key)
            if int(shared.data.size) == 0:
                break
            second = self._fit_second(second, shared, smt.n_warmup, second_key)
            shared, agents, rating = self._rate(shared, second, agents, task, rating_key)
            candidates.append((rating, task, agents))
            if n_rated < self.config.window:
                ratings, n_rated = ratings.at[n_rated].set(rating), n_rated + 1
                break
            if rating >= jnp.quantile(ratings, self.config.quantile) or len(candidates) == self.config.tries:
                break
        metrics: Metrics = {"task/skipped": max(len(candidates) - 1.0, 0.0)}
        if candidates:
            metrics["task/rating"], task, agents = max(candidates, key=lambda candidate: candidate[0])
        shared, _, learned = self.smt.slbo(shared, agents, task, slbo_key)
        second = self._fit_second(second, shared, smt.n_slbo * smt.slbo.n_inner, last_key)
        return State(shared, second, ratings, jnp.array(n_rated)), metrics | learned

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        return self.smt.adapt(state.shared, tasks, key)

    def _fit_second(
        self, second: TrainState[Dynamics] | None, shared: Shared, iterations: int, key: Key
    ) -> TrainState[Dynamics] | None:
        """The second model after the gradient steps of so many iterations of virtual training, on the data and with
        the normalisers of the first one."""
        if second is None:
            return None
        where = lambda model: (model.observation, model.difference)  # noqa: E731
        model = eqx.tree_at(where, second.module, where(shared.model.module))
        own = Shared(second.with_module(model), shared.data, shared.starts)
        for fit_key in jax.random.split(key, iterations):
            own, _ = fit_model(own, fit_key, self.config.smt.slbo)
        return own.model

    def _rate(
        self, shared: Shared, second: TrainState[Dynamics] | None, agents: ActorCritic, task: Array, key: Key
    ) -> tuple[Shared, ActorCritic, float]:
        """Line 3."""

        def imagined(model: TrainState[Dynamics]) -> float:
            world = Imagination(self.family, model.module, shared.starts)
            return float(imagined_return(world, agents.policy, task, key, self.config.smt.slbo.imagined_episodes)[0])

        if second is not None:
            return shared, agents, abs(imagined(shared.model) - imagined(second))
        n = self.config.real_episodes
        transitions = rollout(self.simulator, agents.policy, task, key, episodes=n, deterministic=True)
        error = imagined(shared.model) - float(first_episode_return(transitions.reward, transitions.done).mean())
        return *add_data(shared, agents, transitions)[:2], error


SPEC = AlgorithmSpec(
    ActiveSMT,
    presets={
        "paper": Config(),
        "laptop": Config(tries=3, smt=LAPTOP_SMT),
        "smoke": Config(window=1, tries=2, real_episodes=2, smt=SMOKE_SMT),
    },
    family_settings={("paper", family): {"smt": SMTConfig(slbo=EIGHT_THOUSAND)} for family in OF_EIGHT_THOUSAND},
)
