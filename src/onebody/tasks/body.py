"""Bodies: a MuJoCo robot, a formula, or a Gymnasium environment. Actions are always in [-1, 1]."""

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np
from jaxtyping import Array

from onebody.core.errors import OnebodyError


class Feature(NamedTuple):
    """Columns of a flattened field of MjData, as a part of an observation."""

    field: str
    columns: slice | tuple[int, ...] = slice(None)
    limit: float = math.inf
    """values are clipped to ±limit"""


class Normal(NamedTuple):
    """Gaussian noise around zero."""

    scale: float

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return self.scale * rng.standard_normal(shape)

    def __str__(self) -> str:
        return f"N(0, {self.scale:g}²)"


class Uniform(NamedTuple):
    """Noise uniform in [-limit, limit]."""

    limit: float

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.uniform(-self.limit, self.limit, shape)

    def __str__(self) -> str:
        return f"U[-{self.limit:g}, {self.limit:g}]"


class Start(NamedTuple):
    """p0: a pose at rest, plus noise on positions (m, rad) and velocities (m/s, rad/s)."""

    position: Normal | Uniform = Normal(0.01)
    velocity: Normal | Uniform = Normal(0.1)
    pose: str = ""
    """name of a <numeric> of the model that holds joint positions; by default the model's own pose"""

    def __call__(self, rng: np.random.Generator, model: mujoco.MjModel, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Sample n states: joint positions [n, nq] and velocities [n, nv]."""
        pose = model.numeric(self.pose).data if self.pose else model.qpos0
        qpos = pose + self.position(rng, (n, model.nq))
        return qpos, self.velocity(rng, (n, model.nv))

    def __str__(self) -> str:
        pose = f"the model's pose {self.pose}" if self.pose else "the model's own pose"
        return f"{pose}, positions + {self.position}, velocities {self.velocity}"


class ActionRange(NamedTuple):
    """What -1 and 1 of one number of an action are scaled to."""

    label: str
    """its name, with its unit if that is known"""
    low: float
    high: float


QUANTITIES = {
    "mass": ("body_mass", "body_inertia"),
    "friction": ("geom_friction", "pair_friction"),
    "damping": ("dof_damping",),
    "motor": ("actuator_gear",),
}
"""what can be randomised, with its fields of MjModel"""
Factors = tuple[tuple[str, float, float], ...]
"""quantities, each with the range of the factors that it is multiplied by"""


@dataclass(frozen=True, eq=False)
class MujocoBody:
    """A robot in MuJoCo. Actions in [-1, 1] are scaled to the control ranges and held for `frame_skip` steps."""

    name: str
    mjcf: str | Path | Callable[[], mujoco.MjModel]
    """MJCF file (`Path(__file__).with_name("robot.xml")`), MJCF text, or a function that compiles the model"""
    frame_skip: int
    """number of physics steps per control step"""
    observation: tuple[Feature, ...] = (Feature("qpos"), Feature("qvel"), Feature("sensordata"))
    """parts of the observation, concatenated; sensors add what a reward needs besides positions and velocities"""
    start: Callable[[np.random.Generator, mujoco.MjModel, int], tuple[np.ndarray, np.ndarray]] = Start()
    """samples n initial (qpos [n, nq], qvel [n, nv]) from p0; described by its docstring, or by str of a `Start`"""
    factors: Factors = ()
    """quantities of the robot that are multiplied by factors drawn for each episode (`onebody.randomized`)"""

    @cached_property
    def model(self) -> mujoco.MjModel:
        """The compiled model, without MuJoCo's silent reset of a state that is not finite.

        Raises:
            OnebodyError: it does not compile, or has an actuator without a control range.
        """
        try:
            if callable(self.mjcf):
                model = self.mjcf()
            elif isinstance(self.mjcf, Path) and not self.mjcf.is_file():
                raise OnebodyError(f"body {self.name}: there is no file {self.mjcf.absolute()}")
            elif isinstance(self.mjcf, str) and self.mjcf.lstrip().startswith("<"):
                model = mujoco.MjModel.from_xml_string(self.mjcf)
            else:
                model = mujoco.MjModel.from_xml_path(str(self.mjcf))
        except (ValueError, OSError) as error:
            raise OnebodyError(
                f"body {self.name}: its MJCF does not compile: {' '.join(str(error).split())}"
            ) from error
        if model.nu == 0 or not model.actuator_ctrllimited.all():
            raise OnebodyError(f"body {self.name}: every actuator needs a ctrlrange, and there must be at least one")
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        return model

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Name of each number of an observation, with its unit if that is known."""
        names = {
            "qpos": [f"{name} ({unit})" for name, unit in _positions(self.model)],
            "qvel": [f"{name} rate ({unit}/s)" for name, unit in _velocities(self.model)],
            "sensordata": list(_sensors(self.model)),
        }
        data = mujoco.MjData(self.model)
        labels: list[str] = []
        for field, columns, limit in self.observation:
            of_field = names.get(field) or [f"{field} {i}" for i in range(np.size(getattr(data, field)))]
            part = np.array(of_field, object)[columns if isinstance(columns, slice) else list(columns)].tolist()
            labels += part if math.isinf(limit) else [f"{label}, cut at ±{limit:g}" for label in part]
        return tuple(labels)

    @property
    def observation_size(self) -> int:
        return len(self.labels)

    @property
    def action_size(self) -> int:
        return int(self.model.nu)

    @cached_property
    def action_ranges(self) -> tuple[ActionRange, ...]:
        """For each number of an action: torque or force of a motor at a joint, otherwise the actuator's control."""
        return tuple(_actuators(self.model))

    @property
    def dt(self) -> float:
        """seconds per control step"""
        return float(self.model.opt.timestep) * self.frame_skip


_FREE = (("x", "m"), ("y", "m"), ("z", "m"), *((f"quaternion {axis}", "1") for axis in "wxyz"))
_FREE_RATE = (("x", "m"), ("y", "m"), ("z", "m"), *((f"turn about {axis}", "rad") for axis in "xyz"))
_BALL = tuple((f"quaternion {axis}", "1") for axis in "wxyz")


def _positions(model: mujoco.MjModel) -> Iterator[tuple[str, str]]:
    return _joints(model, _FREE, _BALL)


def _velocities(model: mujoco.MjModel) -> Iterator[tuple[str, str]]:
    return _joints(model, _FREE_RATE, _FREE_RATE[3:])


def _joints(model: mujoco.MjModel, free: Any, ball: Any) -> Iterator[tuple[str, str]]:
    """Name and unit of each coordinate."""
    for i in range(model.njnt):
        name, kind = model.joint(i).name or f"joint {i}", mujoco.mjtJoint(model.jnt_type[i])
        if kind in (mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_BALL):
            axes = free if kind == mujoco.mjtJoint.mjJNT_FREE else ball
            yield from ((f"{name} {axis}", unit) for axis, unit in axes)
        else:
            yield name, "m" if kind == mujoco.mjtJoint.mjJNT_SLIDE else "rad"


_UNITS = {
    mujoco.mjtSensor.mjSENS_FRAMEPOS: " (m)",
    mujoco.mjtSensor.mjSENS_SUBTREECOM: " (m)",
    mujoco.mjtSensor.mjSENS_FRAMELINVEL: " (m/s)",
    mujoco.mjtSensor.mjSENS_SUBTREELINVEL: " (m/s)",
    mujoco.mjtSensor.mjSENS_FRAMEANGVEL: " (rad/s)",
}


def _sensors(model: mujoco.MjModel) -> Iterator[str]:
    for i in range(model.nsensor):
        name, size = model.sensor(i).name or f"sensor {i}", int(model.sensor_dim[i])
        unit = _UNITS.get(mujoco.mjtSensor(model.sensor_type[i]), "")
        axes = [""] if size == 1 else [f" {'xyz'[k] if size == 3 else k}" for k in range(size)]
        yield from (f"{name}{axis}{unit}" for axis in axes)


_MOTOR = {mujoco.mjtJoint.mjJNT_HINGE: " (N m)", mujoco.mjtJoint.mjJNT_SLIDE: " (N)"}


def _actuators(model: mujoco.MjModel) -> Iterator[ActionRange]:
    for i in range(model.nu):
        unit, factor, joint = "", 1.0, int(model.actuator_trnid[i, 0])
        at_joint = model.actuator_trntype[i] == mujoco.mjtTrn.mjTRN_JOINT
        name = model.actuator(i).name or (model.joint(joint).name if at_joint else "") or f"actuator {i}"
        is_motor = (
            at_joint
            and model.actuator_dyntype[i] == mujoco.mjtDyn.mjDYN_NONE
            and model.actuator_gaintype[i] == mujoco.mjtGain.mjGAIN_FIXED
            and model.actuator_biastype[i] == mujoco.mjtBias.mjBIAS_NONE
        )
        if is_motor and (kind := mujoco.mjtJoint(model.jnt_type[joint])) in _MOTOR:
            unit, factor = _MOTOR[kind], float(model.actuator_gear[i, 0] * model.actuator_gainprm[i, 0])
        low, high = (0.0 + factor * model.actuator_ctrlrange[i]).tolist()  # 0.0 for -0.0
        yield ActionRange(f"{name}{unit}", low, high)


@dataclass(frozen=True, eq=False)
class ClosedFormBody:
    """A body whose state is its observation and whose dynamics are a formula."""

    name: str
    dynamics: Callable[[Array, Array], Array]
    """(observation, action in [-1, 1]) -> next observation; a jnp function of one state"""
    labels: tuple[str, ...]
    """name and unit of each number of the observation"""
    action_size: int
    start: Callable[[np.random.Generator, int], np.ndarray]
    """samples n initial observations [n, observation] from p0; described by its docstring"""
    dt: float
    """seconds per control step"""

    @property
    def observation_size(self) -> int:
        return len(self.labels)

    @property
    def action_ranges(self) -> tuple[ActionRange, ...]:
        """For each number of an action: [-1, 1], as a formula takes actions unscaled."""
        return tuple(ActionRange(f"action {i + 1}", -1.0, 1.0) for i in range(self.action_size))


@dataclass(frozen=True, eq=False)
class GymnasiumBody:
    """A Gymnasium environment with flat observations and bounded flat actions; its own reward is not used."""

    name: str
    make: Callable[[], Any]
    """makes one environment"""
    labels: tuple[str, ...]
    """name of each number of the observation"""
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    """bounds of the environment's action space, which -1 and 1 are scaled to"""
    dt: float
    """seconds per control step"""
    parallel: bool = False
    """whether each environment runs in its own process, for slow environments"""
    copies: int | None = None
    """1: there is only one, such as a robot, and its episodes run one after the other; None: as many as are useful"""
    real_time: bool = False
    """whether time goes on between two steps, so that an action can come late; for a single environment"""
    timeout: float | None = None
    """longest time (s) that `step` of a single environment may take; None: any time"""

    @property
    def observation_size(self) -> int:
        return len(self.labels)

    @property
    def action_size(self) -> int:
        return len(self.action_low)

    @property
    def action_ranges(self) -> tuple[ActionRange, ...]:
        """For each number of an action: the bounds of the environment's action space."""
        bounds = zip(self.action_low, self.action_high, strict=True)
        return tuple(ActionRange(f"action {i}", low, high) for i, (low, high) in enumerate(bounds, 1))


Body = MujocoBody | ClosedFormBody | GymnasiumBody


def start_of(body: Body) -> str:
    """Text that describes p0."""
    if isinstance(body, GymnasiumBody):
        return "the environment's own"
    return str(body.start) if isinstance(body.start, Start) else (inspect.getdoc(body.start) or "").split("\n")[0]
