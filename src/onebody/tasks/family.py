"""What is to be done: bodies, task spaces, families. One definition serves both worlds.

The simulator steps physics and then asks `TaskFamily.outcome`; the imagination predicts the next observation and asks
the same. So whatever a reward needs stands in the observation.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from onebody.core.errors import OnebodyError
from onebody.core.types import Key

Reward = Callable[[Array, Array, Array, Array], Array]
Terminal = Callable[[Array, Array], Array]


@dataclass(frozen=True, eq=False)
class MujocoBody:
    """A robot in MuJoCo. Actions in [-1, 1] are scaled to the control ranges and held for `frame_skip` steps."""

    name: str
    model: Callable[[], mujoco.MjModel]
    """compiles the model; sensors hold whatever an observation needs beyond positions and velocities"""
    frame_skip: int
    """physics steps a control step"""
    observation: tuple[tuple[str, slice], ...]
    """(field of MjData, its columns) pairs, concatenated"""
    labels: tuple[str, ...]
    """name and unit of each feature of the observation"""
    reset: Callable[[np.random.Generator, mujoco.MjModel, int], tuple[np.ndarray, np.ndarray]]
    """draws n initial (qpos [n, nq], qvel [n, nv]) from p0"""

    @property
    def observation_size(self) -> int:
        return len(self.labels)

    @property
    def action_size(self) -> int:
        return int(self.model().nu)

    @property
    def dt(self) -> float:
        """seconds a control step"""
        return float(self.model().opt.timestep) * self.frame_skip


@dataclass(frozen=True, eq=False)
class ClosedFormBody:
    """A body whose state is its observation and whose dynamics is a formula."""

    name: str
    dynamics: Callable[[Array, Array], Array]
    """(observation, action in [-1, 1]) -> next observation; jnp, of one state"""
    labels: tuple[str, ...]
    """name and unit of each feature of the observation"""
    action_size: int
    reset: Callable[[np.random.Generator, int], np.ndarray]
    """draws n initial observations [n, observation] from p0"""
    dt: float
    """seconds a control step"""

    @property
    def observation_size(self) -> int:
        return len(self.labels)


Body = MujocoBody | ClosedFormBody


@runtime_checkable
class TaskSpace(Protocol):
    """The tasks of a family and how they are distributed. A task is a float array [feature]."""

    @property
    def size(self) -> int:
        """features of a task"""
        ...

    def sample(self, key: Key, n: int) -> Float[Array, "n feature"]:
        """n draws from p(ψ)."""
        ...

    def held_out(self, n: int) -> Float[Array, "n feature"]:
        """n test tasks, the same for every algorithm and seed; fewer if the space has fewer."""
        ...

    def contains(self, task: ArrayLike) -> bool: ...

    @property
    def bounds(self) -> str:
        """the space in words, for messages and lists"""
        ...


@dataclass(frozen=True)
class Box:
    """Uniform on the box [low, high]."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def size(self) -> int:
        return len(self.low)

    def sample(self, key: Key, n: int) -> Float[Array, "n feature"]:
        return jax.random.uniform(key, (n, self.size), minval=jnp.array(self.low), maxval=jnp.array(self.high))

    def held_out(self, n: int) -> Float[Array, "n feature"]:
        """The first n points of the additive recurrence with the generalised golden ratio: evenly spread, no seed."""
        root = 2.0
        for _ in range(64):
            root = (1 + root) ** (1 / (self.size + 1))
        steps = root ** -np.arange(1.0, self.size + 1)
        unit = (0.5 + np.arange(1, n + 1)[:, None] * steps) % 1.0
        return jnp.asarray(np.array(self.low) + unit * np.subtract(self.high, self.low), jnp.float32)

    def contains(self, task: ArrayLike) -> bool:
        value = np.asarray(task)
        inside = (value >= np.array(self.low) - 1e-6) & (value <= np.array(self.high) + 1e-6)
        return value.shape == (self.size,) and bool(np.all(inside))

    @property
    def bounds(self) -> str:
        return " × ".join(f"[{low:g}, {high:g}]" for low, high in zip(self.low, self.high, strict=True))


@dataclass(frozen=True)
class FiniteSet:
    """Uniform on finitely many tasks; train and test tasks are the same."""

    tasks: tuple[tuple[float, ...], ...]

    @property
    def size(self) -> int:
        return len(self.tasks[0])

    def sample(self, key: Key, n: int) -> Float[Array, "n feature"]:
        return jnp.array(self.tasks)[jax.random.randint(key, (n,), 0, len(self.tasks))]

    def held_out(self, n: int) -> Float[Array, "n feature"]:
        return jnp.array(self.tasks[:n])

    def contains(self, task: ArrayLike) -> bool:
        value = np.asarray(task)
        return value.shape == (self.size,) and any(np.allclose(value, member) for member in self.tasks)

    @property
    def bounds(self) -> str:
        return "{" + ", ".join(", ".join(f"{x:g}" for x in member) for member in self.tasks) + "}"


def never(next_observation: Array, task: Array) -> Array:
    """The terminal function of tasks that only end at their horizon."""
    return jnp.zeros((), bool)


@dataclass(frozen=True, eq=False)
class TaskFamily:
    """One body, many tasks: everything that gives a task of this family its meaning."""

    id: str
    body: Body
    space: TaskSpace
    reward: Reward
    """(observation, action clipped to [-1, 1], next observation, task) -> reward a step; jnp, of one transition"""
    horizon: int
    """control steps an episode"""
    terminal: Terminal = never
    """(next observation, task) -> whether the episode ends there; jnp, of one transition"""
    version: int = 1
    """changing the body, dt, horizon, reward or task space makes a new version"""
    source: str = ""
    """where the definition comes from, and what differs from it and why"""
    summary: str = field(default="", kw_only=True)
    """the reward as a formula"""

    def __post_init__(self) -> None:
        if self.horizon <= 0:
            raise OnebodyError(f"family {self.id}: horizon must be at least one step, not {self.horizon}")

    def outcome(
        self,
        observation: Float[Array, "task episode observation"],
        action: Float[Array, "task episode action"],
        next_observation: Float[Array, "task episode observation"],
        tasks: Float[Array, "task feature"],
    ) -> tuple[Float[Array, "task episode"], Bool[Array, "task episode"]]:
        """Reward and termination of transitions, in either world; the action is clipped here, for both."""

        def one(observation: Array, action: Array, next_observation: Array, task: Array) -> tuple[Array, Array]:
            action = jnp.clip(action, -1.0, 1.0)
            return self.reward(observation, action, next_observation, task), self.terminal(next_observation, task)

        episodes = jax.vmap(one, in_axes=(0, 0, 0, None))
        return jax.vmap(episodes)(observation, action, next_observation, tasks)

    def parse(self, task: Any, extrapolate: bool = False) -> Float[Array, " feature"]:
        """A user's task (number or sequence) as an array.

        Raises:
            OnebodyError: not `space.size` finite numbers, or outside the space and `extrapolate` is not set.
        """
        try:
            value = np.atleast_1d(np.asarray(task, np.float32))
        except (TypeError, ValueError):
            raise OnebodyError(f"task {task!r} of {self.id} is not {self.space.size} number(s)") from None
        if value.shape != (self.space.size,) or not np.isfinite(value).all():
            raise OnebodyError(f"task {task!r} of {self.id} must be {self.space.size} finite number(s)")
        if not extrapolate and not self.space.contains(value):
            text = ", ".join(f"{x:g}" for x in value)
            raise OnebodyError(
                f"task {text} is outside the space {self.space.bounds} of {self.id}; --extrapolate allows it"
            )
        return jnp.asarray(value)

    def describe(self) -> dict[str, Any]:
        """What `onebody list --families --json` prints."""
        return {
            "id": self.id,
            "version": self.version,
            "source": self.source,
            "body": self.body.name,
            "tasks": self.space.bounds,
            "reward": self.summary,
            "terminates": self.terminal is not never,
            "dt_seconds": self.body.dt,
            "horizon_steps": self.horizon,
            "horizon_seconds": round(self.horizon * self.body.dt, 6),
            "observation": list(self.body.labels),
            "actions": self.body.action_size,
        }
