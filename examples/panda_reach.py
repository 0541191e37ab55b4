"""Panda reaches with its hand: PandaReach-v3 of panda-gym, with the goal as the task ψ = (x, y, z) (m).

pip install panda-gym==3.0.7
onebody train omni examples/panda_reach.py:robots/panda-reach --samples 10000
"""

import gymnasium
import jax.numpy as jnp
import panda_gym  # noqa: F401  registers PandaReach-v3

import onebody


def make(**options):
    env = gymnasium.make("PandaReach-v3", **options)
    return gymnasium.wrappers.FlattenObservation(gymnasium.wrappers.FilterObservation(env, ["observation"]))


def reach(observation, action, next_observation, task):
    return -jnp.linalg.norm(next_observation[:3] - task)


onebody.register(
    onebody.from_gymnasium(
        make,
        id="robots/panda-reach",
        reward=reach,
        space=onebody.Box((-0.15, -0.15, 0.0), (0.15, 0.15, 0.3)),
        dt=0.04,
        labels=("x (m)", "y (m)", "z (m)", "x rate (m/s)", "y rate (m/s)", "z rate (m/s)"),
        reward_text="-‖hand - ψ‖ (m)",
    )
)
