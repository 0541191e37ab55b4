"""The families of PEARL (Rakelly et al. 2019) as in its released code, with Gymnasium's robots and time steps.

Training and test tasks are fixed sets. Where the source samples tasks without a seed, ours uses the seed that the
source uses elsewhere.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from onebody.tasks.body import Feature, MujocoBody, Start, Uniform
from onebody.tasks.family import Physics, TaskFamily
from onebody.tasks.robots import GYM, SMALL, HeightOutside, robot
from onebody.tasks.space import Arc, Box, Disk, FiniteSet, Split
from onebody.tasks.walkers import hopper_falls, hopper_forward, walker_falls, walker_forward

SEED = 1337
CHEETAH = MujocoBody(
    name="half-cheetah",
    mjcf=robot("half_cheetah", ["place"], mass=14.0),
    frame_skip=5,
    observation=(Feature("qpos", slice(1, None)), Feature("qvel"), Feature("sensordata")),
    start=GYM,
)
ANT = MujocoBody(
    name="ant",
    mjcf=robot("ant"),
    frame_skip=5,
    observation=(Feature("qpos", slice(2, None)), Feature("qvel")),
    start=GYM,
)
PLACED_ANT = replace(ANT, name="ant with its place", observation=(Feature("qpos"), Feature("qvel")))
HUMANOID = MujocoBody(
    name="humanoid",
    mjcf=robot("humanoid", ["velocity"]),
    frame_skip=5,
    observation=(
        Feature("qpos", slice(2, None)),
        Feature("qvel"),
        Feature("cinert", slice(10, None)),
        Feature("cvel", slice(6, None)),
        Feature("sensordata", slice(0, 2)),
    ),
    start=Start(Uniform(0.01), Uniform(0.01)),
)
WALKER = MujocoBody(
    name="walker2d",
    mjcf=robot("walker2d", timestep=0.004),
    frame_skip=4,
    observation=(Feature("qpos", slice(1, None)), Feature("qvel", limit=10.0)),
    start=SMALL,
)
HOPPER = replace(WALKER, name="hopper", mjcf=robot("hopper", timestep=0.004))
ant_falls, humanoid_falls = HeightOutside(0, 0.2, 1.0), HeightOutside(0, 1.0, 2.0)


def _forward_velocity(observation: Array, next_observation: Array) -> Array:
    """The half-cheetah's mean velocity over a step (m/s)."""
    return (next_observation[17] - observation[17]) / 0.05


def cheetah_velocity(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return -jnp.abs(_forward_velocity(observation, next_observation) - task[0]) - 0.05 * jnp.sum(action**2)


def cheetah_direction(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return task[0] * _forward_velocity(observation, next_observation) - 0.05 * jnp.sum(action**2)


def ant_direction(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return 1.0 + task[0] * next_observation[13] - 0.5 * jnp.sum(action**2)


def ant_direction_2d(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return 1.0 + next_observation[13:15] @ task - 0.5 * jnp.sum(action**2)


def ant_goal(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return -jnp.sum(jnp.abs(next_observation[:2] - task)) - 0.1 * jnp.sum(action**2)


def humanoid_direction(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
    return 5.0 + 1.25 * next_observation[-2:] @ task - 0.1 * jnp.sum((0.4 * action) ** 2)


def direction(velocity: Array) -> Array:
    """Unit vector [2] of the direction of a velocity on the ground."""
    return velocity / jnp.maximum(jnp.linalg.norm(velocity), 1e-9)


_VARIED = (("body_mass", 1.5), ("body_inertia", 1.5), ("dof_damping", 1.3), ("geom_friction", 1.5))
"""fields of MjModel that vary, and the bases of their factors; the world body is left out, as it has no mass"""


def random_parameters(body: MujocoBody) -> Physics:
    """Physics with each element of mass, inertia, damping and friction times base^ψ, in the order of `_VARIED`."""

    def physics(task: Float[np.ndarray, " feature"]) -> Mapping[str, np.ndarray]:
        fields, begin = {}, 0
        for name, base in _VARIED:
            values = np.array(getattr(body.model, name))
            varied = values[1:] if name.startswith("body") else values
            end = begin + varied.size
            varied *= base ** task[begin:end].astype(float).reshape(varied.shape)
            fields[name], begin = values, end
        return fields

    return physics


def _exponents(bodies: int, joints: int, geoms: int) -> tuple[str, ...]:
    """Task labels in the order of MuJoCo's arrays; the root's three joints have no damping, so theirs do nothing."""
    counts = {"mass": bodies, "inertia": 3 * bodies, "damping": joints, "friction": 3 * geoms}
    return tuple(f"exponent of {name} {i}" for name, count in counts.items() for i in range(count))


def _uniform(n: int, columns: int, low: float, high: float) -> np.ndarray:
    return np.random.RandomState(SEED).uniform(low, high, (n, columns))


def _directions(n_train: int, n_test: int) -> Split:
    angle = _uniform(n_train + n_test, 1, 0.0, 2 * math.pi)
    tasks = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    return Split.of(Arc(), tasks, n_train, f"angles drawn once with seed {SEED}")


def _goals(n_train: int, n_test: int) -> Split:
    angle, root = _uniform(n_train + n_test, 2, 0.0, 1.0).T
    distance = 3.0 * np.sqrt(root)
    tasks = np.stack([distance * np.cos(2 * np.pi * angle), distance * np.sin(2 * np.pi * angle)], axis=1)
    return Split.of(Disk(3.0), tasks, n_train, f"drawn once with seed {SEED}")


def _parameters(n: int) -> Split:
    space = Box((-3.0,) * n, (3.0,) * n)
    return Split.of(space, _uniform(50, n, -3.0, 3.0), 40, f"drawn once with seed {SEED}")


_PEARL = "Rakelly et al. 2019 (PEARL)"
_PARAMETERS_DIFFER = (
    "Gymnasium's file with the source's time step, where the source's cannot be read by today's MuJoCo; the velocity "
    "is that of the new state, cut at ±10 m/s, not the mean over the step; what MuJoCo derives from masses is computed "
    "anew, which the source leaves out; the draw of tasks, unseeded there"
)
_NO_CONTACTS = (
    "no cost of contact forces (5e-4 of their squared norm, each cut at ±1); the velocity is that of the new state, "
    "not the mean over the step"
)
_NEW_PLACE = "the torso's place is the new state's, where MuJoCo 2.0's lags a physics step"

FAMILIES = (
    TaskFamily(
        id="pearl/cheetah-vel",
        body=CHEETAH,
        space=Split.of(Box((0.0,), (3.0,)), _uniform(130, 1, 0.0, 3.0), 100, f"drawn once with seed {SEED}"),
        reward=cheetah_velocity,
        achieved=lambda observation, next_observation: _forward_velocity(observation, next_observation)[None],
        task_labels=("forward velocity (m/s)",),
        horizon=200,
        source=_PEARL,
        differs=_NEW_PLACE,
        reward_text="-|Δx/dt - ψ| - 0.05 ‖a‖², x of the torso",
    ),
    TaskFamily(
        id="pearl/cheetah-dir",
        body=CHEETAH,
        space=FiniteSet(((-1.0,), (1.0,))),
        reward=cheetah_direction,
        achieved=lambda observation, next_observation: jnp.sign(_forward_velocity(observation, next_observation))[None],
        task_labels=("direction, 1 is forward",),
        horizon=200,
        source=_PEARL,
        differs=_NEW_PLACE,
        reward_text="ψ Δx/dt - 0.05 ‖a‖², x of the torso",
    ),
    TaskFamily(
        id="pearl/ant-dir",
        body=ANT,
        space=FiniteSet(((-1.0,), (1.0,))),
        reward=ant_direction,
        achieved=lambda observation, next_observation: jnp.sign(next_observation[13:14]),
        task_labels=("direction, 1 is forward",),
        horizon=200,
        terminal=ant_falls,
        source=f"{_PEARL}: forward and backward, as in the paper",
        differs=_NO_CONTACTS,
        reward_text="1 + ψ vx - 0.5 ‖a‖², v of the torso",
        terminal_text="height of the torso outside [0.2, 1] m",
    ),
    TaskFamily(
        id="pearl/ant-dir-2d",
        body=ANT,
        space=_directions(100, 30),
        reward=ant_direction_2d,
        achieved=lambda observation, next_observation: direction(next_observation[13:15]),
        task_labels=("direction x", "direction y"),
        horizon=200,
        terminal=ant_falls,
        source=f"{_PEARL}: its ant that runs in any direction of the plane",
        differs=f"{_NO_CONTACTS}; the numbers of tasks are those of its humanoid, and their draw is unseeded there",
        reward_text="1 + v·ψ - 0.5 ‖a‖², v of the torso on the ground",
        terminal_text="height of the torso outside [0.2, 1] m",
    ),
    TaskFamily(
        id="pearl/ant-goal",
        body=PLACED_ANT,
        space=_goals(150, 30),
        reward=ant_goal,
        achieved=lambda observation, next_observation: next_observation[:2],
        task_labels=("x (m)", "y (m)"),
        horizon=200,
        source=_PEARL,
        differs=(
            "no contact forces: neither in the observation, where MuJoCo 2.0 left them zero, nor as a cost; the draw "
            "of tasks, unseeded there"
        ),
        reward_text="-|x - ψ₁| - |y - ψ₂| - 0.1 ‖a‖², place of the torso",
    ),
    TaskFamily(
        id="pearl/humanoid-dir",
        body=HUMANOID,
        space=_directions(100, 30),
        reward=humanoid_direction,
        achieved=lambda observation, next_observation: direction(next_observation[-2:]),
        task_labels=("direction x", "direction y"),
        horizon=200,
        terminal=humanoid_falls,
        source=_PEARL,
        differs=(
            "no contact forces: neither in the observation nor as a cost (at most 10 a step); the velocity of the "
            "centre of mass is that of the new state, not the mean over the step, and stands in the observation; "
            "actuator forces, which are the last action's, do not, nor the world's rows of cinert and cvel, which are "
            "zero; the draw of tasks, unseeded there"
        ),
        reward_text="5 + 1.25 v·ψ - 0.1 ‖0.4 a‖², v of the centre of mass on the ground",
        terminal_text="height of the torso outside [1, 2] m",
    ),
    TaskFamily(
        id="pearl/walker-params",
        body=WALKER,
        space=_parameters(61),
        reward=walker_forward,
        task_labels=_exponents(bodies=7, joints=9, geoms=8),
        horizon=200,
        terminal=walker_falls,
        physics=random_parameters(WALKER),
        source=f"{_PEARL}: masses, inertias and frictions × 1.5^ψ, damping × 1.3^ψ, element by element",
        differs=_PARAMETERS_DIFFER,
        reward_text="1 + vx - 0.001 ‖a‖², v of the torso",
        terminal_text="height of the torso outside (0.8, 2) m or |pitch| ≥ 1 rad",
    ),
    TaskFamily(
        id="pearl/hopper-params",
        body=HOPPER,
        space=_parameters(37),
        reward=hopper_forward,
        task_labels=_exponents(bodies=4, joints=6, geoms=5),
        horizon=200,
        terminal=hopper_falls,
        physics=random_parameters(HOPPER),
        source=f"{_PEARL}: masses, inertias and frictions × 1.5^ψ, damping × 1.3^ψ, element by element",
        differs=_PARAMETERS_DIFFER,
        reward_text="1 + vx - 0.001 ‖a‖², v of the torso",
        terminal_text="height of the torso ≤ 0.7 m, |pitch| ≥ 0.2 rad or any |observation| ≥ 100",
    ),
)
