"""SMT that skips the tasks its model knows already: active task selection (Landolfi, Thomas, Ma 2019, §4.4).

    1: for n_tasks training tasks                                                                        `step`
    2:     sample a task ψ from p(ψ); a new policy, warmed up in the model                               `SMT.warm_up`
    3:     μ(ψ), a rating of how far the model is off there:                                             `_rate`
               real: the policy's imagined return minus its real one; the real samples go into D
               models: how far apart its imagined returns in a pair of models are; no real sample
    4:     L tasks are rated and μ(ψ) is below the q-quantile of the first L ratings: to 2; of `tries` tasks that are
           all below it, the one of the highest rating is taken
    5:     n_slbo stages of SLBO                                                                         `SMT.slbo`

The second model of the pair is the first one after n_shadow gradient steps more. The first task has no model to rate.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from onebody.algorithms.protocol import Adapted, Metrics
from onebody.algorithms.slbo import imagined_return
from onebody.algorithms.smt import SMT
from onebody.algorithms.smt import Config as SMTConfig
from onebody.algorithms.stage import Shared, fit_model, learn_from
from onebody.core.errors import at_least, at_most
from onebody.core.returns import first_episode_return
from onebody.core.types import Key
from onebody.learning.actor_critic import Agent
from onebody.learning.dynamics import Dynamics
from onebody.tasks.family import TaskFamily
from onebody.worlds.imagination import Imagination
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator


@dataclass(frozen=True)
class Config:
    """The window and the steps of the second model are the released code's; the other numbers are ours."""

    rating: Literal["models", "real"] = "models"
    """where μ(ψ) comes from"""
    window: int = 4
    """L, ratings that the others are measured by"""
    quantile: float = 0.5
    """q"""
    tries: int = 10
    """tasks that are rated for one that is trained on, at most"""
    real_episodes: int = 5
    """real episodes of a rating"""
    n_shadow: int = 100
    """gradient steps between the two models of a rating"""
    smt: SMTConfig = field(default_factory=SMTConfig)

    def __post_init__(self) -> None:
        at_least(1, self, "window", "tries", "real_episodes", "n_shadow")
        at_least(0, self, "quantile")
        at_most(1, self, "quantile")

    @property
    def n_iterations(self) -> int:
        """calls of `step` in a whole training"""
        return self.smt.n_tasks


class State(eqx.Module):
    """What all tasks share, and the first L ratings."""

    shared: Shared
    ratings: Float[Array, " window"]
    rated: Int[Array, ""]
    """ratings there are"""


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
        rated = self.config.tries * self.config.real_episodes if self.config.rating == "real" else 0
        return State(self.smt.begin(key, beside=rated), jnp.zeros(self.config.window), jnp.array(0))

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        try_key, slbo_key = jax.random.split(key)
        shared, ratings, rated = state.shared, state.ratings, int(state.rated)
        tried: list[tuple[float, Array, Agent]] = []
        while True:
            task_key, warmup_key, rating_key = jax.random.split(jax.random.fold_in(try_key, len(tried)), 3)
            task = self.family.space.sample(task_key, 1)
            shared, agents = self.smt.warm_up(shared, task, warmup_key)
            if int(shared.data.size) == 0:
                break
            shared, agents, rating = self._rate(shared, agents, task, rating_key)
            tried.append((rating, task, agents))
            if rated < self.config.window:
                ratings, rated = ratings.at[rated].set(rating), rated + 1
                break
            if rating >= jnp.quantile(ratings, self.config.quantile) or len(tried) == self.config.tries:
                break
        metrics: Metrics = {"task/skipped": max(len(tried) - 1.0, 0.0)}
        if tried:
            metrics["task/rating"], task, agents = max(tried, key=lambda rated: rated[0])
        shared, _, learned = self.smt.slbo(shared, agents, task, slbo_key)
        return State(shared, ratings, jnp.array(rated)), metrics | learned

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        return self.smt.adapt(state.shared, tasks, key)

    def _rate(self, shared: Shared, agents: Agent, task: Array, key: Key) -> tuple[Shared, Agent, float]:
        """Line 3."""
        fit_key, rollout_key = jax.random.split(key)
        slbo = self.config.smt.slbo

        def imagined(model: Dynamics) -> float:
            world = Imagination(self.family, model, shared.starts)
            return float(imagined_return(world, agents.policy, task, rollout_key, slbo.imagined_episodes)[0])

        if self.config.rating == "models":
            other, *_ = fit_model(shared, fit_key, replace(slbo, n_model=self.config.n_shadow))
            return shared, agents, abs(imagined(shared.model) - imagined(other))
        n = self.config.real_episodes
        seen = rollout(self.simulator, agents.policy, task, rollout_key, episodes=n, deterministic=True)
        missed = imagined(shared.model) - float(first_episode_return(seen.reward, seen.done).mean())
        return *learn_from(shared, agents, seen)[:2], missed
