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
from jaxtyping import Array, Float, Int, PyTree

from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics
from onebody.algorithms.slbo.slbo import Shared, fit_model, imagined_return, learn_from, new_model
from onebody.algorithms.slbo.smt import EIGHT_THOUSAND, LAPTOP_SMT, OF_EIGHT_THOUSAND, SMOKE_SMT, SMT
from onebody.algorithms.slbo.smt import Config as SMTConfig
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

    @property
    def n_iterations(self) -> int:
        """calls of `step` in a whole training"""
        return self.smt.n_tasks


class Shadow(eqx.Module):
    """The second model of a rating, and the state of its optimiser."""

    model: Dynamics
    optimizer: PyTree


class State(eqx.Module):
    """What all tasks share, the second model where tasks are rated by two, and the first L ratings."""

    shared: Shared
    shadow: Shadow | None
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
        shared_key, shadow_key = jax.random.split(key)
        config, models = self.config, self.config.rating == "models"
        beside = 0 if models else config.smt.n_tasks * config.tries * config.real_episodes
        shadow = Shadow(*new_model(shadow_key, self.family, config.smt.slbo)) if models else None
        return State(self.smt.begin(shared_key, beside), shadow, jnp.zeros(config.window), jnp.array(0))

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        try_key, slbo_key, last_key = jax.random.split(key, 3)
        smt, shared, shadow = self.config.smt, state.shared, state.shadow
        ratings, rated = state.ratings, int(state.rated)
        tried: list[tuple[float, Array, Agent]] = []
        while True:
            task_key, warmup_key, shadow_key, rating_key = jax.random.split(jax.random.fold_in(try_key, len(tried)), 4)
            task = self.family.space.sample(task_key, 1)
            shared, agents = self.smt.warm_up(shared, task, warmup_key)
            if int(shared.data.size) == 0:
                break
            shadow = self._follow(shadow, shared, smt.n_warmup, shadow_key)
            shared, agents, rating = self._rate(shared, shadow, agents, task, rating_key)
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
        shadow = self._follow(shadow, shared, smt.n_slbo * smt.slbo.n_inner, last_key)
        return State(shared, shadow, ratings, jnp.array(rated)), metrics | learned

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        return self.smt.adapt(state.shared, tasks, key)

    def _follow(self, shadow: Shadow | None, shared: Shared, iterations: int, key: Key) -> Shadow | None:
        """The second model after the gradient steps of so many iterations of virtual training, on the data and with
        the normalisers of the first one."""
        if shadow is None:
            return None
        where = lambda model: (model.observation, model.difference)  # noqa: E731
        model, optimizer = eqx.tree_at(where, shadow.model, where(shared.model)), shadow.optimizer
        for fit_key in jax.random.split(key, iterations):
            own = Shared(model, optimizer, shared.data, shared.starts)
            model, optimizer, _ = fit_model(own, fit_key, self.config.smt.slbo)
        return Shadow(model, optimizer)

    def _rate(
        self, shared: Shared, shadow: Shadow | None, agents: Agent, task: Array, key: Key
    ) -> tuple[Shared, Agent, float]:
        """Line 3."""
        slbo = self.config.smt.slbo

        def imagined(model: Dynamics) -> float:
            world = Imagination(self.family, model, shared.starts)
            return float(imagined_return(world, agents.policy, task, key, slbo.imagined_episodes)[0])

        if shadow is not None:
            return shared, agents, abs(imagined(shared.model) - imagined(shadow.model))
        n = self.config.real_episodes
        seen = rollout(self.simulator, agents.policy, task, key, episodes=n, deterministic=True)
        missed = imagined(shared.model) - float(first_episode_return(seen.reward, seen.done).mean())
        return *learn_from(shared, agents, seen)[:2], missed


SPEC = AlgorithmSpec(
    ActiveSMT,
    presets={
        "paper": Config(),
        "laptop": Config(tries=3, smt=LAPTOP_SMT),
        "smoke": Config(window=1, tries=2, real_episodes=2, smt=SMOKE_SMT),
    },
    family_settings={("paper", family): {"smt": SMTConfig(slbo=EIGHT_THOUSAND)} for family in OF_EIGHT_THOUSAND},
)
