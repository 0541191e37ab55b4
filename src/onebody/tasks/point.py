"""Point robots with closed-form dynamics: our own, for tests and tutorials, and those of MAML, PEARL and MB-MPO."""

import functools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from onebody.tasks.body import ClosedFormBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.pearl import SEED
from onebody.tasks.space import ONE_TASK, Arc, Box, Split


def move(position: Array, action: Array) -> Array:
    return position + 0.1 * action


def near_origin(rng: np.random.Generator, n: int) -> np.ndarray:
    """the origin + N(0, 0.01²)"""
    return 0.01 * rng.standard_normal((n, 2))


def at_origin(rng: np.random.Generator, n: int) -> np.ndarray:
    """the origin"""
    return np.zeros((n, 2))


def anywhere(rng: np.random.Generator, n: int) -> np.ndarray:
    """U[-1, 1]²"""
    return rng.uniform(-1.0, 1.0, (n, 2))


def far_away(rng: np.random.Generator, n: int) -> np.ndarray:
    """U[-2, 2]²"""
    return rng.uniform(-2.0, 2.0, (n, 2))


def distance(position: Array, goal: Array | float = 0.0) -> Array:
    return jnp.sqrt(jnp.sum((position - goal) ** 2) + 1e-12)


def distance_reward(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return -distance(next_observation, task)


def sparse_reward(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    to_goal = distance(next_observation, task)
    return jnp.where(to_goal <= RADIUS, 1.0 - to_goal, 0.0)


def origin_reward(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return -distance(next_observation)


def at_goal(next_observation: Array, task: Array) -> Array:
    return jnp.all(jnp.abs(next_observation - task) < 0.01)


def home(next_observation: Array, task: Array) -> Array:
    return jnp.all(jnp.abs(next_observation) < 0.01)


def position(observation: Array, next_observation: Array) -> Array:
    """The position (m) that a step reaches, for `TaskFamily.achieved`."""
    return next_observation


RADIUS = 0.2
"""largest distance (m) from the goal at which the sparse reward is not 0"""

_point = functools.partial(
    ClosedFormBody, name="point", dynamics=move, labels=("x (m)", "y (m)"), action_size=2, dt=0.1
)
POINT = _point(start=near_origin)


def _goals() -> np.ndarray:
    return np.random.RandomState(SEED).uniform(-1.0, 1.0, (100, 2))


def _half_circle() -> np.ndarray:
    angle = np.linspace(0.0, math.pi, 100)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)[np.random.RandomState(SEED).permutation(100)]


_SPARSE = functools.partial(
    TaskFamily,
    body=_point(start=at_origin),
    space=Split.of(Arc(math.pi), _half_circle(), 80, f"evenly spaced goals, shuffled with seed {SEED}"),
    horizon=20,
    source="Rakelly et al. 2019 (PEARL)",
)

FAMILIES = (
    TaskFamily(
        id="point/goal",
        body=POINT,
        space=Box((-1.0, -1.0), (1.0, 1.0)),
        reward=distance_reward,
        achieved=position,
        task_labels=("x (m)", "y (m)"),
        horizon=20,
        source="ours, after the point robot of Finn et al. 2017 (MAML): goals in [-1, 1]², 0.1 m a step and axis",
        reward_text="-‖position - ψ‖",
    ),
    TaskFamily(
        id="maml/point",
        body=_point(start=at_origin),
        space=Box((-0.5, -0.5), (0.5, 0.5)),
        reward=distance_reward,
        achieved=position,
        task_labels=("x (m)", "y (m)"),
        horizon=100,
        terminal=at_goal,
        source="Finn et al. 2017 (MAML)",
        differs="a step is said to last 0.1 s; the source gives it no duration",
        reward_text="-‖position - ψ‖",
        terminal_text="within 0.01 m of the goal on both axes",
    ),
    TaskFamily(
        id="mbmpo/point",
        body=_point(start=far_away),
        space=ONE_TASK,
        reward=origin_reward,
        horizon=30,
        terminal=home,
        source="Clavera et al. 2018 (MB-MPO), the released code's reward; the paper prints its square",
        differs="a step is said to last 0.1 s; the source gives it no duration",
        reward_text="-‖position‖",
        terminal_text="within 0.01 m of the origin on both axes",
    ),
    TaskFamily(
        id="pearl/point",
        body=_point(start=anywhere),
        space=Split.of(Box((-1.0, -1.0), (1.0, 1.0)), _goals(), 80, f"drawn once with seed {SEED}"),
        reward=distance_reward,
        achieved=position,
        task_labels=("x (m)", "y (m)"),
        horizon=20,
        source="Rakelly et al. 2019 (PEARL)",
        differs="a step is said to last 0.1 s",
        reward_text="-‖position - ψ‖",
    ),
    _SPARSE(
        id="pearl/sparse-point",
        reward=distance_reward,
        achieved=position,
        task_labels=("x (m)", "y (m)"),
        differs="a step is said to last 0.1 s",
        reward_text="-‖position - ψ‖ to train on; context and evaluation see the sparse reward of the test family",
        test=(
            sparse := _SPARSE(
                id="pearl/sparse-point-test",
                reward=sparse_reward,
                achieved=position,
                task_labels=("x (m)", "y (m)"),
                differs="a step is said to last 0.1 s",
                reward_text="1 - ‖position - ψ‖ within 0.2 m of the goal, else 0",
            )
        ),
    ),
    sparse,
)
