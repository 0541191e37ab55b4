"""The learned world: a dynamics model predicts observations; the family's functions give reward and termination."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from onebody.core import random
from onebody.core.types import Key, Keys, Transitions
from onebody.learning.dynamics import Model
from onebody.tasks.family import TaskFamily
from onebody.tasks.limited import perceived
from onebody.tasks.limits import LimitedBody


class State(NamedTuple):
    """State of all episodes."""

    tasks: Float[Array, "task feature"]
    age: Int[Array, "task episode"]
    """Number of steps since the start of each episode"""
    start: Int[Array, "task episode"]
    """Index of each episode's initial state"""
    key: Key
    """Random key of the model"""
    predicted: Float[Array, "task episode observation"] | None = None
    """What the model goes on from; None: from the observations, which are neither noisy nor dropped"""


class Imagination(eqx.Module):
    """A world whose observations a model predicts. Episodes start from real initial states and end as real ones do."""

    family: TaskFamily = eqx.field(static=True)
    model: Model
    starts: Float[Array, "start observation"]
    """Samples of p0; each episode starts from the next one"""

    @property
    def in_use(self) -> AbstractContextManager[None]:
        """Several threads may imagine at once."""
        return nullcontext()

    def reset(self, tasks: Float[Array, "task feature"], episodes: int, keys: Keys) -> tuple[State, Array]:
        """Start `episodes` episodes of each task, with one key per task; returns the state and observations."""
        start = jax.vmap(lambda key: random.randint(key, (episodes,), 0, len(self.starts)))(keys)
        predicted = None if self._disturbed is None else self.starts[start]
        state = State(tasks, jnp.zeros_like(start), start, jax.random.fold_in(keys[0], episodes), predicted)
        return state, self.starts[start]

    def step(
        self,
        state: State,
        observation: Float[Array, "task episode observation"],
        action: Float[Array, "task episode action"],
    ) -> tuple[State, Array, Transitions]:
        """One step of every episode; an episode that ends is followed by another one.

        Returns:
            The new state, the observations to act on next, and the transitions.
        """
        tasks, age, start, key, hidden = state
        key, model_key = jax.random.split(key)
        predicted = next_observation = self.model(model_key, observation if hidden is None else hidden, action)
        if self._disturbed is not None:
            next_observation = perceived(self._disturbed, jax.random.fold_in(model_key, 1), observation, predicted)
        reward, terminated = self.family.outcome(observation, action, next_observation, tasks[:, None])
        truncated = (age + 1 >= self.family.horizon) & ~terminated
        done = terminated | truncated
        age, start = jnp.where(done, 0, age + 1), jnp.where(done, (start + 1) % len(self.starts), start)
        start_or = lambda following: jnp.where(done[..., None], self.starts[start], following)  # noqa: E731
        start_or_next = start_or(next_observation)
        transitions = Transitions(observation, action, reward, next_observation, terminated, truncated)
        hidden = None if hidden is None else start_or(predicted)
        return State(tasks, age, start, key, hidden), start_or_next, transitions

    @property
    def _disturbed(self) -> LimitedBody | None:
        """The body, if its observations are noisy or may be dropped."""
        body = self.family.limited
        return body if body is not None and body.disturbed else None

    @staticmethod
    def scan(step: Any, carry: Any, noise: Array, needs_reward: bool = False) -> tuple[Any, Transitions]:
        return jax.lax.scan(step, carry, noise)
