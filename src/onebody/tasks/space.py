"""Task spaces: the tasks of a family, and how training and test tasks are sampled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from onebody.core import random
from onebody.core.errors import OnebodyError, positive
from onebody.core.types import Key


@runtime_checkable
class TaskSpace(Protocol):
    """The tasks of a family and how they are distributed. A task is a float array [feature]."""

    @property
    def size(self) -> int:
        """number of features of a task"""
        ...

    def sample(self, key: Key, n: int) -> Float[Array, "n feature"]:
        """n samples from p(ψ), for training."""
        ...

    def held_out(self, n: int) -> Float[Array, "n feature"]:
        """n test tasks, the same for every algorithm and seed; fewer if the space contains fewer."""
        ...

    def contains(self, task: Any) -> bool:
        """Whether a task is in the space."""
        ...

    @property
    def bounds(self) -> str:
        """text that describes the space, for messages and lists"""
        ...

    @property
    def split(self) -> str:
        """text that describes p(ψ) and the test tasks"""
        ...


@runtime_checkable
class Continuous(TaskSpace, Protocol):
    """A task space with a map from a unit cube, on which p(ψ) is uniform."""

    @property
    def unit_size(self) -> int:
        """number of dimensions of the unit cube"""
        ...

    def at(self, unit: Float[Array, "n unit"]) -> Float[Array, "n feature"]:
        """The tasks at points of the unit cube."""
        ...


_SPREAD = "training tasks are new draws, test tasks a low-discrepancy sequence over the space"


def low_discrepancy(n: int, size: int) -> Float[np.ndarray, "n size"]:
    """First n points of the additive recurrence with the generalised golden ratio in [0, 1)^size; deterministic."""
    root = 2.0
    for _ in range(64):
        root = (1 + root) ** (1 / (size + 1))
    steps = root ** -np.arange(1.0, size + 1)
    return (0.5 + np.arange(1, n + 1)[:, None] * steps) % 1.0


@dataclass(frozen=True)
class Box:
    """Uniform on the box [low, high]."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        sides = [self.low, self.high]
        if not all(isinstance(side, tuple) for side in sides) or len(self.low) != len(self.high):
            raise OnebodyError(f"a Box has two tuples of equal length, as in Box((0.0,), (1.0,)), not {self}")
        if any(low > high for low, high in zip(self.low, self.high, strict=True)):
            raise OnebodyError(f"the first corner of a Box must be the lower one: {self}")

    @property
    def size(self) -> int:
        return len(self.low)

    @property
    def unit_size(self) -> int:
        return self.size

    def at(self, unit: Float[Array, "n feature"]) -> Float[Array, "n feature"]:
        low, high = np.array([self.low, self.high], np.float32)
        return low + unit * (high - low)

    def sample(self, key: Key, n: int) -> Float[Array, "n feature"]:
        low, high = np.array([self.low, self.high], np.float32)
        return random.uniform(key, (n, self.size), low=low, high=high)

    def held_out(self, n: int) -> Float[Array, "n feature"]:
        unit = low_discrepancy(n, self.size)
        return jax.device_put(np.float32(np.array(self.low) + unit * np.subtract(self.high, self.low)))

    def grid(self, n: int) -> Float[Array, "task feature"]:
        """Evenly spaced tasks, n per dimension, edges included."""
        sides = [np.linspace(low, high, n) for low, high in zip(self.low, self.high, strict=True)]
        rows = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1)
        return jax.device_put(np.float32(rows.reshape(-1, self.size)))

    def widened(self, factor: float) -> "Box":
        """The box with the same centre and sides that are `factor` times as long."""
        middle, half = np.add(self.low, self.high) / 2, factor * np.subtract(self.high, self.low) / 2
        return Box(tuple((middle - half).tolist()), tuple((middle + half).tolist()))

    def contains(self, task: Any) -> bool:
        value = np.asarray(task)
        inside = (value >= np.array(self.low) - 1e-6) & (value <= np.array(self.high) + 1e-6)
        return value.shape == (self.size,) and bool(np.all(inside))

    @property
    def bounds(self) -> str:
        sides = list(zip(self.low, self.high, strict=True))
        if len(set(sides)) == 1:
            power = f"^{len(sides)}" if len(sides) > 1 else ""
            return f"[{self.low[0]:g}, {self.high[0]:g}]{power}"
        return " × ".join(f"[{low:g}, {high:g}]" for low, high in sides)

    @property
    def split(self) -> str:
        return f"uniform; {_SPREAD}"


@dataclass(frozen=True)
class Disk:
    """Uniform on the disk of positions (x, y) around the origin."""

    radius: float

    def __post_init__(self) -> None:
        positive(self, "radius")

    @property
    def size(self) -> int:
        return 2

    @property
    def unit_size(self) -> int:
        return 2

    def sample(self, key: Key, n: int) -> Float[Array, "n 2"]:
        return self.at(random.uniform(key, (n, 2)))

    def held_out(self, n: int) -> Float[Array, "n 2"]:
        return self.at(jax.device_put(np.float32(low_discrepancy(n, 2))))

    def at(self, unit: Float[Array, "n 2"]) -> Float[Array, "n 2"]:
        distance, angle = self.radius * jnp.sqrt(unit[:, 0]), 2 * jnp.pi * unit[:, 1]
        return jnp.stack([distance * jnp.cos(angle), distance * jnp.sin(angle)], axis=1)

    def contains(self, task: Any) -> bool:
        value = np.asarray(task)
        return value.shape == (2,) and bool(np.linalg.norm(value) <= self.radius + 1e-5)

    @property
    def bounds(self) -> str:
        return f"the disk of radius {self.radius:g}"

    @property
    def split(self) -> str:
        return f"uniform; {_SPREAD}"


@dataclass(frozen=True)
class Arc:
    """Uniform on the unit circle's arc of angles [0, angle], as unit vectors (cos, sin)."""

    angle: float = 2 * math.pi

    def __post_init__(self) -> None:
        positive(self, "angle")

    @property
    def size(self) -> int:
        return 2

    @property
    def unit_size(self) -> int:
        return 1

    def sample(self, key: Key, n: int) -> Float[Array, "n 2"]:
        return self.at(random.uniform(key, (n, 1)))

    def held_out(self, n: int) -> Float[Array, "n 2"]:
        return self.at(jax.device_put(np.float32(low_discrepancy(n, 1))))

    def at(self, unit: Float[Array, "n 1"]) -> Float[Array, "n 2"]:
        angle = self.angle * unit[:, 0]
        return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)

    def contains(self, task: Any) -> bool:
        value = np.asarray(task, float)
        if value.shape != (2,) or abs(np.linalg.norm(value) - 1) > 1e-4:
            return False
        return math.atan2(value[1], value[0]) % (2 * math.pi) <= self.angle + 1e-4 or bool(np.allclose(value, (1, 0)))

    @property
    def bounds(self) -> str:
        turn = "" if self.angle == 2 * math.pi else f", angles in [0, {math.degrees(self.angle):g}°]"
        return f"unit vectors (cos, sin){turn}"

    @property
    def split(self) -> str:
        return f"uniform angle; {_SPREAD}"


@dataclass(frozen=True)
class FiniteSet:
    """Uniform on finitely many tasks; the test tasks are the training tasks."""

    tasks: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        given = " ".join(f"{self}".split())
        tuples = isinstance(self.tasks, tuple) and self.tasks and all(isinstance(task, tuple) for task in self.tasks)
        if not tuples or any(len(task) != self.size for task in self.tasks):
            raise OnebodyError(
                f"a FiniteSet has tuples of equal length, as in FiniteSet(((0.0,), (1.0,))), not {given}"
            )

    @property
    def size(self) -> int:
        return len(self.tasks[0])

    @property
    def unit_size(self) -> int:
        return 1

    def at(self, unit: Float[Array, "n 1"]) -> Float[Array, "n feature"]:
        index = jnp.clip((unit[:, 0] * len(self.tasks)).astype(int), 0, len(self.tasks) - 1)
        return jnp.array(self.tasks)[index]

    def sample(self, key: Key, n: int) -> Float[Array, "n feature"]:
        return jnp.array(self.tasks)[random.randint(key, (n,), 0, len(self.tasks))]

    def held_out(self, n: int) -> Float[Array, "n feature"]:
        return jax.device_put(np.array(self.tasks[:n], np.float32))

    def contains(self, task: Any) -> bool:
        value = np.asarray(task)
        return value.shape == (self.size,) and any(np.allclose(value, member) for member in self.tasks)

    @property
    def bounds(self) -> str:
        members = [", ".join(f"{x:g}" for x in member) for member in self.tasks]
        members = [f"({member})" for member in members] if self.size > 1 else members
        return "{" + ", ".join(members) + "}" if self.size else "one task, without a parameter"

    @property
    def split(self) -> str:
        return "uniform; test tasks are the training tasks" if self.size else "always the same task"


ONE_TASK = FiniteSet(((),))
"""space of a family that is a single task"""


@dataclass(frozen=True)
class Split:
    """Uniform on fixed training tasks of a space, with separate test tasks."""

    space: TaskSpace
    train: tuple[tuple[float, ...], ...]
    test: tuple[tuple[float, ...], ...]
    drawn: str
    """text that describes how the tasks were sampled"""

    @classmethod
    def of(cls, space: TaskSpace, tasks: np.ndarray, n_train: int, drawn: str) -> "Split":
        """Split tasks [task, feature]: the first `n_train` for training, the others for testing."""
        rows: Sequence[list[float]] = np.asarray(tasks, np.float32).tolist()
        members = tuple(map(tuple, rows))
        return cls(space, members[:n_train], members[n_train:], drawn)

    @property
    def size(self) -> int:
        return self.space.size

    def sample(self, key: Key, n: int) -> Float[Array, "n feature"]:
        return FiniteSet(self.train).sample(key, n)

    def held_out(self, n: int) -> Float[Array, "n feature"]:
        return FiniteSet(self.test).held_out(n)

    def contains(self, task: Any) -> bool:
        return self.space.contains(task)

    @property
    def bounds(self) -> str:
        return self.space.bounds

    @property
    def split(self) -> str:
        return f"uniform on {len(self.train)} training tasks, tested on {len(self.test)} others; {self.drawn}"


def whole(space: TaskSpace) -> TaskSpace:
    """The space that a split is of; other spaces as they are."""
    return space.space if isinstance(space, Split) else space


def box_around(space: TaskSpace) -> Box | None:
    """A box, or the box around a disk; None for other spaces."""
    space = whole(space)
    if isinstance(space, Disk):
        return Box((-space.radius,) * 2, (space.radius,) * 2)
    return space if isinstance(space, Box) else None


def middle(space: TaskSpace) -> Float[np.ndarray, " feature"]:
    """The middle of a box, otherwise a held-out task."""
    box = whole(space)
    if isinstance(box, Box):
        return np.asarray(np.add(box.low, box.high) / 2, np.float32)
    return np.asarray(space.held_out(1)[0])


def training_tasks(space: TaskSpace, key: Key, n: int) -> Float[Array, "task feature"]:
    """A fixed set of training tasks: the first n of a finite space, otherwise n samples."""
    if isinstance(space, Split | FiniteSet):
        finite = space.train if isinstance(space, Split) else space.tasks
        return jax.device_put(np.array(finite[:n], np.float32))
    return space.sample(key, n)


def continuous(space: TaskSpace, n: int = 1024) -> Continuous:
    """The space that a belief about a hidden task is over: for fixed tasks, the space that they were drawn from.

    For a space without a map from a unit cube, n draws from p(ψ).
    """
    if isinstance(space, Split):
        return continuous(space.space, n)
    if isinstance(space, Continuous):
        return space
    return FiniteSet(tuple(map(tuple, np.asarray(space.sample(jax.random.key(0), n)).tolist())))
