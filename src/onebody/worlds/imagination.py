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


class State(NamedTuple):
    """State of all episodes."""

    tasks: Float[Array, "task feature"]
    age: Int[Array, "task episode"]
    """Number of steps since the start of each episode"""
    start: Int[Array, "task episode"]
    """Index of each episode's initial state"""
    key: Key
    """Random key of the model"""


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
        state = State(tasks, jnp.zeros_like(start), start, jax.random.fold_in(keys[0], episodes))
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
        tasks, age, start, key = state
        key, model_key = jax.random.split(key)
        next_observation = self.model(model_key, observation, action)
        reward, terminated = self.family.outcome(observation, action, next_observation, tasks[:, None])
        truncated = (age + 1 >= self.family.horizon) & ~terminated
        done = terminated | truncated
        age, start = jnp.where(done, 0, age + 1), jnp.where(done, (start + 1) % len(self.starts), start)
        start_or_next = jnp.where(done[..., None], self.starts[start], next_observation)
        transitions = Transitions(observation, action, reward, next_observation, terminated, truncated)
        return State(tasks, age, start, key), start_or_next, transitions

    @staticmethod
    def scan(step: Any, carry: Any, noise: Array, needs_reward: bool = False) -> tuple[Any, Transitions]:
        return jax.lax.scan(step, carry, noise)
