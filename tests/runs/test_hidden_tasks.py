"""A robot that is not told its task and adapts to it in real time."""

import threading
import time

import jax
import numpy as np
import pytest

from onebody.core.errors import OnebodyError
from onebody.runs import evaluate, hidden, live, loaded, loop, policy_file
from onebody.runs.hidden import Adapting

TASK = np.array([0.5, -0.25], np.float32)


@pytest.fixture(scope="module")
def omni_hidden(tmp_path_factory):
    out = tmp_path_factory.mktemp("hidden") / "omni"
    return Adapting(loop.train("omni-hidden", "point/goal", preset="smoke", out=out, quiet=True))


@pytest.fixture(scope="module")
def pearl(tmp_path_factory):
    out = tmp_path_factory.mktemp("hidden") / "pearl"
    return Adapting(loop.train("pearl", "pearl/point", preset="smoke", out=out, quiet=True))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(live.Pace, "wait", lambda pace: None)


def after(robot, task, steps):
    """Let it adapt for some steps; returns the beliefs before the first one and after each of them."""
    beliefs, simulator = [], robot._simulator
    before, on_step = simulator.samples, simulator.on_step

    def watch(memory):
        on_step(memory)
        beliefs.append(robot.belief)

    simulator.on_step = watch
    try:
        robot.adapt(task, lambda: simulator.samples - before >= steps)
    finally:
        simulator.on_step = on_step
    return beliefs


def test_the_belief_narrows_around_the_task_within_an_episode(omni_hidden):
    prior = omni_hidden.belief
    beliefs = after(omni_hidden, TASK, 10)
    assert len(beliefs) == 10 and omni_hidden.infers and not omni_hidden.acting
    np.testing.assert_allclose(beliefs[0].mean, prior.mean, atol=1e-5)  # the first step has told nothing yet
    np.testing.assert_allclose(beliefs[0].log_std, prior.log_std, atol=1e-4)
    assert np.exp(beliefs[-1].log_std).max() < 0.2 * np.exp(prior.log_std).min()
    np.testing.assert_allclose(beliefs[-1].mean, TASK, atol=0.2)


def test_another_task_and_a_second_try_begin_with_the_prior(omni_hidden):
    after(omni_hidden, TASK, 5)
    tries = omni_hidden.tries
    for task in (TASK, -TASK):
        beliefs = after(omni_hidden, task, omni_hidden.family.horizon)
        assert np.exp(beliefs[0].log_std).min() > 0.3
        np.testing.assert_allclose(beliefs[-1].mean, task, atol=0.2)
    assert omni_hidden.tries == tries + 2


def test_it_adapts_as_the_algorithm_does(omni_hidden):
    """The first try has the key of `onebody adapt`."""
    robot = Adapting(omni_hidden._run.path)
    after(robot, TASK, 2 * robot.family.horizon + 1)
    run = loaded.load(robot._run.path)
    stages = evaluate.stages_of(run.algorithm, run.checkpoint.state, jax.device_put(TASK[None]), 2, run.record["seed"])
    *_, (expected, samples) = stages
    adapted, _ = robot._known
    assert samples == 2 * robot.family.horizon and len(robot.returns) == 2
    np.testing.assert_array_equal(adapted.belief.mean, expected.belief.mean)
    np.testing.assert_array_equal(adapted.policies.tasks, expected.policies.tasks)


def test_a_latent_is_inferred_after_each_episode(pearl, tmp_path):
    prior, horizon = pearl.belief, pearl.family.horizon
    beliefs = after(pearl, TASK, 2 * horizon + 1)
    assert not pearl.infers and prior.mean.shape == (5,)
    for belief in beliefs[:horizon]:
        np.testing.assert_array_equal(belief, prior)
    assert (beliefs[-1].log_std < prior.log_std).all()
    policy = policy_file.load(pearl.save(tmp_path / "policy.npz"))
    assert policy.about.task == tuple(TASK.tolist()) and policy.about.adaptation_samples == 2 * horizon


def test_after_the_last_stage_it_acts_with_what_it_has_learned(pearl, monkeypatch):
    monkeypatch.setattr(hidden, "LEARNING_STAGES", 1)
    after(pearl, TASK, 3 * pearl.family.horizon + 1)
    assert len(pearl.returns) == 3 and pearl._samples == pearl.family.horizon


def test_it_is_stopped_pushed_and_seen_while_it_acts(omni_hidden, monkeypatch):
    monkeypatch.undo()  # in real time
    stop = threading.Event()
    acting = threading.Thread(target=omni_hidden.adapt, args=(TASK, stop.is_set))
    acting.start()
    deadline = time.monotonic() + 60
    while not omni_hidden.acting or omni_hidden.achieved is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    before, began = omni_hidden._simulator.samples, time.monotonic()
    time.sleep(0.5)
    steps = omni_hidden._simulator.samples - before
    assert steps <= (time.monotonic() - began) / omni_hidden.family.body.dt + 5
    assert omni_hidden.pose.shape == omni_hidden.achieved.shape == (2,)
    stop.set()
    acting.join(timeout=30)
    assert not acting.is_alive() and not omni_hidden.acting


def test_a_push_moves_a_robot(tmp_path):
    run = loop.train("rl2", "smt/cheetah-vel", preset="smoke", out=tmp_path / "rl2", quiet=True)
    robot, task = Adapting(run), np.array([1.0], np.float32)
    assert robot.belief is None and hidden.is_hidden(run)
    after(robot, task, 3)
    before = robot.pose
    robot.push(1e3)
    after(robot, task, 3)
    assert np.abs(robot.pose - before).max() > 1.0 and not robot._simulator.pushes


def test_an_algorithm_without_a_belief_cannot_be_played(tmp_path):
    run = loop.train("maml", "point/goal", preset="smoke", out=tmp_path / "maml", quiet=True)
    with pytest.raises(OnebodyError, match="maml is not told the task, and has neither a belief about it nor a memory"):
        Adapting(run)
