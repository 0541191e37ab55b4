"""MuJoCo robots that the papers' families share.

The MJCF files are Gymnasium's, changed here where a paper's robot differs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import mujoco

from onebody.tasks.body import Normal, Start, Uniform

RLLAB = Start(Normal(0.01), Normal(0.1))
"""p0 of rllab's robots, which SMT and MB-MPO use"""
RLLAB_ANT = RLLAB._replace(pose="init_qpos")
GYM = Start(Uniform(0.1), Normal(0.1))
"""p0 of Gymnasium's half-cheetah and ant, which PEARL and AdMRL use"""
SMALL = Start(Uniform(0.005), Uniform(0.005))
"""p0 of Gymnasium's hopper and walker"""


_SENSORS = {
    "velocity": (mujoco.mjtSensor.mjSENS_SUBTREELINVEL, mujoco.mjtObj.mjOBJ_BODY),
    "place": (mujoco.mjtSensor.mjSENS_FRAMEPOS, mujoco.mjtObj.mjOBJ_XBODY),
    "axis x": (mujoco.mjtSensor.mjSENS_FRAMEXAXIS, mujoco.mjtObj.mjOBJ_XBODY),
    "axis y": (mujoco.mjtSensor.mjSENS_FRAMEYAXIS, mujoco.mjtObj.mjOBJ_XBODY),
    "axis z": (mujoco.mjtSensor.mjSENS_FRAMEZAXIS, mujoco.mjtObj.mjOBJ_XBODY),
}


@dataclass(frozen=True, eq=False)
class Robot:
    """A function that compiles a robot from MJCF and then changes the model."""

    spec: Callable[[], mujoco.MjSpec]
    """makes the MJCF"""
    finish: Callable[[mujoco.MjModel], None] = lambda model: None
    """changes the compiled model"""

    def __call__(self) -> mujoco.MjModel:
        compiled = self.spec().compile()
        self.finish(compiled)
        return compiled


def robot(
    asset: str,
    sensors: Sequence[str] = (),
    timestep: float | None = None,
    mass: float | None = None,
    change: Callable[[mujoco.MjSpec], None] = lambda spec: None,
) -> Robot:
    """One of Gymnasium's robots.

    Args:
        asset: name of the MJCF file, without extension.
        sensors: of the body `torso`, in world axes: `velocity` (of the whole robot's centre of mass, m/s), `place`
            (position, m), `axis x`, `axis y` and `axis z` (columns of the rotation matrix).
        timestep: seconds per physics step; by default that of the file.
        mass: total mass (kg); by default that of the file.
        change: makes further changes to the model.
    """

    def build() -> mujoco.MjSpec:
        xml = files("gymnasium").joinpath(f"envs/mujoco/assets/{asset}.xml").read_text(encoding="utf-8")
        spec = mujoco.MjSpec.from_string(xml.replace('settotalmass="14"', ""))  # deprecated; `mass` replaces it
        for name in sensors:
            kind, of = _SENSORS[name]
            spec.add_sensor(name=name, type=kind, objtype=of, objname="torso")
        if timestep is not None:
            spec.option.timestep = timestep
        change(spec)
        return spec

    def finish(model: mujoco.MjModel) -> None:
        if mass is not None:
            mujoco.mj_setTotalmass(model, mass)
            # otherwise the masses of subtrees, by which the velocity of the whole robot is divided, are wrong
            mujoco.mj_setConst(model, mujoco.MjData(model))

    return Robot(build, finish)


def rllab_contacts(spec: mujoco.MjSpec) -> None:
    """Contacts of rllab's ant, which are softer than Gymnasium's."""
    for geom in spec.geoms:
        geom.solref[:2], geom.solimp[:3] = (0.02, 1.0), (0.8, 0.8, 0.01)


@dataclass(frozen=True, eq=False)
class HeightOutside:
    """Terminal function that ends an episode when a column of the observation, a height (m), leaves [low, high]."""

    column: int
    low: float
    high: float

    def __call__(self, next_observation: Any, task: Any) -> Any:
        height = next_observation[self.column]
        return (height < self.low) | (height > self.high)


def with_friction(robot: Robot, factor: float) -> Robot:
    """The robot with every friction coefficient multiplied by `factor`."""

    def finish(model: mujoco.MjModel) -> None:
        robot.finish(model)
        model.geom_friction *= factor

    return Robot(robot.spec, finish)


def without_torque(robot: Robot, *joints: str) -> Robot:
    """The robot with the motors of these joints disabled."""

    def finish(model: mujoco.MjModel) -> None:
        robot.finish(model)
        for name in joints:
            model.actuator_gear[model.actuator_trnid[:, 0] == model.joint(name).id] = 0.0

    return Robot(robot.spec, finish)
