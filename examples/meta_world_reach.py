"""Meta-World's Sawyer reaches with its hand: reach-v3, with the goal as the task ψ = (x, y, z) (m).

pip install metaworld==3.0.0
onebody train omni examples/meta_world_reach.py:robots/meta-world-reach
"""

import gymnasium
import jax.numpy as jnp
import metaworld  # noqa: F401  registers Meta-World/MT1
import mujoco
import numpy as np
from metaworld.sawyer_xyz_env import SawyerMocapBase

import onebody


def reset_mocap_welds(self):  # metaworld 3.0.0 sets fewer numbers per weld than MuJoCo has
    welds = self.model.eq_type == mujoco.mjtEq.mjEQ_WELD
    self.model.eq_data[welds, :11] = [0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 5]


SawyerMocapBase.reset_mocap_welds = reset_mocap_welds
HAND = [0, 1, 2, 18, 19, 20]  # where it is, and where it was a step before


def make(**options):
    env = gymnasium.make("Meta-World/MT1", env_name="reach-v3", disable_env_checker=True, **options)
    box = gymnasium.spaces.Box(-np.inf, np.inf, (len(HAND),))
    return gymnasium.wrappers.TransformObservation(env, lambda observation: observation[HAND], box)


def reach(observation, action, next_observation, task):
    return -jnp.linalg.norm(next_observation[:3] - task)


onebody.register(
    onebody.from_gymnasium(
        make,
        id="robots/meta-world-reach",
        reward=reach,
        space=onebody.Box((-0.1, 0.8, 0.05), (0.1, 0.9, 0.3)),
        horizon=150,  # of Meta-World's 500 steps
        labels=("x (m)", "y (m)", "z (m)", "last x (m)", "last y (m)", "last z (m)"),
        reward_text="-‖hand - ψ‖ (m)",
    )
)
