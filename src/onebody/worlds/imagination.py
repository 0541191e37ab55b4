"""The learned world: a model steps, the family's own reward and terminal functions judge."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from onebody.core import random
from onebody.core.types import Keys, Transitions
from onebody.tasks.family import TaskFamily


class Imagination(eqx.Module):
    """The world that a model imagines. Episodes start from real initial states and end as real ones do."""

    family: TaskFamily = eqx.field(static=True)
    model: Callable[[Array, Array], Array]
    """(observation, action) -> next observation"""
    starts: Float[Array, "start observation"]
    """draws from p0; each episode begins at the next one"""

    def reset(
        self, tasks: Float[Array, "task feature"], episodes: int, keys: Keys
    ) -> tuple[tuple[Array, Int[Array, "task episode"], Int[Array, "task episode"]], Array]:
        """Begin `episodes` episodes of each task, a key a task; the state (tasks, age, start) and observations."""
        start = jax.vmap(lambda key: random.randint(key, (episodes,), 0, len(self.starts)))(keys)
        return (tasks, jnp.zeros_like(start), start), self.starts[start]

    def step(
        self,
        state: tuple[Array, Array, Array],
        observation: Float[Array, "task episode observation"],
        action: Float[Array, "task episode action"],
    ) -> tuple[tuple[Array, Array, Array], Array, Transitions]:
        """One step of every episode; one that ends begins anew. New state, observations, transitions."""
        tasks, age, start = state
        next_observation = self.model(observation, action)
        reward, terminated = self.family.outcome(observation, action, next_observation, tasks[:, None])
        truncated = (age + 1 >= self.family.horizon) & ~terminated
        done = terminated | truncated
        age, start = jnp.where(done, 0, age + 1), jnp.where(done, (start + 1) % len(self.starts), start)
        beginning = jnp.where(done[..., None], self.starts[start], next_observation)
        transitions = Transitions(observation, action, reward, next_observation, terminated, truncated)
        return (tasks, age, start), beginning, transitions

    @staticmethod
    def scan(step: Any, carry: Any, noise: Array, rewarded: bool = False) -> tuple[Any, Transitions]:
        return jax.lax.scan(step, carry, noise)
