"""Bodies that differ from task to task: models are told the body, and a hidden one is inferred from how it moves."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms.omni import omni, omni_hidden
from onebody.algorithms.omni.first_order import FirstOrderConfig
from onebody.learning.ensemble import EnsembleConfig
from onebody.tasks.body import Feature, MujocoBody, Start, Uniform
from onebody.tasks.family import TaskFamily
from onebody.tasks.space import Box
from onebody.worlds.simulator import Simulator

CART = MujocoBody(
    "cart",
    """<mujoco>
      <option timestep="0.02" gravity="0 0 0"/>
      <worldbody><body><joint name="x" type="slide" axis="1 0 0"/><geom size="0.1" mass="1"/></body></worldbody>
      <actuator><motor joint="x" ctrlrange="-1 1"/></actuator>
    </mujoco>""",
    frame_skip=5,
    observation=(Feature("qpos"), Feature("qvel")),
    start=Start(Uniform(0.5), Uniform(0.5)),
)
FAMILY = TaskFamily(
    "test/cart",
    CART,
    Box((0.5,), (2.0,)),
    lambda observation, action, next_observation, task: -jnp.abs(next_observation[0] - 1.0) - 0.1 * action[0] ** 2,
    horizon=30,
    physics=lambda task: {"body_mass": np.array([0.0, task[0]])},
    task_labels=("mass (kg)",),
)
"""A mass that is pushed to x = 1 m; the task is the mass, and no reward depends on it."""
CONFIG = omni.Config(
    n_iterations=3,
    real_episodes=60,
    n_model=1600,
    n_updates=50,
    model=EnsembleConfig(members=3, hidden=(64, 64), batch=128),
    policy=FirstOrderConfig(hidden=(32, 32), batch=32, window=5),
)
MASSES = jnp.array([[0.6], [1.0], [1.8]])


@pytest.fixture(scope="module")
def learned():
    algorithm = omni.OMNI(FAMILY, CONFIG, Simulator(FAMILY))
    state = algorithm.init(jax.random.key(0))
    for i in range(CONFIG.n_iterations):
        state, _ = algorithm.step(state, jax.random.key(i + 1))
    return state


def test_the_models_know_how_much_each_body_accelerates(learned):
    """A push of 1 N for 0.1 s changes the velocity by 0.1 / mass."""
    at_rest, push = jnp.zeros((len(MASSES), 2)), jnp.ones((len(MASSES), 1))
    predict = jax.jit(lambda model: model.predict(at_rest, FAMILY.model_action(push, MASSES)))
    change = np.asarray(predict(learned.model.module)).mean(0)[:, 1]
    np.testing.assert_allclose(change, 0.1 / np.asarray(MASSES)[:, 0], rtol=0.15)


def test_a_hidden_body_is_inferred_from_one_episode(learned):
    config = omni_hidden.Config(omni=CONFIG)
    algorithm = omni_hidden.OMNIHidden(FAMILY, config, Simulator(FAMILY))
    assert algorithm.init(jax.random.key(0)).data.size == 0
    stages = algorithm.adapt(learned, MASSES, jax.random.key(0))
    before, after = (next(stages).belief for _ in range(2))
    masses, spread = np.asarray(MASSES)[:, 0], np.exp(np.asarray(after.log_std))[:, 0]
    np.testing.assert_allclose(before.mean[:, 0], 1.25, atol=0.01)
    np.testing.assert_allclose(after.mean[:, 0], masses, rtol=0.15)
    assert (spread < 0.25 * np.exp(before.log_std[:, 0])).all()
    assert (np.abs(after.mean[:, 0] - masses) < 5 * spread + 0.05).all()


def test_a_belief_about_a_body_is_as_narrow_as_it_is_right(learned):
    """The mean ± 1.64 standard deviations holds the true mass of nine in ten bodies, or of more."""
    masses = jax.device_put(np.random.default_rng(0).uniform(0.5, 2.0, (40, 1)).astype(np.float32))
    algorithm = omni_hidden.OMNIHidden(FAMILY, omni_hidden.Config(omni=CONFIG), Simulator(FAMILY))
    stages = algorithm.adapt(learned, masses, jax.random.key(0))
    before, after = (next(stages).belief for _ in range(2))
    spread = np.exp(np.asarray(after.log_std))
    assert (np.abs(after.mean - masses) < 1.64 * spread).mean() >= 0.85
    assert spread.mean() < 0.6 * np.exp(before.log_std).mean()


def test_without_physics_the_same_models_would_not_be_told(learned):
    same = dataclasses.replace(FAMILY, physics=None)
    assert FAMILY.model_action_size == 2 and same.model_action_size == 1
    assert learned.data.action.shape[-1] == 2
