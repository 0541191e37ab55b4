"""MB-MPC: what it plans is best in its models, it is a deterministic policy, and it learns."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms import presets
from onebody.algorithms.mb_mpo import mb_mpc
from onebody.algorithms.mb_mpo.planning import PlanConfig
from onebody.cli import main
from onebody.core import random
from onebody.runs import evaluate
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

GOALS = registry.make("point/goal")
SMOKE = presets.preset("mb-mpc", "smoke")
LEARNS = dataclasses.replace(
    SMOKE,
    real_episodes=20,
    task=(0.5, 0.5),
    plan=PlanConfig(steps=4, candidates=100),
    model=dataclasses.replace(SMOKE.model, members=3, hidden=(64, 64), batch=64, epochs=30),
)
STILL, TASK = np.zeros((3, 2), np.float32), np.float32([0.5, 0.5])


@pytest.fixture(scope="module")
def trained():
    algorithm = mb_mpc.MBMPC(GOALS, LEARNS, Simulator(GOALS))
    state = algorithm.init(jax.random.key(0))
    for i in range(2):
        state, metrics = algorithm.step(state, jax.random.key(i))
    return algorithm, state, metrics


def test_it_learns_and_plans_for_another_task_without_a_sample(trained):
    """The guard that a later version still learns: random actions have about -25."""
    algorithm, state, metrics = trained
    assert metrics["real/return"] > -9.0
    tasks = jnp.array([[0.5, 0.5], [-0.7, 0.2]])
    before = algorithm.simulator.samples
    (zero, nothing), (_, used) = evaluate.stages_of(algorithm, state, tasks, 1, seed=5)
    assert nothing == 0 and used == LEARNS.real_episodes * GOALS.horizon == (algorithm.simulator.samples - before) // 2
    assert (evaluate.real_return(GOALS, zero.policies, tasks).mean(1) > -9.0).all()


def test_without_noise_it_is_deterministic_and_noise_draws_other_candidates(trained):
    algorithm, state, _ = trained
    planner = algorithm._planner(state)
    begun, silence = planner.memory((3,)), np.zeros((3, 1), np.float32)
    act = lambda memory, noise: eqx.filter_jit(planner)(STILL, TASK, memory, noise)  # noqa: E731
    (first, memory), (again, _) = act(begun, silence), act(begun, silence)
    first = np.asarray(first)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, act(begun, silence + 1)[0])
    later, _ = act(memory, silence)
    assert not np.array_equal(first, later)
    assert (np.abs(first) <= 1).all() and (first.mean(0) > 0.2).all()  # towards the goal


def test_a_plan_goes_on_with_the_rest_of_the_last_one(trained):
    _, state, _ = trained
    still = PlanConfig(method="icem", steps=4, candidates=20, deviation=1e-9, rounds=1)
    planner = mb_mpc.Planner(state.members, GOALS, still)
    keys, _ = planner.memory((3,))
    last = np.asarray(random.uniform(jax.random.key(1), (3, 4, 2), low=-1.0, high=1.0))
    action, (_, rest) = eqx.filter_jit(planner)(STILL, TASK, (keys, last), np.zeros((3, 1), np.float32))
    np.testing.assert_allclose(action, last[:, 0], atol=1e-6)
    np.testing.assert_allclose(rest, np.concatenate([last[:, 1:], np.zeros((3, 1, 2))], axis=1), atol=1e-6)


def first_action(planner):
    action, _ = eqx.filter_jit(planner)(STILL[:1], TASK, planner.memory((1,)), np.zeros((1, 1), np.float32))
    return np.asarray(action)[0]


@pytest.mark.parametrize("ends", [False, True])
def test_nothing_counts_after_a_predicted_end(trained, ends):
    """A step to the right is worth more, but ends the episode."""
    _, state, _ = trained
    family = dataclasses.replace(
        GOALS,
        reward=lambda observation, action, next_observation, task: 1.0 + next_observation[0],
        terminal=lambda next_observation, task: ends & (next_observation[0] > 0.03),
    )
    action = first_action(mb_mpc.Planner(state.members, family, PlanConfig(method="icem", steps=4, candidates=200)))
    assert (action[0] < 0.4) if ends else (action[0] > 0.6)


@pytest.mark.parametrize("discount", [0.0, 1.0])
def test_later_rewards_are_discounted(trained, discount):
    """Going right costs at once, and pays later."""
    _, state, _ = trained
    reward = lambda observation, action, next_observation, task: 100.0 * observation[0] - action[0]  # noqa: E731
    config = PlanConfig(steps=3, candidates=200, discount=discount)
    action = first_action(mb_mpc.Planner(state.members, dataclasses.replace(GOALS, reward=reward), config))
    assert (action[0] > 0.6) if discount else (action[0] < -0.6)


def test_a_planner_is_no_file(trained, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "mb-mpc", "point/goal", "--preset", "smoke", "--out", str(run), "--quiet"]) == 0
    assert main(["adapt", str(run), "--task", "0.5,0.5", "--save", str(tmp_path / "p.npz")]) == 2
    assert "it has no file" in capsys.readouterr().err
