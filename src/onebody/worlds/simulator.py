"""The real world: a batch of simulations, one C++ call a control step. It counts its own samples."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from onebody.core.errors import NotFinite, OnebodyError
from onebody.core.types import Key, Keys, Transitions
from onebody.tasks.family import TaskFamily, never
from onebody.worlds.engines import Engine, MujocoEngine, engine

STARTS = 1024
"""draws from p0 that imagined episodes begin at"""
FEW, SHARE = 5, 0.02
"""episodes that an environment may cut before it counts, and their largest share of all episodes"""


class Simulator:
    """The real world of a family. `samples` counts every transition taken in it, and nothing else does.

    A Gymnasium environment may end an episode that the family goes on with: it is cut there (`truncated`). `episodes`
    counts the episodes that have begun, `cut` those that were cut.

    Raises:
        NotFinite: from `step`, when an observation or reward is not finite.
        OnebodyError: from `step`, when more than `FEW` episodes, and more than `SHARE` of them, were cut.
    """

    def __init__(self, family: TaskFamily, threads: int = 0):
        """`threads`: C++ threads that step, 0 for one a core."""
        self.family, self.threads = family, threads
        self.samples = self.episodes = self.cut = 0
        self._outcome = jax.jit(family.outcome)
        self._reward_later = False
        self._engine: Engine | None = None
        self._shape = (0, 0)

    def reset(
        self, tasks: Float[Array, "task feature"], episodes: int, keys: Keys
    ) -> tuple[np.ndarray, Float[np.ndarray, "task episode observation"]]:
        """Begin `episodes` episodes of each task, with a key a task; ages of the episodes in steps and observations."""
        shape = (len(tasks), episodes)
        if self._engine is None or shape != self._shape:
            self._engine, self._shape = engine(self.family.body, len(tasks) * episodes, self.threads), shape
        self._tasks = np.asarray(tasks)
        if self.family.physics is not None:
            fields = [self.family.physics(task) for task in self._tasks]
            self._engine.set_physics(jax.tree.map(lambda *x: np.repeat(np.stack(x), episodes, axis=0), *fields))
        self._rngs = [np.random.default_rng(data) for data in np.asarray(jax.random.key_data(keys))]
        draws = [(rng, episodes) for rng in self._rngs]
        observation = self._engine.reset(np.arange(len(tasks) * episodes), draws)
        return np.zeros(shape, np.int32), observation.reshape(*shape, -1)

    def starts(self, key: Key, n: int = STARTS) -> Float[Array, "n observation"]:
        """At least n initial observations, drawn from p0; they are not samples."""
        some, task = 20, self.family.space.held_out(1)
        keys = jax.random.split(key, -(-n // some))
        return jnp.concatenate([jnp.asarray(self.reset(task, some, k[None])[1][0]) for k in keys])

    def step(
        self,
        age: np.ndarray,
        observation: Float[np.ndarray, "task episode observation"],
        action: Any,
    ) -> tuple[np.ndarray, np.ndarray, Transitions]:
        """One control step of every episode; one that ends begins anew. New ages, observations, transitions (NumPy)."""
        age, row = self.advance(age, observation, action)
        done, start = np.asarray(row.terminated | row.truncated), np.asarray(row.next_observation)
        if done.any():
            assert self._engine is not None
            age = np.where(done, 0, age)
            draws = [(rng, n) for rng, n in zip(self._rngs, done.sum(1).tolist(), strict=True) if n]
            start = self._engine.reset(np.flatnonzero(done), draws).reshape(observation.shape)
        return age, start, row

    def advance(
        self,
        age: np.ndarray,
        observation: Float[np.ndarray, "task episode observation"],
        action: Any,
    ) -> tuple[np.ndarray, Transitions]:
        """One control step of every episode; one that ends is left as it is. New ages, transitions (NumPy)."""
        assert self._engine is not None, "reset before step"
        action = np.asarray(action)
        raw = self._engine.step(np.clip(action, -1.0, 1.0).reshape(age.size, -1))
        next_observation = raw.reshape(observation.shape)
        reward, terminated = np.zeros(age.shape, np.float32), np.zeros(age.shape, bool)
        if not self._reward_later:
            outcome = self._outcome(observation, action, next_observation, self._tasks[:, None])
            reward, terminated = (np.asarray(x) for x in outcome)
        self.samples += age.size
        self.episodes += int((age == 0).sum())
        self._check(age, observation=next_observation, reward=reward)
        age = age + 1
        over = terminated | (age >= self.family.horizon)
        cut = self._engine.ended.reshape(age.shape) & ~over
        truncated = (over | cut) & ~terminated
        self.cut += int(cut.sum())
        if self.cut > max(FEW, SHARE * self.episodes):
            raise self.disagreement()
        row: list[Any] = [observation, action, reward, next_observation, terminated, truncated]
        return age, Transitions(*row)

    def poses(self, observation: np.ndarray) -> np.ndarray:
        """What draws each body now [task, episode, pose]: a robot's joint positions, otherwise the observation."""
        if isinstance(self._engine, MujocoEngine):
            return np.array(self._engine.qpos).reshape(*observation.shape[:2], -1)
        return observation.copy()

    def scan(self, step: Any, carry: Any, noise: Any, rewarded: bool = False) -> tuple[Any, Transitions]:
        """`lax.scan`'s contract, by a Python loop over time; rewards that end no episode are asked for all at once,
        unless each is needed in the next step (`rewarded`)."""
        rows, self._reward_later = [], self.family.terminal is never and not rewarded
        try:
            for row in np.asarray(noise):
                carry, transitions = step(carry, row)
                rows.append(transitions)
        finally:
            later, self._reward_later = self._reward_later, False
        seen = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
        if later:
            reward, _ = self._outcome(seen.observation, seen.action, seen.next_observation, self._tasks[:, None])
            seen = seen._replace(reward=np.asarray(reward))
            age = np.broadcast_to(np.arange(len(rows))[:, None, None] % self.family.horizon, seen.reward.shape)
            self._check(age, reward=seen.reward)
        return carry, jax.tree.map(jnp.asarray, seen)

    def disagreement(self) -> OnebodyError:
        """That the body and the family's terminal function or horizon do not agree, and what to do."""
        return OnebodyError(
            f"family {self.family.id}: the environment ended {self.cut:,} of {self.episodes:,} episodes where the "
            "family goes on; give a terminal function that ends them there, or a horizon within the environment's "
            "time limit"
        )

    def _check(self, age: np.ndarray, **values: np.ndarray) -> None:
        for name, value in values.items():
            if not np.isfinite(value).all():
                bad = ~np.isfinite(value).reshape(*age.shape, -1).all(-1)
                raise NotFinite(f"{self.family.id}: {name} is not finite at step {age[bad][0] + 1} of an episode")
