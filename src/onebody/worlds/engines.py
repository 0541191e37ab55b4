"""What moves bodies: n copies of one body in step, for each kind of body."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import gymnasium
import jax
import mujoco
import numpy as np
from mujoco.batch import Batch

from onebody.core.errors import OnebodyError
from onebody.tasks.body import Body, ClosedFormBody, GymnasiumBody, MujocoBody


@runtime_checkable
class Engine(Protocol):
    """n copies of one body, in step."""

    ended: np.ndarray
    """[n] bool: copies whose episode the body itself ended in the last step; they are reset before the next one"""

    def set_physics(self, fields: Mapping[str, np.ndarray]) -> None:
        """Give each copy its own dynamics: fields of MjModel, [n, ...]; a reset of all rows follows."""
        ...

    def reset(self, rows: np.ndarray, draws: list[tuple[np.random.Generator, int]]) -> np.ndarray:
        """Put the bodies `rows` (indices, in order) into fresh initial states; observations [n, observation] of all.

        Each generator draws the states of as many of the rows as stand beside it.
        """
        ...

    def step(self, action: np.ndarray) -> np.ndarray:
        """Act with [n, action] in [-1, 1] for one control step; observations [n, observation] of the new states."""
        ...


def engine(body: Body, n: int, threads: int) -> Engine:
    """n copies of a body. `threads`: C++ threads that step MuJoCo, 0 for one a core."""
    if isinstance(body, MujocoBody):
        return MujocoEngine(body, n, threads)
    return ClosedFormEngine(body, n) if isinstance(body, ClosedFormBody) else GymnasiumEngine(body, n)


class MujocoEngine:
    """`mujoco.batch.Batch`, persistent, so that what an observation needs of the new state is not computed twice."""

    def __init__(self, body: MujocoBody, n: int, threads: int):
        self.body, self.batch = body, Batch(body.model, n, threads, persistent=True)
        self.ended = np.zeros(n, bool)
        self.qpos, self.qvel, self.ctrl = (self.batch.bind(name) for name in ("qpos", "qvel", "ctrl"))
        self.features = []
        for name, columns, limit in body.observation:
            self.features.append(
                (self.batch.bind(name), columns if isinstance(columns, slice) else list(columns), limit)
            )
        low, high = body.model.actuator_ctrlrange.T
        self.center, self.scale = (high + low) / 2, (high - low) / 2

    def set_physics(self, fields: Mapping[str, np.ndarray]) -> None:
        for name, values in fields.items():
            self.batch.expand(name)[:] = values
        self.batch.set_const()  # what MuJoCo derives from masses

    def reset(self, rows: np.ndarray, draws: list[tuple[np.random.Generator, int]]) -> np.ndarray:
        self.batch.reset(rows, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        qpos, qvel = zip(*(self.body.start(rng, self.batch.model, n) for rng, n in draws), strict=True)
        self.qpos[rows], self.qvel[rows] = np.concatenate(qpos), np.concatenate(qvel)
        self.batch.forward(rows)
        return self.observe()

    def step(self, action: np.ndarray) -> np.ndarray:
        np.multiply(action, self.scale, out=self.ctrl)
        self.ctrl += self.center
        self.batch.step(nstep=self.body.frame_skip, stage=mujoco.mjtStage.mjSTAGE_VEL.value)
        return self.observe()

    def observe(self) -> np.ndarray:
        parts = []
        for values, columns, limit in self.features:
            part = values.reshape(len(values), -1)[:, columns]
            parts.append(part if np.isinf(limit) else np.clip(part, -limit, limit))
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused as such
            return np.concatenate(parts, axis=1, dtype=np.float32)


class ClosedFormEngine:
    """A formula, compiled."""

    def __init__(self, body: ClosedFormBody, n: int):
        self.body, self.dynamics = body, jax.jit(jax.vmap(body.dynamics))
        self.state, self.ended = np.zeros((n, body.observation_size), np.float32), np.zeros(n, bool)

    def set_physics(self, fields: Mapping[str, np.ndarray]) -> None:
        raise OnebodyError(
            f"body {self.body.name} is a formula: only a MuJoCo body has physics that vary with the task"
        )

    def reset(self, rows: np.ndarray, draws: list[tuple[np.random.Generator, int]]) -> np.ndarray:
        self.state[rows] = np.concatenate([self.body.start(rng, n) for rng, n in draws])
        return self.state.copy()

    def step(self, action: np.ndarray) -> np.ndarray:
        self.state = np.array(self.dynamics(self.state, action))
        return self.state.copy()


class GymnasiumEngine:
    """Gymnasium's own vector environment; it knows neither the family's horizon nor its terminal function."""

    def __init__(self, body: GymnasiumBody, n: int):
        self.body = body
        kind = gymnasium.vector.AsyncVectorEnv if body.parallel else gymnasium.vector.SyncVectorEnv
        options: dict[str, Any] = {"context": "spawn"} if body.parallel else {}  # JAX does not survive a fork
        self.envs = kind([body.make] * n, autoreset_mode=gymnasium.vector.AutoresetMode.DISABLED, **options)
        box = self.envs.single_action_space
        assert isinstance(box, gymnasium.spaces.Box)
        self.center, self.scale = (box.high + box.low) / 2, (box.high - box.low) / 2
        self.ended = np.zeros(n, bool)

    def set_physics(self, fields: Mapping[str, np.ndarray]) -> None:
        raise OnebodyError(f"body {self.body.name} is an environment: only a MuJoCo body has physics of its own a task")

    def reset(self, rows: np.ndarray, draws: list[tuple[np.random.Generator, int]]) -> np.ndarray:
        seeds: list[int | None] = [None] * len(self.ended)
        drawn = np.concatenate([rng.integers(2**31, size=n) for rng, n in draws]).tolist()
        for row, seed in zip(rows.tolist(), drawn, strict=True):
            seeds[row] = seed
        self.ended[rows] = False
        mask = np.isin(np.arange(len(seeds)), rows)
        observation, _ = self.envs.reset(seed=seeds, options={"reset_mask": mask})
        return np.asarray(observation, np.float32)

    def step(self, action: np.ndarray) -> np.ndarray:
        if self.ended.any():
            raise OnebodyError(f"body {self.body.name}: the environment ended its episode; call reset first")
        observation, _, terminated, truncated, _ = self.envs.step(self.center + self.scale * action)
        self.ended = terminated | truncated
        return np.asarray(observation, np.float32)
