import dataclasses
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from onebody.core.errors import OnebodyError
from onebody.tasks import registry
from onebody.tasks.family import TaskFamily, never
from onebody.tasks.smt import CHEETAH
from onebody.worlds.simulator import Simulator

FAMILIES = registry.families().values()


def random_steps(simulator, tasks, episodes, steps, seed=0):
    state, observation = simulator.reset(tasks, episodes, jax.random.split(jax.random.key(seed), len(tasks)))
    rng, rows = np.random.default_rng(seed), []
    for _ in range(steps):
        action = rng.uniform(-1.5, 1.5, (len(tasks), episodes, simulator.family.body.action_size)).astype(np.float32)
        state, observation, row = simulator.step(state, observation, action)
        rows.append(row)
    return jax.tree.map(lambda *x: np.stack(x), *rows)


def test_the_cheetah_is_gymnasiums(tmp_path, monkeypatch):
    """Its XML as it stands, compiled by MuJoCo (which warns of a deprecated attribute), has the same physics."""
    monkeypatch.chdir(tmp_path)  # the warning is also written to a file
    path = Path(gymnasium.__path__[0]) / "envs/mujoco/assets/half_cheetah.xml"
    theirs, ours = mujoco.MjModel.from_xml_path(str(path)), CHEETAH.model
    for name in ("body_mass", "body_inertia", "body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert ours.body_mass.sum() == pytest.approx(14.0)
    assert CHEETAH.dt == pytest.approx(0.01)


@pytest.mark.parametrize("name", [family.id for family in FAMILIES if family.terminal is never])
def test_samples_are_counted_and_episodes_end_at_the_horizon(name):
    simulator = Simulator(registry.make(name))
    tasks, horizon = simulator.family.space.sample(jax.random.key(0), 2), simulator.family.horizon
    transitions = random_steps(simulator, tasks, 3, horizon + 5)
    assert simulator.samples == 2 * 3 * (horizon + 5)
    ends = np.flatnonzero(transitions.truncated.all(axis=(1, 2)))
    assert ends.tolist() == [horizon - 1] and not transitions.terminated.any()
    # after an end a fresh episode begins; elsewhere the next step begins where the last one ended
    np.testing.assert_array_equal(transitions.observation[1:horizon], transitions.next_observation[: horizon - 1])
    assert (transitions.observation[horizon] != transitions.next_observation[horizon - 1]).any()


def test_the_simulators_of_a_family_share_their_programs():
    """Its reward and its formula are traced once."""
    point, traced = registry.make("point/goal"), []

    def reward(*inputs):
        traced.append("reward")
        return point.reward(*inputs)

    def dynamics(*inputs):
        traced.append("dynamics")
        return point.body.dynamics(*inputs)

    body = dataclasses.replace(point.body, dynamics=dynamics)
    family = dataclasses.replace(point, id="test/traced", body=body, reward=reward)
    rows = [random_steps(Simulator(family), jnp.zeros((2, 2)), 3, 2) for _ in range(2)]
    assert sorted(traced) == ["dynamics", "reward"]
    np.testing.assert_array_equal(rows[0].reward, rows[1].reward)


def test_same_key_same_initial_states_and_other_key_others():
    simulator = Simulator(registry.make("cheetah-vel"))
    tasks = jnp.zeros((2, 1))
    first, second, other = (
        simulator.reset(tasks, 2, jax.random.split(jax.random.key(seed), 2))[1] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    assert len(np.unique(first.reshape(4, -1)[:, 1])) == 4


def test_initial_states_of_a_task_do_not_depend_on_later_tasks():
    simulator, keys = Simulator(registry.make("cheetah-vel")), jax.random.split(jax.random.key(0), 3)
    two, three = (simulator.reset(jnp.zeros((n, 1)), 2, keys[:n])[1] for n in (2, 3))
    np.testing.assert_array_equal(two, three[:2])


def test_physics_that_explode_are_named_not_reset_in_silence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warning to a file
    simulator = Simulator(registry.make("cheetah-vel"))
    age, observation = simulator.reset(jnp.zeros((1, 1)), 2, jax.random.split(jax.random.key(0), 1))
    simulator._engine.qvel[1] = 1e12
    with pytest.raises(OnebodyError, match="observation is not finite at step"):
        for _ in range(3):
            age, observation, _ = simulator.step(age, observation, np.zeros((1, 2, 6), np.float32))


def test_a_reward_that_is_not_finite_is_named_with_family_and_step():
    good = registry.make("point/goal")
    broken = TaskFamily(
        id="broken/point", body=good.body, space=good.space, reward=lambda *x: jnp.log(-1.0 + 0 * x[1][0]), horizon=20
    )
    with pytest.raises(OnebodyError, match="broken/point: reward is not finite at step 1"):
        random_steps(Simulator(broken), jnp.zeros((1, 2)), 1, 3)
    simulator = Simulator(broken)
    step = lambda carry, action: ((s := simulator.step(*carry, action))[:2], s[2])  # noqa: E731
    start = simulator.reset(jnp.zeros((1, 2)), 1, jax.random.split(jax.random.key(0), 1))
    with pytest.raises(OnebodyError, match="broken/point: reward is not finite at step 1"):
        simulator.scan(step, start, np.zeros((3, 1, 1, 2), np.float32))


@pytest.mark.parametrize("name", [family.id for family in FAMILIES if family.terminal is never])
def test_rewards_asked_for_at_once_are_those_of_each_step(name):
    simulator = Simulator(registry.make(name))
    tasks, horizon = simulator.family.space.sample(jax.random.key(0), 2), simulator.family.horizon
    alone = random_steps(simulator, tasks, 3, horizon + 2)
    step = lambda carry, action: ((s := simulator.step(*carry, action))[:2], s[2])  # noqa: E731
    start = simulator.reset(tasks, 3, jax.random.split(jax.random.key(0), 2))
    _, together = simulator.scan(step, start, alone.action)
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_termination_begins_a_new_episode_at_once(point_with_wall):
    wall = point_with_wall(horizon=20)
    simulator = Simulator(wall)
    age, observation = simulator.reset(jnp.zeros((1, 2)), 1, jax.random.split(jax.random.key(0), 1))
    ends = []
    for _ in range(8):
        age, observation, row = simulator.step(age, observation, np.ones((1, 1, 2), np.float32))
        ends.append(bool(row.terminated[0, 0]))
        assert not row.truncated.any()
        assert not ends[-1] or abs(observation[0, 0, 0]) < 0.1
    assert sum(ends) >= 2
