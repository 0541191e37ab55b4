"""The single tasks of MB-MPO (Clavera et al. 2018): the robots of its released code, and a torque-controlled arm."""

import functools
from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array

from onebody.tasks.arm import ARM
from onebody.tasks.body import Feature, MujocoBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.robots import RLLAB, RLLAB_ANT, HeightOutside, robot
from onebody.tasks.space import ONE_TASK
from onebody.tasks.walkers import hopper_falls, hopper_forward, walker_falls, walker_forward

CHEETAH = MujocoBody(
    name="half-cheetah",
    mjcf=robot("half_cheetah", mass=14.0),
    frame_skip=1,
    observation=(Feature("qpos", slice(1, None)), Feature("qvel")),
    start=RLLAB,
)
ANT = MujocoBody(
    name="ant",
    mjcf=robot("ant"),
    frame_skip=2,
    observation=(Feature("qpos", slice(2, None)), Feature("qvel")),
    start=RLLAB_ANT,
)
HOPPER = MujocoBody(
    name="hopper",
    mjcf=robot("hopper", timestep=0.004),
    frame_skip=5,
    observation=(Feature("qpos", slice(1, None)), Feature("qvel", limit=10.0)),
    start=RLLAB,
)
WALKER = replace(HOPPER, name="walker2d", mjcf=robot("walker2d", timestep=0.004))
SWIMMER = replace(ANT, name="swimmer", mjcf=robot("swimmer"), frame_skip=1, start=RLLAB)
ant_falls = HeightOutside(0, 0.2, 1.0)


def cheetah_forward(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return next_observation[8] - 0.1 * jnp.sum(action**2)


def ant_forward(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return 1.0 + next_observation[13] - 0.005 * jnp.sum(action**2)


def swimmer_forward(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return next_observation[3] - 1e-4 * jnp.sum(action**2)


def reach(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return -jnp.sum(observation[14:17] ** 2) - 0.005 * jnp.sum(action**2)


_SOURCE = "Clavera et al. 2018 (MB-MPO)"
_RELEASED = f"{_SOURCE}, the released code"
_VELOCITY = "the velocity is that of the new state, which the source's models use too, not the mean over the step"
_single = functools.partial(TaskFamily, space=ONE_TASK, horizon=200, source=_RELEASED)

_CHEETAH = _single(
    id="mbmpo/half-cheetah",
    body=CHEETAH,
    reward=cheetah_forward,
    differs=_VELOCITY,
    reward_text="vx - 0.1 ‖a‖², v of the torso",
)

FAMILIES = (
    _CHEETAH,
    replace(_CHEETAH, id="mbmpo/half-cheetah-100", horizon=100, source=f"{_RELEASED}; horizon of Figure 4"),
    replace(_CHEETAH, id="mbmpo/half-cheetah-1000", horizon=1000, source=f"{_RELEASED}; horizon of Figure 5"),
    _single(
        id="mbmpo/ant",
        body=ANT,
        reward=ant_forward,
        terminal=ant_falls,
        differs=f"{_VELOCITY}; Gymnasium's file of the robot, whose contacts are harder than rllab's",
        reward_text="1 + vx - 0.005 ‖a‖², v of the torso",
        terminal_text="height of the torso outside [0.2, 1] m",
    ),
    _single(
        id="mbmpo/hopper",
        body=HOPPER,
        reward=hopper_forward,
        terminal=hopper_falls,
        differs=f"{_VELOCITY}, and is cut at ±10 m/s; Gymnasium's file of the robot with the source's time step",
        reward_text="1 + vx - 0.001 ‖a‖², v of the torso",
        terminal_text="height of the torso ≤ 0.7 m, |pitch| ≥ 0.2 rad or any |observation| ≥ 100",
    ),
    _single(
        id="mbmpo/walker2d",
        body=WALKER,
        reward=walker_forward,
        terminal=walker_falls,
        differs=f"{_VELOCITY}, and is cut at ±10 m/s; Gymnasium's file of the robot with the source's time step",
        reward_text="1 + vx - 0.001 ‖a‖², v of the torso",
        terminal_text="height of the torso outside (0.8, 2) m or |pitch| ≥ 1 rad",
    ),
    _single(
        id="mbmpo/swimmer",
        body=SWIMMER,
        reward=swimmer_forward,
        differs=_VELOCITY,
        reward_text="vx - 0.0001 ‖a‖², v of the foremost link's frame",
    ),
    _single(
        id="mbmpo/arm-reacher",
        body=ARM,
        reward=reach,
        source=f"{_SOURCE}: a PR2's arm that reaches for a place drawn anew each episode, without gravity",
        differs=(
            "an arm of our own with the PR2's lengths and joint limits; its masses, damping and shoulder's place are "
            "ours; it observes tip - goal, not goal - tip; the cost of torque is the released code's, a tenth of the "
            "paper's"
        ),
        reward_text="-‖tip - goal‖² - 0.005 ‖a‖², the distance before the step",
    ),
)
