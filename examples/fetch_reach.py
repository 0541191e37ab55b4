"""Fetch reaches with its gripper: FetchReach-v4 of gymnasium-robotics, with the goal as the task ψ = (x, y, z) (m).

pip install gymnasium-robotics==1.4.2
onebody train omni examples/fetch_reach.py:robots/fetch-reach --samples 5000
"""

import gymnasium
import gymnasium_robotics
import jax.numpy as jnp
from gymnasium_robotics.utils import mujoco_utils

import onebody

# gymnasium-robotics 1.4.2 finds joints in a way that MuJoCo no longer supports
for name in ("qpos", "qvel"):
    setattr(mujoco_utils, f"get_joint_{name}", lambda model, data, joint, n=name: getattr(data.joint(joint), n).copy())
    setattr(mujoco_utils, f"set_joint_{name}", lambda model, data, joint, x, n=name: setattr(data.joint(joint), n, x))
gymnasium.register_envs(gymnasium_robotics)


def make(**options):
    env = gymnasium.make("FetchReach-v4", **options)
    return gymnasium.wrappers.FlattenObservation(gymnasium.wrappers.FilterObservation(env, ["observation"]))


def reach(observation, action, next_observation, task):
    return -jnp.linalg.norm(next_observation[:3] - task)


onebody.register(
    onebody.from_gymnasium(
        make,
        id="robots/fetch-reach",
        reward=reach,
        space=onebody.Box((1.192, 0.599, 0.385), (1.492, 0.899, 0.685)),
        labels=(
            *("gripper x (m)", "gripper y (m)", "gripper z (m)", "right finger (m)", "left finger (m)"),
            *("gripper x (m/step)", "gripper y (m/step)", "gripper z (m/step)"),
            *("right finger (m/step)", "left finger (m/step)"),
        ),
        reward_text="-‖gripper - ψ‖ (m)",
    )
)
