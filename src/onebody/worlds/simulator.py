"""The real world: a batch of simulations, with one C++ call per control step. It counts its own real samples."""

import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from onebody.core.errors import NotFinite, OnebodyError
from onebody.core.types import Key, Keys, Transitions
from onebody.tasks.body import GymnasiumBody
from onebody.tasks.family import TaskFamily, never
from onebody.tasks.limited import is_single
from onebody.tasks.limits import bare
from onebody.worlds import robot
from onebody.worlds.engines import Engine, MujocoEngine, engine, innermost, running

STARTS = 1024
"""number of samples of p0 from which imagined episodes start"""
START_BATCH = 20
"""number of them that are drawn at once"""
SINGLE_STARTS = 5
"""number of different ones where there is only one environment, such as a robot"""
MAX_ENVIRONMENTS = 40
"""number of Gymnasium environments that a rollout uses at once; more only if the episodes of one task are more"""
MAX_CUT, MAX_CUT_SHARE = 5, 0.02
"""number and share of episodes that an environment may end early; an error is raised if both are exceeded"""


class Simulator:
    """The real world of a family. `samples` counts every transition taken in it, and nothing else does.

    A Gymnasium environment may end an episode before the family does; the episode is then `truncated`. `episodes`
    counts the episodes that have started, `cut` those that an environment ended early.

    Of a body with one copy, such as a robot, there is one environment in the process, which all simulators share
    (`robot`). It simulates one episode at a time; `rollout` runs the episodes of several slots one after the other.

    Raises:
        NotFinite: from `step`, if an action, which the body does not receive then, an observation or a reward is not
            finite.
        EmergencyStop: from `step`, if a robot's environment raises it, or its journal says so.
        OnebodyError: from `step`, if an environment ended more than `MAX_CUT` episodes, and more than a share of
            `MAX_CUT_SHARE`, early.
    """

    def __init__(self, family: TaskFamily, threads: int = 0):
        """`threads`: number of C++ threads; 0: one per core."""
        self.family, self.threads = family, threads
        self.samples = self.episodes = self.cut = 0
        self.robot = robot.Robot(family.body) if is_single(family.body) else None
        self.in_use = robot.IN_USE if self.robot else threading.RLock()
        self._outcome = family.compiled_outcome
        self._defer_reward = False
        self._engine: Engine | None = None
        self._shape = (0, 0)

    def reset(
        self, tasks: Float[Array, "task feature"], episodes: int, keys: Keys
    ) -> tuple[np.ndarray, Float[np.ndarray, "task episode observation"]]:
        """Start `episodes` episodes of each task, with one key per task; returns ages (steps) and observations."""
        shape = (len(tasks), episodes)
        if self.robot is not None:
            if shape != (1, 1):
                raise OnebodyError(
                    f"family {self.family.id} has one environment (copies=1), and this needs "
                    f"{len(tasks) * episodes} at once"
                )
            self._engine = self.robot
            row = np.zeros((1, 1, self.family.body.observation_size), np.float32)
            action = np.zeros((1, 1, self.family.body.action_size), np.float32)
            self._outcome(row, action, row, np.asarray(tasks)[:, None])  # compiled before the robot moves
        elif self._engine is None or shape != self._shape:
            self._engine = None  # the environments of another shape are closed first
            self._engine, self._shape = engine(self.family.body, len(tasks) * episodes, self.threads), shape
        self._tasks = np.asarray(tasks)
        if self.family.physics is not None:
            with running(self.family.body, "physics"):
                fields = [self.family.physics(task) for task in self._tasks]
                self._engine.set_physics(jax.tree.map(lambda *x: np.repeat(np.stack(x), episodes, axis=0), *fields))
        self._rngs = [np.random.default_rng(data) for data in np.asarray(jax.random.key_data(keys))]
        draws = [(rng, episodes) for rng in self._rngs]
        observation = self._engine.reset(np.arange(len(tasks) * episodes), draws)
        return np.zeros(shape, np.int32), observation.reshape(*shape, -1)

    def starts(self, key: Key, n: int = STARTS) -> Float[Array, "n observation"]:
        """At least n initial observations sampled from p0; they do not count as real samples.

        A single environment is reset `SINGLE_STARTS` times for them, and each of its observations repeated.
        """
        task = self.family.space.held_out(1)
        if self.robot is not None:
            keys = jax.random.split(key, SINGLE_STARTS)
            with self.in_use:
                rows = np.stack([self.reset(task, 1, k[None])[1][0, 0] for k in keys])
            return jax.device_put(np.resize(rows, (-(-n // START_BATCH) * START_BATCH, rows.shape[1])))
        keys = jax.random.split(key, -(-n // START_BATCH))
        return jax.device_put(np.concatenate([self.reset(task, START_BATCH, k[None])[1][0] for k in keys]))

    def tasks_at_once(self, tasks: int, episodes: int) -> int:
        """Number of tasks whose episodes a rollout runs in parallel: all, but in Gymnasium environments only as many as
        `MAX_ENVIRONMENTS` allows, at least one. It divides `tasks`, so that all blocks use the same environments.
        """
        if not isinstance(bare(self.family.body), GymnasiumBody):
            return tasks
        most = max(1, MAX_ENVIRONMENTS // episodes)
        return max(n for n in range(1, min(tasks, most) + 1) if tasks % n == 0)

    def step(
        self,
        age: np.ndarray,
        observation: Float[np.ndarray, "task episode observation"],
        action: Any,
    ) -> tuple[np.ndarray, np.ndarray, Transitions]:
        """One control step of every episode; an episode that ends is followed by another one.

        Returns:
            The new ages (steps), the observations to act on next, and the transitions, all NumPy.
        """
        age, row = self.advance(age, observation, action)
        done = np.asarray(row.terminated | row.truncated)
        if done.any():
            return np.where(done, 0, age), self.restart(done), row
        return age, np.asarray(row.next_observation), row

    def restart(self, done: np.ndarray) -> Float[np.ndarray, "task episode observation"]:
        """Start a new episode in the slots `done` [task, episode]; returns the observations of all slots."""
        assert self._engine is not None, "reset before restart"
        draws = [(rng, n) for rng, n in zip(self._rngs, done.sum(1).tolist(), strict=True) if n]
        return self._engine.reset(np.flatnonzero(done), draws).reshape(*done.shape, -1)

    def advance(
        self,
        age: np.ndarray,
        observation: Float[np.ndarray, "task episode observation"],
        action: Any,
    ) -> tuple[np.ndarray, Transitions]:
        """One control step of every episode, without a reset of those that end.

        Returns:
            The new ages (steps) and the transitions, both NumPy.
        """
        assert self._engine is not None, "reset before step"
        action = np.asarray(action)
        clipped = np.clip(action, -1.0, 1.0)
        self._check(age, action=clipped)
        if self.robot is not None:
            action, raw = self.robot.act(action)  # where its journal has another action, that one
        else:
            raw = self._engine.step(clipped.reshape(age.size, -1))
        next_observation = raw.reshape(observation.shape)
        reward, terminated = np.zeros(age.shape, np.float32), np.zeros(age.shape, bool)
        if not self._defer_reward:
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
        if self.cut > max(MAX_CUT, MAX_CUT_SHARE * self.episodes):
            raise self.early_end_error()
        row: list[Any] = [observation, action, reward, next_observation, terminated, truncated]
        return age, Transitions(*row)

    def change_tasks(self, tasks: Float[np.ndarray, "task feature"]) -> None:
        """Give the running episodes other tasks. Dynamics that vary with the task change with the next reset."""
        self._tasks = np.asarray(tasks)

    def push(self, change: Float[np.ndarray, " velocity"]) -> None:
        """Add to the joint velocities (m/s, rad/s) of all robots; bodies that are no MuJoCo robots stay as they are."""
        if isinstance(robot := innermost(self._engine), MujocoEngine):
            robot.qvel += change

    def poses(self, observation: np.ndarray) -> np.ndarray:
        """Current pose of each body [task, episode, pose]: a robot's joint positions, otherwise the observation."""
        if isinstance(robot := innermost(self._engine), MujocoEngine):
            return np.array(robot.qpos).reshape(*observation.shape[:2], -1)
        return observation.copy()

    def scan(self, step: Any, carry: Any, noise: Any, needs_reward: bool = False) -> tuple[Any, Transitions]:
        """As `lax.scan`, but as a Python loop over time.

        Rewards are computed for all steps at once if no episode terminates and no step needs the previous reward.
        """
        rows, self._defer_reward = [], self.family.terminal is never and not needs_reward
        try:
            for row in np.asarray(noise):
                carry, transitions = step(carry, row)
                rows.append(transitions)
        finally:
            deferred, self._defer_reward = self._defer_reward, False
        batch = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
        if deferred:
            reward, _ = self._outcome(batch.observation, batch.action, batch.next_observation, self._tasks[:, None])
            batch = batch._replace(reward=np.asarray(reward))
            age = np.broadcast_to(np.arange(len(rows))[:, None, None] % self.family.horizon, batch.reward.shape)
            self._check(age, reward=batch.reward)
        return carry, jax.tree.map(jax.device_put, batch)

    def early_end_error(self) -> OnebodyError:
        """The error that the environment ends episodes before the family does; says what to do."""
        return OnebodyError(
            f"family {self.family.id}: the environment ended {self.cut:,} of {self.episodes:,} episodes before the "
            "family did; give a terminal function that ends them there, or a horizon within the environment's time "
            "limit"
        )

    def _check(self, age: np.ndarray, **values: np.ndarray) -> None:
        for name, value in values.items():
            if not np.isfinite(value).all():
                bad = ~np.isfinite(value).reshape(*age.shape, -1).all(-1)
                raise NotFinite(f"{self.family.id}: {name} is not finite at step {age[bad][0] + 1} of an episode")


class Unsimulated(Simulator):
    """A simulator that simulates nothing, with which the structure of a state can be traced."""

    def starts(self, key: Key, n: int = STARTS) -> Float[Array, "n observation"]:
        return jnp.zeros((-(-n // START_BATCH) * START_BATCH, self.family.body.observation_size))
