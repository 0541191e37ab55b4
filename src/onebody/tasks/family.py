"""Task families. One definition serves both worlds.

The simulator steps physics and then calls `TaskFamily.outcome`; the imagination predicts the next observation and calls
the same function. So the observation must contain everything that the reward needs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from onebody.core.errors import OnebodyError
from onebody.core.types import Key
from onebody.tasks.body import Body, start_of
from onebody.tasks.limits import LimitedBody, bare
from onebody.tasks.space import TaskSpace

Reward = Callable[[Array, Array, Array, Array], Array]
Terminal = Callable[[Array, Array], Array]
Physics = Callable[[np.ndarray], Mapping[str, np.ndarray]]
Achieved = Callable[[Array, Array], Array]


def never(next_observation: Array, task: Array) -> Array:
    """Terminal function of tasks that end only at their horizon."""
    return jnp.zeros((), bool)


@dataclass(frozen=True, eq=False)
class TaskFamily:
    """One body and many tasks: everything that defines the tasks of this family."""

    id: str
    """`NAME` or `GROUP/NAME`"""
    body: Body | LimitedBody
    """the robot and its observation; all tasks share it"""
    space: TaskSpace
    """the tasks ψ, and their distribution p(ψ)"""
    reward: Reward
    """(observation, action clipped to [-1, 1], next observation, task) -> reward; a jnp function of one transition"""
    horizon: int
    """control steps per episode"""
    terminal: Terminal = never
    """(next observation, task) -> whether the episode ends there; a jnp function of one transition"""
    physics: Physics | None = None
    """task -> fields of MjModel to overwrite (only for a MuJoCo body); None: all tasks have the same dynamics"""
    test: "TaskFamily | None" = None
    """family for adaptation and evaluation with shifted tasks, dynamics or reward; None: this family itself"""
    version: int = 1
    """version of the definition; a change of body, dt, horizon, reward or task space makes a new one"""
    task_labels: tuple[str, ...] = field(default=(), kw_only=True)
    """name and unit of each number of a task"""
    achieved: Achieved | None = field(default=None, kw_only=True)
    """(observation, next observation) -> what a step achieves of each number of the task [feature], such as the
    velocity; a jnp function of one transition; None: tasks are no values that a step achieves"""
    source: str = field(default="", kw_only=True)
    """where the definition comes from"""
    differs: str = field(default="", kw_only=True)
    """what differs from the source, and why"""
    reward_text: str = field(default="", kw_only=True)
    """the reward as a formula; v: velocity (m/s), a: action in [-1, 1]"""
    terminal_text: str = field(default="never", kw_only=True)
    """when an episode ends before its horizon"""

    def __post_init__(self) -> None:
        if not isinstance(self.horizon, int) or self.horizon <= 0:
            raise OnebodyError(f"family {self.id}: horizon must be a whole number of steps above 0, not {self.horizon}")
        if not isinstance(self.version, int) or self.version <= 0:
            raise OnebodyError(f"family {self.id}: version must be 1, 2, 3 …, not {self.version}")

    def needs_one_model(self) -> None:
        """Raises OnebodyError if the dynamics vary with the task, so that one learned model cannot fit all tasks."""
        if self.physics is not None:
            raise OnebodyError(
                f"the dynamics of {self.id} vary with the task, so one model cannot fit them; "
                "omni tells its models the task, and slbo trains on one of its tasks"
            )

    @property
    def limited(self) -> LimitedBody | None:
        """The body, if it has limits (`onebody.limited`)."""
        return self.body if isinstance(self.body, LimitedBody) else None

    @property
    def tested(self) -> "TaskFamily":
        """The family for adaptation and evaluation."""
        return self.test or self

    def outcome(
        self,
        observation: Float[Array, "*axes observation"],
        action: Float[Array, "*axes action"],
        next_observation: Float[Array, "*axes observation"],
        tasks: Float[Array, "*#axes feature"],
    ) -> tuple[Float[Array, "*axes"], Bool[Array, "*axes"]]:
        """Reward and termination of transitions in both worlds; clips the action."""

        def one(observation: Array, action: Array, next_observation: Array, task: Array) -> tuple[Array, Array]:
            action = jnp.clip(action, -1.0, 1.0)
            return self.reward(observation, action, next_observation, task), self.terminal(next_observation, task)

        vectorized = jnp.vectorize(one, signature="(o),(a),(o),(t)->(),()")
        return vectorized(observation, action, next_observation, tasks)

    @cached_property
    def compiled_outcome(self) -> Callable[[Any, Any, Any, Any], tuple[Array, Array]]:
        """`outcome`, compiled; all simulators of the family share its programs."""
        return jax.jit(self.outcome)

    @property
    def model_action_size(self) -> int:
        """Number of inputs of a dynamics model beside the observation."""
        return self.body.action_size + (self.space.size if self.physics else 0)

    def model_action(
        self, action: Float[Array, "*axes action"], tasks: Float[Array, "*#axes feature"]
    ) -> Float[Array, "*axes input"]:
        """Inputs of a dynamics model beside the observation: the action, and the task where dynamics vary with it.

        The task is scaled so that training tasks are in [-1, 1].
        """
        if self.physics is None:
            return action
        middle, half = self._task_range
        scaled = (tasks - middle) / half
        return jnp.concatenate([action, jnp.broadcast_to(scaled, (*action.shape[:-1], self.space.size))], axis=-1)

    @cached_property
    def _task_range(self) -> tuple[Float[np.ndarray, " feature"], Float[np.ndarray, " feature"]]:
        """Middle and half the width of the range of training tasks."""
        with jax.ensure_compile_time_eval():
            tasks = np.asarray(self.space.sample(jax.random.key(0), 1024))
        low, high = tasks.min(0), tasks.max(0)
        return (low + high) / 2, np.maximum((high - low) / 2, 1e-6)

    def parse(self, task: Any, extrapolate: bool = False) -> Float[Array, " feature"]:
        """A user's task (number or sequence) as an array.

        Raises:
            OnebodyError: it is not `space.size` finite numbers, or it is outside the space without `extrapolate`.
        """
        try:
            value = np.atleast_1d(np.asarray(task, np.float32))
        except (TypeError, ValueError):
            raise OnebodyError(f"task {task!r} of {self.id} is not {self.space.size} number(s)") from None
        if value.shape != (self.space.size,) or not np.isfinite(value).all():
            numbers = f"must be {self.space.size} finite number(s): {', '.join(self.task_names)}"
            raise OnebodyError(
                f"task {task!r} of {self.id} {numbers if self.space.size else 'has no number: leave it out'}"
            )
        if not extrapolate and not self.space.contains(value):
            text = ", ".join(f"{x:g}" for x in value)
            raise OnebodyError(
                f"task {text} of {self.id} is outside {self.space.bounds} (adapt allows it with --extrapolate)"
            )
        return jax.device_put(value)

    @property
    def task_names(self) -> tuple[str, ...]:
        """A name for each number of a task: its label with unit, or ψ1, ψ2 and so on if the family has no labels."""
        return self.task_labels or tuple(f"ψ{i + 1}" for i in range(self.space.size))

    def given_or_drawn(self, task: Any | None, key: Key) -> Float[Array, "1 feature"]:
        """The given task, or a sample from p(ψ) if none is given. Raises OnebodyError as `parse`."""
        return self.space.sample(key, 1) if task is None else self.parse(task)[None]

    def describe(self) -> dict[str, Any]:
        """Description of the family for `onebody list --families --json` and docs/families.md."""
        return {
            "id": self.id,
            "version": self.version,
            "source": self.source,
            "differs": self.differs,
            "body": self.body.name,
            "initial_state": start_of(bare(self.body)),
            "tasks": self.space.bounds,
            "task": list(self.task_names),
            "split": self.space.split,
            "tested_on": self.tested.id,
            "reward": self.reward_text,
            "terminates": self.terminal_text,
            "dynamics_vary": self.physics is not None,
            "dt_seconds": round(self.body.dt, 9),
            "horizon_steps": self.horizon,
            "horizon_seconds": round(self.horizon * self.body.dt, 6),
            "observation": list(self.body.labels),
            "actions": self.body.action_size,
        }
