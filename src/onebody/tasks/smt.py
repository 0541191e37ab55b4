"""The families of SMT (Landolfi, Thomas, Ma 2019), and MAML's half-cheetah directions, which share their body: rllab's
robots, one physics step per control step.

Each reward depends on the velocity of the whole robot's centre of mass, which is part of the observation.
"""

import functools
from collections.abc import Callable
from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array

from onebody.tasks.body import Feature, MujocoBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.robots import (
    RLLAB,
    RLLAB_ANT,
    HeightOutside,
    rllab_contacts,
    robot,
    with_friction,
    without_torque,
)
from onebody.tasks.simple_humanoid import HUMANOID
from onebody.tasks.space import Box, FiniteSet

CHEETAH = MujocoBody(
    name="half-cheetah",
    mjcf=robot("half_cheetah", sensors=["velocity"], mass=14.0),
    frame_skip=1,
    observation=(Feature("qpos", slice(1, None)), Feature("qvel"), Feature("sensordata", (0, 2))),
    start=RLLAB,
)
_ant = robot("ant", ["axis x", "axis y", "axis z", "velocity"], timestep=0.02, change=rllab_contacts)
ANT = MujocoBody(
    name="ant",
    mjcf=_ant,
    frame_skip=1,
    observation=(Feature("qpos", slice(2, None)), Feature("qvel"), Feature("sensordata")),
    start=RLLAB_ANT,
)
SLIPPERY_ANT = replace(ANT, name="ant, half the friction", mjcf=with_friction(_ant, 0.5))
CRIPPLED_ANT = replace(ANT, name="ant, front left leg without torque", mjcf=without_torque(_ant, "hip_1", "ankle_1"))
ant_falls, humanoid_falls = HeightOutside(0, 0.2, 1.0), HeightOutside(0, 0.8, 2.0)


def _effort(action: Array, cost: float) -> Array:
    """Cost of an action."""
    return cost * jnp.sum(action**2)


def cheetah_velocity(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return -jnp.abs(next_observation[17] - task[0]) - _effort(action, 0.05)


def cheetah_direction(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return task[0] * next_observation[17] - _effort(action, 0.05)


def ant_velocity(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return 1.05 - jnp.abs(next_observation[36] - task[0]) - _effort(action, 0.005)


def ant_velocity_2d(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return 5.05 - jnp.sum(jnp.abs(next_observation[36:38] - task)) - _effort(action, 0.005)


def ant_direction(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return 0.05 + task[0] * next_observation[36] - _effort(action, 0.005)


def velocity_at(*columns: int) -> Callable[[Array, Array], Array]:
    """A velocity that stands in the observation, for `TaskFamily.achieved`."""
    return lambda observation, next_observation: next_observation[jnp.array(columns)]


def direction_at(column: int) -> Callable[[Array, Array], Array]:
    """The direction, 1 or -1, of a velocity that stands in the observation, for `TaskFamily.achieved`."""
    return lambda observation, next_observation: jnp.sign(next_observation[jnp.array([column])])


def humanoid_velocity(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    vx, vy, vz = next_observation[31:34]
    return 1.0 - jnp.abs(vx - task[0]) - _effort(action, 5e-4) - 5e-3 * (vy**2 + vz**2)


_SMT = "Landolfi, Thomas, Ma 2019 (SMT)"
_cheetah = functools.partial(
    TaskFamily,
    body=CHEETAH,
    horizon=200,
    source=f"{_SMT}, after Finn et al. 2017 (MAML): rllab's half-cheetah",
    differs=(
        "the observation leaves out the place along the track and the centre of mass (neither dynamics nor reward "
        "depends "
        "on them) and the velocity across the track, which is always zero"
    ),
)
_ants = functools.partial(
    TaskFamily,
    body=ANT,
    horizon=200,
    terminal=ant_falls,
    terminal_text="height of the torso outside [0.2, 1] m",
    source=f"{_SMT}, after Finn et al. 2017 (MAML): rllab's ant",
)
_ANT_DIFFERS = (
    "Gymnasium's file of the same robot with rllab's time step and contacts; no cost of contacts, as in SMT and unlike "
    "MAML; the observation leaves out the place on the ground and the centre of mass, on which neither dynamics nor "
    "reward depends, and contact forces"
)
_humanoids = functools.partial(
    TaskFamily,
    body=HUMANOID,
    reward=humanoid_velocity,
    achieved=velocity_at(31),
    task_labels=("forward velocity (m/s)",),
    horizon=200,
    terminal=humanoid_falls,
    version=2,
    source=f"{_SMT}: rllab's simple humanoid, 10 actuators",
    differs=(
        "the floor has no contact margin, because today's MuJoCo adds the margins of two geoms where the source's took "
        "the larger one; MuJoCo's default solver of today, Newton, where the source's was PGS with 50 iterations; "
        "no cost of contacts, as in SMT and unlike rllab; the observation leaves out "
        "the place on the ground and the centre of mass, on which neither dynamics nor reward depends"
    ),
    reward_text="1 - |vx - ψ| - 0.0005 ‖a‖² - 0.005 (vy² + vz²), v of the whole robot",
    terminal_text="height of the torso outside [0.8, 2] m",
)
_cheetah_velocities = functools.partial(
    _cheetah,
    reward=cheetah_velocity,
    achieved=velocity_at(17),
    task_labels=("forward velocity (m/s)",),
    reward_text="-|vx - ψ| - 0.05 ‖a‖², v of the whole robot",
)
_ant_velocities = functools.partial(
    _ants,
    reward=ant_velocity,
    achieved=velocity_at(36),
    task_labels=("forward velocity (m/s)",),
    differs=_ANT_DIFFERS,
    reward_text="1.05 - |vx - ψ| - 0.005 ‖a‖², v of the whole robot",
)
_ant_directions = functools.partial(
    _ants,
    space=FiniteSet(((-1.0,), (1.0,))),
    reward=ant_direction,
    achieved=direction_at(36),
    task_labels=("direction, 1 is forward",),
    reward_text="0.05 + ψ vx - 0.005 ‖a‖², v of the whole robot",
)

_FAMILIES = (
    _cheetah_velocities(id="smt/cheetah-vel", space=Box((0.0,), (2.0,))),
    _cheetah_velocities(id="smt/cheetah-vel-wide", space=Box((-2.0,), (2.0,))),
    _cheetah(
        id="smt/cheetah-dir",
        source="Finn et al. 2017 (MAML): rllab's half-cheetah, forward or backward; not among SMT's experiments",
        space=FiniteSet(((-1.0,), (1.0,))),
        reward=cheetah_direction,
        achieved=direction_at(17),
        task_labels=("direction, 1 is forward",),
        reward_text="ψ vx - 0.05 ‖a‖², v of the whole robot",
    ),
    _ant_velocities(id="smt/ant-vel", space=Box((0.0,), (3.0,))),
    _ant_velocities(id="smt/ant-vel-wide", space=Box((-3.0,), (3.0,))),
    _ants(
        id="smt/ant-vel-2d",
        space=Box((-3.0, -3.0), (3.0, 3.0)),
        reward=ant_velocity_2d,
        achieved=velocity_at(36, 37),
        task_labels=("velocity x (m/s)", "velocity y (m/s)"),
        differs=f"{_ANT_DIFFERS}; SMT's constant is not known: AdMRL's, 5.05",
        reward_text="5.05 - |vx - ψ₁| - |vy - ψ₂| - 0.005 ‖a‖², v of the whole robot",
    ),
    _ant_directions(id="smt/ant-dir", differs=_ANT_DIFFERS),
    _humanoids(id="smt/humanoid-vel", space=Box((0.0,), (1.5,))),
    _humanoids(id="smt/humanoid-vel-wide", space=Box((-1.5,), (1.5,))),
    _cheetah_velocities(
        id="smt/cheetah-pos-to-neg",
        space=Box((0.0,), (2.0,)),
        test=_cheetah_velocities(id="smt/cheetah-pos-to-neg-test", space=Box((-2.0,), (0.0,))),
    ),
    _ant_velocities(
        id="smt/ant-pos-to-neg",
        space=Box((0.0,), (3.0,)),
        test=_ant_velocities(id="smt/ant-pos-to-neg-test", space=Box((-3.0,), (0.0,))),
    ),
    _ant_directions(
        id="smt/ant-low-friction",
        differs=_ANT_DIFFERS,
        test=_ant_directions(
            id="smt/ant-low-friction-test", body=SLIPPERY_ANT, differs=f"{_ANT_DIFFERS}; every friction × 0.5"
        ),
    ),
    _ant_directions(
        id="smt/ant-crippled",
        differs=_ANT_DIFFERS,
        test=_ant_directions(
            id="smt/ant-crippled-test",
            body=CRIPPLED_ANT,
            differs=(
                f"{_ANT_DIFFERS}; SMT does not say how the leg is disabled: here its two motors have no torque (a "
                "configuration named AntMissingLegTask in AdMRL's release suggests that SMT takes the leg off)"
            ),
        ),
    ),
)
FAMILIES = tuple(member for family in _FAMILIES for member in (family, family.test) if member)
