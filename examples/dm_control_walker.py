"""The walker of DeepMind Control, through Shimmy: walk at ψ (m/s), forwards or backwards, with the torso upright.

pip install dm-control==1.0.50 shimmy==2.0.1 imageio mujoco==3.17.0
onebody train omni examples/dm_control_walker.py:robots/dm-control-walker
"""

import gymnasium
import jax.numpy as jnp
import shimmy  # noqa: F401  registers dm_control/walker-walk-v0

import onebody


def make(**options):
    env = gymnasium.make("dm_control/walker-walk-v0", **options)
    return gymnasium.wrappers.FlattenObservation(env)  # height, orientations (14), velocity (9)


def walk(observation, action, next_observation, task):
    height, upright, velocity = next_observation[0], next_observation[2], next_observation[16]
    return 2.0 - jnp.abs(velocity - task[0]) - jnp.abs(1.2 - height) - (1.0 - upright)


onebody.register(
    onebody.from_gymnasium(
        make,
        id="robots/dm-control-walker",
        reward=walk,
        space=onebody.Box((-1.0,), (2.0,)),
        horizon=200,  # of DeepMind Control's 1,000 steps
        dt=0.025,
        reward_text="2 - |v - ψ| - |1.2 m - height| - (1 - cos tilt); v: forward velocity of the torso (m/s)",
    )
)
