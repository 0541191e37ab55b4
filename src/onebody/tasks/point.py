"""Point robots: closed-form dynamics, for tests and tutorials."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from onebody.tasks.family import Box, ClosedFormBody, TaskFamily


def move(position: Array, action: Array) -> Array:
    return position + 0.1 * action


def near_origin(rng: np.random.Generator, n: int) -> np.ndarray:
    return 0.01 * rng.standard_normal((n, 2))


def distance_reward(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return -jnp.sqrt(jnp.sum((next_observation - task) ** 2) + 1e-12)


POINT = ClosedFormBody(name="point", dynamics=move, labels=("x (m)", "y (m)"), action_size=2, reset=near_origin, dt=0.1)

FAMILIES = (
    TaskFamily(
        id="point/goal",
        body=POINT,
        space=Box((-1.0, -1.0), (1.0, 1.0)),
        reward=distance_reward,
        horizon=20,
        source="ours, after the point robot of Finn et al. 2017 (MAML): goals in [-1, 1]², 0.1 m a step and axis",
        summary="-‖position - ψ‖",
    ),
)
