"""Domain randomisation: robots that differ from episode to episode, in training alone."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import onebody
from onebody.core.errors import OnebodyError
from onebody.runs import folder
from onebody.tasks import registry
from onebody.tasks.limited import limited
from onebody.tasks.limits import Limits
from onebody.tasks.randomized import in_training, parse, randomized
from onebody.worlds.engines import MujocoEngine, innermost
from onebody.worlds.simulator import Simulator

PENDULUM = """
<mujoco>
  <worldbody>
    <body><joint name="angle" axis="0 1 0"/><geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.02" mass="2"/></body>
  </worldbody>
  <actuator><motor joint="angle" ctrlrange="-2 2" gear="3"/></actuator>
</mujoco>
"""
FAMILY = onebody.TaskFamily(
    "test/pendulum",
    onebody.MujocoBody("pendulum", PENDULUM, 5),
    onebody.Box((0.0,), (1.0,)),
    lambda observation, action, next_observation, task: -((next_observation[0] - task[0]) ** 2),
    horizon=5,
)
RANGES = {"mass": (0.5, 2.0), "motor": (1.0, 1.5)}


def robots(family, seed=0):
    """The simulator of 2 tasks × 50 episodes, its engine, ages and observations."""
    simulator = Simulator(family)
    keys = jax.random.split(jax.random.key(seed), 2)
    age, observation = simulator.reset(jnp.array([[0.2], [0.8]]), 50, keys)
    robot = innermost(simulator._engine)
    assert isinstance(robot, MujocoEngine)
    return simulator, robot, age, observation


def test_each_episode_has_a_robot_of_its_own():
    family = randomized(FAMILY, RANGES)
    simulator, robot, age, observation = robots(family)
    mass, inertia, gear = (robot.batch.expand(name) for name in ("body_mass", "body_inertia", "actuator_gear"))
    factor, first = mass[:, 1] / 2, mass[:, 1].copy()
    assert factor.min() > 0.5 and factor.max() < 2 and 0.3 < factor.std() < 0.6
    assert gear[:, 0, 0].min() > 3 and gear[:, 0, 0].max() < 4.5 and gear[:, 0, 0].std() > 0.3
    np.testing.assert_allclose(inertia[:, 1, 0] / inertia[0, 1, 0], factor / factor[0], rtol=1e-6)
    np.testing.assert_allclose(robot.batch.expand("body_subtreemass")[:, 1], mass[:, 1])
    np.testing.assert_array_equal(robots(family)[1].batch.expand("body_mass"), mass)
    for _ in range(4):
        age, observation, _ = simulator.step(age, observation, np.ones((2, 50, 1), np.float32))
    np.testing.assert_array_equal(mass[:, 1], first)
    age[0] = 0  # the episodes of the first task go on
    age, _, _ = simulator.step(age, observation, np.ones((2, 50, 1), np.float32))
    np.testing.assert_array_equal(mass[:50, 1], first[:50])
    assert (mass[50:, 1] != first[50:]).all()


def test_masses_of_the_task_are_multiplied():
    physics = lambda task: {"body_mass": np.array([0.0, 10 * task[0]])}  # noqa: E731
    mass = robots(randomized(replace(FAMILY, physics=physics), RANGES))[1].batch.expand("body_mass")[:, 1]
    assert (mass[:50] / 2).std() > 0.3 and (mass[:50] < 4).all() and (mass[50:] > 4).all() and mass[50:].max() > 8


def test_policies_are_tested_on_the_robot_as_it_is():
    nominal = robots(FAMILY)
    family = limited(FAMILY, Limits(latency=1))
    both = randomized(family, RANGES)
    assert both.limited is not None and both.limited.limits == family.body.limits and both.tested is family
    assert robots(both)[1].batch.expand("body_mass").std() > 0.1
    np.testing.assert_array_equal(robots(both.tested)[3][..., :2], nominal[3])


WRONG = {
    "only a MuJoCo body": (registry.make("point/goal"), RANGES),
    "is randomised already": (randomized(FAMILY, RANGES), {"damping": (1.0, 2.0)}),
    "give what to randomise": (FAMILY, {}),
    "cannot randomise 'mas'; did you mean 'mass'": (FAMILY, {"mas": (1.0, 2.0)}),
    "LOW to HIGH above 0": (FAMILY, {"mass": (2.0, 1.0)}),
    "pendulum has no damping": (FAMILY, {"damping": (1.0, 2.0)}),
}


@pytest.mark.parametrize(("message", "wrong"), WRONG.items(), ids=WRONG)
def test_what_cannot_be_randomised_is_refused(message, wrong):
    with pytest.raises(OnebodyError, match=message):
        randomized(*wrong)


def test_ranges_are_read_from_a_text():
    assert parse("mass=0.5:2, motor=1:1.5") == RANGES
    for text in ("mass", "mass=1", "mass=a:b"):
        with pytest.raises(OnebodyError, match="QUANTITY=LOW:HIGH"):
            parse(text)


def test_a_run_keeps_its_ranges(tmp_path):
    options, ranges = {"preset": "smoke", "samples": 0, "quiet": True}, {"mass": (0.5, 2.0)}
    run = onebody.train("random-search", "mbmpo/swimmer", out=tmp_path / "run", randomize=ranges, **options)
    record = folder.read_config(run)
    assert record["randomize"] == {"mass": [0.5, 2.0]} and "--randomize mass=0.5:2.0 " in folder.command(record) + " "
    nominal, trained = registry.make("mbmpo/swimmer"), folder.family_of(record)
    assert trained.body.factors == (("mass", 0.5, 2.0),) and trained.id == nominal.id
    assert trained is folder.family_of(record) and trained is in_training(nominal, trained.body.factors)
    assert folder.build(record, tested=True).family is nominal
    onebody.resume(run, quiet=True)
    with pytest.raises(OnebodyError, match=r"another run .*randomize"):
        onebody.train("random-search", "mbmpo/swimmer", out=run, **options)
    (run / "config.json").write_text(json.dumps(record | {"randomize": {"mass": [1]}}))
    with pytest.raises(OnebodyError, match=r"config\.json"):
        folder.read_config(run)
    plain = onebody.train("random-search", "mbmpo/swimmer", out=tmp_path / "plain", **options)
    assert "randomize" not in folder.read_config(plain)
