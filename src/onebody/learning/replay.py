"""A ring buffer of transitions that is a pytree, so it checkpoints with everything else."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from onebody.core import random
from onebody.core.types import Key, Transitions


class Replay(eqx.Module):
    """The newest `capacity` transitions, each slot's steps in a row, so that windows follow one episode."""

    observation: Float[Array, "capacity observation"]
    action: Float[Array, "capacity action"]
    next_observation: Float[Array, "capacity observation"]
    done: Bool[Array, " capacity"]
    size: Int[Array, ""]
    """rows filled"""
    head: Int[Array, ""]
    """row written next"""

    @staticmethod
    @partial(jax.jit, static_argnums=(0, 1, 2))
    def empty(capacity: int, observation_size: int, action_size: int) -> "Replay":
        observation, zero = jnp.zeros((capacity, observation_size)), jnp.zeros((), jnp.int32)
        return Replay(
            observation, jnp.zeros((capacity, action_size)), observation, jnp.zeros(capacity, bool), zero, zero
        )

    @property
    def capacity(self) -> int:
        return len(self.done)

    @jax.jit
    def add(self, transitions: Transitions) -> "Replay":
        """Append `[task, time, episode]` transitions, over the oldest rows once full."""

        def rows(x: Array) -> Array:
            x = jnp.swapaxes(x, 1, 2)
            return x.reshape(-1, *x.shape[3:])[-self.capacity :]

        done = rows(transitions.done)
        n = len(done)
        index = (self.head + jnp.arange(n)) % self.capacity
        return Replay(
            self.observation.at[index].set(rows(transitions.observation)),
            self.action.at[index].set(rows(transitions.action)),
            self.next_observation.at[index].set(rows(transitions.next_observation)),
            self.done.at[index].set(done),
            jnp.minimum(self.size + n, self.capacity),
            (self.head + n) % self.capacity,
        )

    @partial(jax.jit, static_argnames=("batch", "length"))
    def windows(self, key: Key, batch: int, length: int) -> tuple[Array, Array, Array, Array]:
        """Uniform windows of successive rows: observation, action, next observation, done; `[length, batch, ...]`.

        A window may run over the end of an episode; `done` marks it.
        """
        start = random.randint(key, (batch,), 0, jnp.maximum(self.size - length + 1, 1))
        index = start + jnp.arange(length)[:, None]
        return self.observation[index], self.action[index], self.next_observation[index], self.done[index]
