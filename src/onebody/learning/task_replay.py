"""Transitions of many tasks in one store, drawn for each task apart; a pytree, so it checkpoints with everything else.

Each task has rows from the beginning, and some from each visit. A visit's first rows are the task's recent
data, until its next visit.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from onebody.core import random
from onebody.core.types import Key


class Rows(NamedTuple):
    """Transitions, with any leading axes."""

    observation: Float[Array, "*axes observation"]
    action: Float[Array, "*axes action"]
    reward: Float[Array, "*axes"]
    """The reward that the policy is trained with"""
    signal: Float[Array, "*axes"]
    """The reward that the encoder infers the task from: the same, or the sparse one of tests"""
    next_observation: Float[Array, "*axes observation"]
    terminated: Float[Array, "*axes"]
    """1 or 0"""


class TaskReplay(eqx.Module):
    """Room for all rows of a training."""

    rows: Rows
    """[row, ...]: those of the beginning, task by task, then visit by visit"""
    visits: Int[Array, "task visit"]
    """Indices of each task's visits"""
    n_visits: Int[Array, " task"]
    n: Int[Array, ""]
    """Number of visits so far"""
    initial: int = eqx.field(static=True)
    """Rows of each task from before the first visit"""
    length: int = eqx.field(static=True)
    """Rows per visit"""
    recent: int = eqx.field(static=True)
    """Number of the first of these rows, which are recent data"""

    @staticmethod
    def empty(
        tasks: int, visits: int, initial: int, length: int, recent: int, observation_size: int, action_size: int
    ) -> "TaskReplay":
        n, zero = tasks * initial + visits * length, jnp.zeros((), jnp.int32)
        observation, column = jnp.zeros((n, observation_size)), jnp.zeros(n)
        rows = Rows(observation, jnp.zeros((n, action_size)), column, column, observation, column)
        table = jnp.zeros((tasks, visits), jnp.int32)
        return TaskReplay(rows, table, table[:, 0], zero, initial, length, recent)

    def begin(self, rows: Rows) -> "TaskReplay":
        """The rows of the beginning, [task, initial, ...]."""
        return eqx.tree_at(lambda r: r.rows, self, self._written(rows, 0))

    def visit(self, tasks: Int[Array, " task"], rows: Rows) -> "TaskReplay":
        """What visits of tasks brought, [task, length, ...], in this order; a task may be visited twice."""
        first = len(self.n_visits) * self.initial + self.n * self.length

        def note(carry: tuple[Array, Array, Array], task: Array) -> tuple[tuple[Array, Array, Array], None]:
            visits, counts, n = carry
            return (visits.at[task, counts[task]].set(n), counts.at[task].add(1), n + 1), None

        noted, _ = jax.lax.scan(note, (self.visits, self.n_visits, self.n), tasks)
        where = lambda r: (r.rows, r.visits, r.n_visits, r.n)  # noqa: E731
        return eqx.tree_at(where, self, (self._written(rows, first), *noted))

    def draw(self, key: Key, tasks: Int[Array, " task"], batch: int) -> Rows:
        """Uniform rows of each task, [task, batch, ...]."""
        size = self.initial + self.n_visits[tasks] * self.length
        drawn = random.uniform(key, (len(tasks), batch)) * size[:, None]
        at = jnp.minimum(drawn.astype(jnp.int32), size[:, None] - 1)
        later = jnp.maximum(at - self.initial, 0)
        visit = self.visits[tasks[:, None], later // self.length]
        begun = len(self.n_visits) * self.initial
        row = jnp.where(
            at < self.initial,
            tasks[:, None] * self.initial + at,
            begun + visit * self.length + later % self.length,
        )
        return self._at(row)

    def draw_recent(self, key: Key, tasks: Int[Array, " task"], batch: int) -> Rows:
        """Uniform rows of each task's recent data, [task, batch, ...]; before its first visit, of the beginning."""
        count = self.n_visits[tasks]
        last = len(self.n_visits) * self.initial + self.visits[tasks, jnp.maximum(count - 1, 0)] * self.length
        first = jnp.where(count > 0, last, tasks * self.initial)
        size = jnp.where(count > 0, self.recent, self.initial)
        drawn = random.uniform(key, (len(tasks), batch)) * size[:, None]
        return self._at(first[:, None] + jnp.minimum(drawn.astype(jnp.int32), size[:, None] - 1))

    def _at(self, row: Int[Array, "task batch"]) -> Rows:
        return jax.tree.map(lambda x: x[row], self.rows)

    def _written(self, rows: Rows, first: int | Array) -> Rows:
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]).astype(jnp.float32), rows)
        return jax.tree.map(lambda x, new: jax.lax.dynamic_update_slice_in_dim(x, new, first, 0), self.rows, flat)
