"""MuJoCo robots that the papers' families share.

The MJCF files are Gymnasium's, changed here where a paper's robot differs.
"""

from collections.abc import Callable, Sequence
from importlib.resources import files

import mujoco

from onebody.tasks.body import Normal, Start, Uniform
from onebody.tasks.family import Terminal

Model = Callable[[], mujoco.MjModel]

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


def robot(
    asset: str,
    sensors: Sequence[str] = (),
    timestep: float | None = None,
    mass: float | None = None,
    change: Callable[[mujoco.MjSpec], None] = lambda spec: None,
) -> Model:
    """A function that compiles one of Gymnasium's robots.

    Args:
        asset: name of the MJCF file, without extension.
        sensors: of the body `torso`, in world axes: `velocity` (of the whole robot's centre of mass, m/s), `place`
            (position, m), `axis x`, `axis y` and `axis z` (columns of the rotation matrix).
        timestep: seconds per physics step; by default that of the file.
        mass: total mass (kg); by default that of the file.
        change: makes further changes to the model.
    """

    def model() -> mujoco.MjModel:
        xml = files("gymnasium").joinpath(f"envs/mujoco/assets/{asset}.xml").read_text(encoding="utf-8")
        spec = mujoco.MjSpec.from_string(xml.replace('settotalmass="14"', ""))  # deprecated; `mass` replaces it
        for name in sensors:
            kind, of = _SENSORS[name]
            spec.add_sensor(name=name, type=kind, objtype=of, objname="torso")
        if timestep is not None:
            spec.option.timestep = timestep
        change(spec)
        compiled = spec.compile()
        if mass is not None:
            mujoco.mj_setTotalmass(compiled, mass)
            # otherwise the masses of subtrees, by which the velocity of the whole robot is divided, are wrong
            mujoco.mj_setConst(compiled, mujoco.MjData(compiled))
        return compiled

    return model


def rllab_contacts(spec: mujoco.MjSpec) -> None:
    """Contacts of rllab's ant, which are softer than Gymnasium's."""
    for geom in spec.geoms:
        geom.solref[:2], geom.solimp[:3] = (0.02, 1.0), (0.8, 0.8, 0.01)


def height_outside(column: int, low: float, high: float) -> Terminal:
    """Terminal function that ends an episode when a column of the observation, a height (m), leaves [low, high]."""
    return lambda next_observation, task: (next_observation[column] < low) | (next_observation[column] > high)


def with_friction(model: Model, factor: float) -> Model:
    """The robot with every friction coefficient multiplied by `factor`."""

    def changed() -> mujoco.MjModel:
        compiled = model()
        compiled.geom_friction *= factor
        return compiled

    return changed


def without_torque(model: Model, *joints: str) -> Model:
    """The robot with the motors of these joints disabled."""

    def changed() -> mujoco.MjModel:
        compiled = model()
        for name in joints:
            compiled.actuator_gear[compiled.actuator_trnid[:, 0] == compiled.joint(name).id] = 0.0
        return compiled

    return changed
