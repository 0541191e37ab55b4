"""Locomotion families on MuJoCo robots."""

import functools
from importlib.resources import files

import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array

from onebody.tasks.family import Box, FiniteSet, MujocoBody, TaskFamily

CHEETAH_JOINTS = ("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot")
FORWARD_VELOCITY = 17
"""column of the whole robot's forward velocity in the cheetah's observation"""


@functools.cache
def cheetah_model() -> mujoco.MjModel:
    """Gymnasium's half-cheetah (physically the one of rllab), with a sensor of the whole robot's velocity."""
    xml = files("gymnasium").joinpath("envs/mujoco/assets/half_cheetah.xml").read_text()
    spec = mujoco.MjSpec.from_string(xml.replace('settotalmass="14"', ""))
    spec.add_sensor(
        name="velocity",
        type=mujoco.mjtSensor.mjSENS_SUBTREELINVEL,
        objtype=mujoco.mjtObj.mjOBJ_BODY,
        objname="torso",
    )
    model = spec.compile()
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET  # a state that is not finite must be seen
    mujoco.mj_setTotalmass(model, 14.0)
    mujoco.mj_setConst(model, mujoco.MjData(model))  # or the masses of subtrees, which the sensor divides by, are wrong
    return model


def gaussian_reset(
    rng: np.random.Generator, model: mujoco.MjModel, n: int, position: float = 0.01, velocity: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """rllab's p0: the model's own pose plus Gaussian noise on positions (m, rad) and velocities (m/s, rad/s)."""
    qpos = model.qpos0 + position * rng.standard_normal((n, model.nq))
    return qpos, velocity * rng.standard_normal((n, model.nv))


CHEETAH = MujocoBody(
    name="half-cheetah",
    model=cheetah_model,
    frame_skip=1,
    observation=(("qpos", slice(1, None)), ("qvel", slice(None)), ("sensordata", slice(0, 3, 2))),
    labels=(
        *("height z (m)", "pitch (rad)", *(f"{joint} (rad)" for joint in CHEETAH_JOINTS)),
        *(
            "root vx (m/s)",
            "root vz (m/s)",
            "pitch rate (rad/s)",
            *(f"{joint} rate (rad/s)" for joint in CHEETAH_JOINTS),
        ),
        *("whole-robot vx (m/s)", "whole-robot vz (m/s)"),
    ),
    reset=gaussian_reset,
)


def cheetah_velocity_reward(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return -jnp.abs(next_observation[FORWARD_VELOCITY] - task[0]) - 0.05 * jnp.sum(action**2)


def cheetah_direction_reward(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return task[0] * next_observation[FORWARD_VELOCITY] - 0.05 * jnp.sum(action**2)


_SOURCE = (
    "Landolfi, Thomas, Ma 2019 (SMT), after Finn et al. 2017 (MAML): rllab's half-cheetah at 0.01 s a step. Differs: "
    "the observation leaves out the position along the track and the centre of mass (neither dynamics nor reward "
    "depends on them) and the velocity across it, which is always zero"
)

FAMILIES = (
    TaskFamily(
        id="smt/cheetah-vel",
        body=CHEETAH,
        space=Box((0.0,), (2.0,)),
        reward=cheetah_velocity_reward,
        horizon=200,
        source=_SOURCE,
        summary="-|v - ψ| - 0.05 ‖a‖², v the whole robot's forward velocity",
    ),
    TaskFamily(
        id="smt/cheetah-vel-wide",
        body=CHEETAH,
        space=Box((-2.0,), (2.0,)),
        reward=cheetah_velocity_reward,
        horizon=200,
        source=_SOURCE,
        summary="-|v - ψ| - 0.05 ‖a‖², v the whole robot's forward velocity",
    ),
    TaskFamily(
        id="smt/cheetah-dir",
        body=CHEETAH,
        space=FiniteSet(((-1.0,), (1.0,))),
        reward=cheetah_direction_reward,
        horizon=200,
        source=_SOURCE,
        summary="ψ v - 0.05 ‖a‖², v the whole robot's forward velocity",
    ),
)
