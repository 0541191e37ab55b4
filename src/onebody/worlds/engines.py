"""Physics engines: each simulates n copies of one body at once, for one kind of body."""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import gymnasium
import jax
import mujoco
import numpy as np
from jaxtyping import Array
from mujoco.batch import Batch

from onebody.core.errors import BodyFailed, OnebodyError
from onebody.tasks.body import QUANTITIES, Body, ClosedFormBody, GymnasiumBody, MujocoBody
from onebody.tasks.limits import LimitedBody
from onebody.worlds.refusals import environment_error


@runtime_checkable
class Engine(Protocol):
    """Simulates n copies of one body at once."""

    ended: np.ndarray
    """[n] bool: copies whose environment ended its episode in the last step; they must be reset before the next step"""

    def set_physics(self, fields: Mapping[str, np.ndarray]) -> None:
        """Set the dynamics of each copy as fields of MjModel [n, ...]; all rows must be reset afterwards."""
        ...

    def reset(self, rows: np.ndarray, draws: list[tuple[np.random.Generator, int]]) -> np.ndarray:
        """Put the copies `rows` (sorted indices) into new initial states; returns observations [n, observation] of all.

        Each generator samples the states of as many rows as its number in `draws` says.
        """
        ...

    def step(self, action: np.ndarray) -> np.ndarray:
        """Act with [n, action] in [-1, 1] for one control step; returns observations [n, observation]."""
        ...


@contextmanager
def running(body: Body | LimitedBody, name: str) -> Iterator[None]:
    """Converts an exception of a user's environment or function, and a call of sys.exit, into BodyFailed."""
    try:
        yield
    except OnebodyError:
        raise
    except (Exception, SystemExit) as error:
        raise BodyFailed(f"body {body.name}: {name} raises {environment_error(error)}") from error


def engine(body: Body | LimitedBody, n: int, threads: int) -> Engine:
    """The engine for n copies of a body. `threads`: number of C++ threads for MuJoCo; 0: one per core."""
    if isinstance(body, LimitedBody):
        return LimitedEngine(body, engine(body.body, n, threads), n)
    if isinstance(body, MujocoBody):
        return MujocoEngine(body, n, threads)
    return ClosedFormEngine(body, n) if isinstance(body, ClosedFormBody) else GymnasiumEngine(body, n)


class MujocoEngine:
    """Uses `mujoco.batch.Batch` with persistent data, so that nothing in the new state is computed twice."""

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
        randomized = [field for quantity, *_ in body.factors for field in QUANTITIES[quantity]]
        values = {field: getattr(body.model, field) for field in randomized}
        self.nominal = {field: np.repeat(value[None], n, axis=0) for field, value in values.items() if value.size}

    def set_physics(self, fields: Mapping[str, np.ndarray]) -> None:
        for name, values in fields.items():
            self.batch.expand(name)[:] = values
        self.nominal |= {name: np.array(values) for name, values in fields.items() if name in self.nominal}
        self.batch.set_const()  # recompute the constants that MuJoCo derives from masses

    def reset(self, rows: np.ndarray, draws: list[tuple[np.random.Generator, int]]) -> np.ndarray:
        if self.body.factors:
            self._randomize(rows, draws)
        self.batch.reset(rows, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        with running(self.body, "its start"):
            qpos, qvel = zip(*(self.body.start(rng, self.batch.model, n) for rng, n in draws), strict=True)
            self.qpos[rows], self.qvel[rows] = np.concatenate(qpos), np.concatenate(qvel)
        self.batch.forward(rows)
        return self.observe()

    def _randomize(self, rows: np.ndarray, draws: list[tuple[np.random.Generator, int]]) -> None:
        for quantity, low, high in self.body.factors:
            factor = np.concatenate([rng.uniform(low, high, n) for rng, n in draws])
            for field in self.nominal.keys() & QUANTITIES[quantity]:
                nominal = self.nominal[field][rows]
                self.batch.expand(field)[rows] = nominal * factor.reshape(-1, *[1] * (nominal.ndim - 1))
        self.batch.set_const(rows)

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
        with np.errstate(over="ignore"):  # a value beyond the range of float32 becomes infinite and raises an error
            return np.concatenate(parts, axis=1, dtype=np.float32)


class ClosedFormEngine:
    """Uses a compiled formula."""

    def __init__(self, body: ClosedFormBody, n: int):
        self.body, self.dynamics = body, _compiled(body.dynamics)
        self.state, self.ended = np.zeros((n, body.observation_size), np.float32), np.zeros(n, bool)

    def set_physics(self, fields: Mapping[str, np.ndarray]) -> None:
        raise OnebodyError(
            f"body {self.body.name} is a formula: only a MuJoCo body can have physics that vary with the task"
        )

    def reset(self, rows: np.ndarray, draws: list[tuple[np.random.Generator, int]]) -> np.ndarray:
        with running(self.body, "its start"):
            self.state[rows] = np.concatenate([self.body.start(rng, n) for rng, n in draws])
        return self.state.copy()

    def step(self, action: np.ndarray) -> np.ndarray:
        self.state = np.array(self.dynamics(self.state, action))
        return self.state.copy()


@functools.lru_cache
def _compiled(dynamics: Callable[[Array, Array], Array]) -> Callable[[Any, Any], Array]:
    """A formula for several states at once; all engines of a body share its programs."""
    return jax.jit(jax.vmap(dynamics))


class GymnasiumEngine:
    """Uses Gymnasium's vector environment, which does not know the family's horizon and terminal function."""

    def __init__(self, body: GymnasiumBody, n: int):
        self.body = body
        kind = gymnasium.vector.AsyncVectorEnv if body.parallel else gymnasium.vector.SyncVectorEnv
        options: dict[str, Any] = {"context": "spawn"} if body.parallel else {}  # JAX does not support forking
        with running(body, "its environment"):
            self.envs = kind([body.make] * n, autoreset_mode=gymnasium.vector.AutoresetMode.DISABLED, **options)
        box = self.envs.single_action_space
        assert isinstance(box, gymnasium.spaces.Box)
        self.center, self.scale = (box.high + box.low) / 2, (box.high - box.low) / 2
        self.ended = np.zeros(n, bool)

    def set_physics(self, fields: Mapping[str, np.ndarray]) -> None:
        raise OnebodyError(
            f"body {self.body.name} is an environment: only a MuJoCo body can have physics that vary with the task"
        )

    def reset(self, rows: np.ndarray, draws: list[tuple[np.random.Generator, int]]) -> np.ndarray:
        seeds: list[int | None] = [None] * len(self.ended)
        samples = np.concatenate([rng.integers(2**31, size=n) for rng, n in draws]).tolist()
        for row, seed in zip(rows.tolist(), samples, strict=True):
            seeds[row] = seed
        self.ended[rows] = False
        mask = np.isin(np.arange(len(seeds)), rows)
        with running(self.body, "its environment"):
            observation, _ = self.envs.reset(seed=seeds, options={"reset_mask": mask})
        return np.asarray(observation, np.float32)

    def step(self, action: np.ndarray) -> np.ndarray:
        if self.ended.any():
            raise OnebodyError(f"body {self.body.name}: the environment ended its episode; call reset first")
        with running(self.body, "its environment"):
            observation, _, terminated, truncated, _ = self.envs.step(self.center + self.scale * action)
        self.ended = terminated | truncated
        return np.asarray(observation, np.float32)

    def picture(self) -> np.ndarray:
        """Image [height, width, 3] of the first copy; its environment was made with render_mode="rgb_array"."""
        with running(self.body, "its environment"):
            return self.envs.call("render")[0]


class LimitedEngine:
    """Holds a body to its limits: no action outside them reaches the engine of the body.

    The actions that it is given must not be NaN.
    """

    def __init__(self, body: LimitedBody, inner: Engine, n: int):
        self.body, self.inner, self.ended = body, inner, inner.ended
        self.observation = np.zeros((n, body.observation_size), np.float32)
        self._noise: list[tuple[np.random.Generator, int]] = []
        """generators of the noise, and the number of copies that each is for"""

    def set_physics(self, fields: Mapping[str, np.ndarray]) -> None:
        self.inner.set_physics(fields)

    def reset(self, rows: np.ndarray, draws: list[tuple[np.random.Generator, int]]) -> np.ndarray:
        sensed, self.ended = self.inner.reset(rows, draws), self.inner.ended
        if self.body.disturbed:
            if len(rows) == len(self.observation):
                self._noise = [(rng.spawn(1)[0], n) for rng, n in draws]
            sensed = self._noisy(sensed)
        self.observation[rows] = np.append(sensed[rows], np.tile(self.body.rest, (len(rows), 1)), axis=1)
        return self.observation.copy()

    def step(self, action: np.ndarray) -> np.ndarray:
        applied, commands = self.body.command(self.observation, np.asarray(action, np.float32))
        sensed, self.ended = self.inner.step(applied), self.inner.ended
        if self.body.disturbed:
            drawn = np.concatenate([rng.random((n, 1)) for rng, n in self._noise])
            last = self.body.sensed(self.observation)
            sensed = np.where(drawn < self.body.limits.dropped, last, self._noisy(sensed))
        self.observation = np.append(sensed, commands, axis=1)
        return self.observation.copy()

    def _noisy(self, sensed: np.ndarray) -> np.ndarray:
        noise = np.concatenate([rng.standard_normal((n, sensed.shape[1]), np.float32) for rng, n in self._noise])
        return sensed + self.body.noise * noise


def innermost(engine: Engine | None) -> Engine | None:
    """The engine of the body itself, without its limits."""
    return engine.inner if isinstance(engine, LimitedEngine) else engine
