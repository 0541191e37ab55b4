"""The families of AdMRL (Lin, Thomas, Yang, Ma 2020): Gymnasium's robots, with one physics step per control step."""

import functools
from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array

from onebody.tasks.body import Feature, MujocoBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.robots import GYM, HeightOutside, robot
from onebody.tasks.space import Box
from onebody.tasks.walkers import hopper_falls, walker_falls

CHEETAH = MujocoBody(
    name="half-cheetah",
    mjcf=robot("half_cheetah", mass=14.0),
    frame_skip=1,
    observation=(Feature("qpos"), Feature("qvel")),
    start=GYM,
)
ANT = replace(CHEETAH, name="ant", mjcf=robot("ant"))
ant_falls = HeightOutside(2, 0.2, 1.0)
HOPPER = MujocoBody(
    name="hopper",
    mjcf=robot("hopper"),
    frame_skip=1,
    observation=(Feature("qpos", slice(1, None)), Feature("qvel", limit=10.0)),
    start=GYM,
)
WALKER = replace(HOPPER, name="walker2d", mjcf=robot("walker2d"))

# Mean and standard deviation of the half-cheetah's state (position, height, pitch, six joints; then velocities), as
# released for AdMRL's linear task.
POSITION_MEAN = (-0.2032, -0.1054, 0.0898, 0.0143, 0.0019, 0.0132, 0.0708, -0.1491, -0.0426)
VELOCITY_MEAN = (-0.2398, -0.0426, 0.0979, -0.1000, -0.0930, 0.0415, 0.0365, -0.0661, -0.1578)
POSITION_DEVIATION = (0.2466, 0.0705, 0.1305, 0.2103, 0.2675, 0.2240, 0.2896, 0.2673, 0.2615)
VELOCITY_DEVIATION = (0.5503, 0.6953, 1.2163, 4.1919, 5.5100, 5.2831, 5.2036, 5.0158, 4.9579)


def ant_2d(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return 5.05 - jnp.sum(jnp.abs(next_observation[15:17] - task)) - 0.005 * jnp.sum(action**2)


def ant_3d(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    error = jnp.sum(jnp.abs(next_observation[15:17] - task[:2])) + 30.0 * jnp.abs(next_observation[2] - task[2])
    return 3.05 - error - 0.005 * jnp.sum(action**2)


def hopper_2d(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return _velocity_and_height(next_observation[5], next_observation[0], action, task)


def walker_2d(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return _velocity_and_height(next_observation[8], next_observation[0], action, task)


def _velocity_and_height(velocity: Array, height: Array, action: Array, task: Array) -> Array:
    error = jnp.abs(velocity - task[0]) + 5.0 * jnp.abs(height - task[1])
    return 10.0 - error - 1e-3 * jnp.sum(action**2)


def cheetah_linear(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    mean = jnp.array((*POSITION_MEAN, *VELOCITY_MEAN))
    deviation = jnp.array((*POSITION_DEVIATION, *VELOCITY_DEVIATION))
    return task @ ((next_observation - mean) / deviation) - 0.05 * jnp.sum(action**2)


_PLACES = ("x", "z", "pitch", "bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot")
_family = functools.partial(TaskFamily, horizon=200, source="Lin, Thomas, Yang, Ma 2020 (AdMRL)")
_ant = functools.partial(
    _family,
    body=ANT,
    terminal=ant_falls,
    terminal_text="height of the torso outside [0.2, 1] m",
    differs=(
        "the velocity is the new state's, not the finite difference of the torso's place over the step; the "
        "observation leaves out the torso's place and velocity, which positions and velocities already hold"
    ),
)

FAMILIES = (
    _ant(
        id="admrl/ant-2d",
        space=Box((-3.0, -3.0), (3.0, 3.0)),
        reward=ant_2d,
        task_labels=("velocity x (m/s)", "velocity y (m/s)"),
        reward_text="5.05 - |vx - ψ₁| - |vy - ψ₂| - 0.005 ‖a‖², v of the torso",
    ),
    _ant(
        id="admrl/ant-3d",
        space=Box((-3.0, -3.0, 0.4), (3.0, 3.0, 0.6)),
        reward=ant_3d,
        task_labels=("velocity x (m/s)", "velocity y (m/s)", "height (m)"),
        reward_text="3.05 - |vx - ψ₁| - |vy - ψ₂| - 30 |z - ψ₃| - 0.005 ‖a‖², of the torso",
    ),
    _family(
        id="admrl/hopper-2d",
        body=HOPPER,
        space=Box((-2.0, 1.2), (2.0, 2.0)),
        reward=hopper_2d,
        task_labels=("forward velocity (m/s)", "height (m)"),
        terminal=hopper_falls,
        differs="velocities are cut off at ±10 in the reward too, as in the observation",
        reward_text="10 - |vx - ψ₁| - 5 |z - ψ₂| - 0.001 ‖a‖², of the torso",
        terminal_text="height of the torso ≤ 0.7 m, |pitch| ≥ 0.2 rad or any |observation| ≥ 100",
    ),
    _family(
        id="admrl/walker-2d",
        body=WALKER,
        space=Box((-2.0, 1.0), (2.0, 1.8)),
        reward=walker_2d,
        task_labels=("forward velocity (m/s)", "height (m)"),
        terminal=walker_falls,
        differs="velocities are cut off at ±10 in the reward too, as in the observation",
        reward_text="10 - |vx - ψ₁| - 5 |z - ψ₂| - 0.001 ‖a‖², of the torso",
        terminal_text="height of the torso outside (0.8, 2) m or |pitch| ≥ 1 rad",
    ),
    _family(
        id="admrl/cheetah-linear",
        body=CHEETAH,
        space=Box((-1.0,) * 18, (1.0,) * 18),
        reward=cheetah_linear,
        task_labels=tuple(f"weight of {label}" for label in (*_PLACES, *(f"{place} rate" for place in _PLACES))),
        differs="nothing that is known",
        reward_text="ψ·(s' - μ)/σ - 0.05 ‖a‖², s' the new positions and velocities, μ and σ the released statistics",
    ),
)
