"""The gallery of foreign bodies: its formulas against mechanics, and OMNI on each of them."""

import contextlib
import dataclasses
import io
import runpy

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from customs import ROOT, forgotten

import onebody
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

NAMES = [
    "pendulum",
    "double-pendulum",
    "double-pendulum-9",
    "reacher",
    "pusher",
    "quadrotor",
    "crane",
    "press",
    "swimmer",
    "plate",
]


@pytest.fixture(scope="module")
def gallery():
    """What the file defines, and what registering its families said; they are known while these tests run."""
    with forgotten(), contextlib.redirect_stderr(io.StringIO()) as said:
        yield runpy.run_path(str(ROOT / "examples/gallery.py")) | {"said": said.getvalue()}


def steps(family, task, actions):
    """The transitions of one episode with actions [time, action]."""
    simulator = Simulator(family)
    age, observation = simulator.reset(jnp.array([task]), 1, jax.random.split(jax.random.key(0), 1))
    rows = []
    for action in actions:
        age, observation, row = simulator.step(age, observation, np.array(action, np.float32)[None, None])
        rows.append(row)
    return jax.tree.map(lambda *x: np.stack(x)[:, 0, 0], *rows)


def test_all_families_register_and_only_the_dead_column_is_noted(gallery):
    assert [family.id for family in gallery["FAMILIES"]] == [f"gallery/{name}" for name in NAMES]
    assert registry.families().keys() >= {f"gallery/{name}" for name in NAMES}
    assert gallery["said"].count("\n") == 1
    assert "family gallery/double-pendulum-9: column 8 (rail's force (N)) never varied" in gallery["said"]


def test_the_double_pendulum_falls_where_the_environment_says_so(gallery):
    env = gymnasium.make("InvertedDoublePendulum-v5")
    family, rng, falls = gallery["double_pendulum_9"], np.random.default_rng(0), 0
    for seed in range(20):
        observation, ended = env.reset(seed=seed)[0], False
        while not ended:
            observation, _, ended, _, _ = env.step(rng.uniform(-1, 1, 1))
            mujoco.mj_kinematics(env.unwrapped.model, env.unwrapped.data)
            row, height = observation.astype(np.float32), env.unwrapped.data.site_xpos[0][2]
            assert gallery["tip_height"](row) == pytest.approx(height, abs=1e-6)
            assert bool(family.terminal(row, None)) >= ended
            assert bool(family.terminal(row, None)) == ended or height < 1.0011
            falls += ended
    assert falls == 20
    env.close()


def test_the_quadrotor_hovers_without_action_and_falls_as_a_stone_would(gallery):
    fly, family = gallery["fly"], gallery["quadrotor"]
    hovering = np.array([0.3, 1.0, 0.0, 0.0, 0.0, 0.0], np.float32)
    np.testing.assert_array_equal(fly(hovering, np.zeros(2)), hovering)
    assert float(family.reward(hovering, np.zeros(2), hovering, np.array([0.3, 1.0]))) == pytest.approx(2.0)
    # full thrust of one rotor, lying on the side: 5 steps of 0.01 s, before drag matters
    on_its_side = np.array([0.0, 1.0, np.pi / 2, 0.0, 0.0, 0.0], np.float32)
    _, _, _, vx, vz, rate = fly(on_its_side, np.array([1.0, -1.0]))
    assert float(rate) == pytest.approx(-0.05 * 0.2 * 2 * (9.81 / 2 * 0.25) / 0.03, rel=1e-5)
    assert float(vx) == pytest.approx(-0.05 * 9.81, rel=0.02) and float(vz) == pytest.approx(-0.05 * 9.81, rel=0.05)
    assert bool(family.terminal(on_its_side, None)) and not bool(family.terminal(hovering, None))
    assert bool(family.terminal(hovering - np.array([0, 1.01, 0, 0, 0, 0], np.float32), None))


def test_the_cranes_load_hangs_at_the_end_of_its_rope(gallery):
    rng = np.random.default_rng(0)
    transitions = steps(gallery["crane"], (0.5, 1.2), rng.uniform(-1, 1, (30, 2)))
    trolley, swing, rope, *_, x, z = transitions.next_observation.T
    assert np.ptp(swing) > 0.1 and np.ptp(rope) > 0.02
    np.testing.assert_allclose(x, trolley + rope * np.sin(swing), atol=1e-5)
    np.testing.assert_allclose(z, 2.0 - rope * np.cos(swing), atol=1e-5)
    away = np.hypot(np.hypot(x - 0.5, z - 1.2), 0.02) - 0.02
    np.testing.assert_allclose(transitions.reward, -away - 0.01 * (transitions.action**2).sum(1), atol=1e-5)


def test_the_pressing_arms_force_balances_its_torques(gallery):
    """At rest on the table, with lengths l and joint angles q: torque = -Jᵀ (friction, normal force)."""
    torque = np.array([0.2, 0.0])
    transitions = steps(gallery["press"], (0.3, 5.0), np.tile(torque, (100, 1)))
    q1, q2, *rates, force, x, z = transitions.next_observation[-1]
    assert np.abs(rates).max() < 1e-3
    assert x == pytest.approx(0.3 * (np.cos(q1) + np.cos(q1 + q2)), abs=1e-5)
    assert z == pytest.approx(0.35 - 0.3 * (np.sin(q1) + np.sin(q1 + q2)), abs=1e-5)
    both, outer = np.array([-np.sin(q1), -np.cos(q1)]) * 0.3, np.array([-np.sin(q1 + q2), -np.cos(q1 + q2)]) * 0.3
    jacobian = np.stack([both + outer, outer], axis=1)  # of (x, z), a column a joint
    _, normal = np.linalg.solve(jacobian.T, -torque * [8.0, 4.0])
    assert force == pytest.approx(normal, rel=0.02) and 1.0 < force < 40.0
    assert transitions.reward[-1] == pytest.approx(
        -5 * (np.hypot(x - 0.3, 0.02) - 0.02) - 0.1 * (np.hypot(force - 5, 0.02) - 0.02) - 0.01 * (torque**2).sum(),
        abs=1e-4,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_omni_trains_and_adapts(gallery, name, tmp_path):
    family = onebody.make(f"gallery/{name}")
    config = dataclasses.replace(onebody.preset("omni", "smoke"), n_iterations=2)
    run = onebody.train("omni", family, preset="smoke", config=config, out=tmp_path / "run", quiet=True)
    adapted = onebody.adapt(run, task=np.asarray(family.space.held_out(1))[0].tolist())
    assert np.isfinite([adapted.predicted_return, adapted.real_return]).all()
