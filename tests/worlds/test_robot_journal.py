"""The journal of a robot: what it did is not lost, and is repeated without a move of the robot."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import onebody
from onebody.core.errors import BodyFailed, OnebodyError
from onebody.learning.policies import UniformPolicy, for_each
from onebody.runs import checkpoint, folder, journal
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator
from tests.faults import fake_robot
from tests.worlds.carts import HORIZON, TASKS, acted, book, carts, fails, stops

pytestmark = pytest.mark.usefixtures("nothing_leaks", "closed")


def test_a_robot_with_limits_keeps_them_and_so_does_its_journal():
    family, told = carts({4: fails}, copies=1)
    family = onebody.limited(family, onebody.Limits(action_high=0.5, action_rate=0.25))

    def lived():
        simulator = Simulator(family)
        assert simulator.robot is not None
        simulator.robot.journal = book(observation_size=3)
        explorers = for_each(UniformPolicy(1), len(TASKS))
        return jax.tree.map(np.asarray, rollout(simulator, explorers, TASKS, jax.random.key(1), episodes=1))

    with pytest.raises(BodyFailed):
        lived()
    seen = lived()
    command, after = seen.observation[..., 2], seen.next_observation[..., 2]
    received = (seen.next_observation[..., 1] - seen.observation[..., 1]) / 0.2  # of the motor's range
    np.testing.assert_allclose(received, after, atol=1e-5)
    assert after.max() <= 0.5 and np.abs(after - command).max() == pytest.approx(0.25)
    assert seen.truncated[0, 3] and not command[0, 4].any()  # it has begun again
    steps = told.count("step")
    for there, here in zip(seen, lived(), strict=True):
        np.testing.assert_array_equal(here, there)
    assert told.count("step") == steps == 2 * HORIZON


@pytest.mark.parametrize("accident", [fails, stops])
def test_an_episode_that_is_stopped_or_fails_ends_there_and_is_kept(accident, capsys):
    undisturbed, _ = acted(carts(copies=1)[0])
    family, told = carts({2: accident}, copies=1)
    record = book()
    if accident is fails:
        with pytest.raises(BodyFailed, match="ValueError: motor 3 is hot"):
            acted(family, record)
        assert told.count("step") == 2
        record = book()
        assert [entry.kind for entry in record.recorded] == ["reset", "step", "step", "stop"]
    transitions, simulator = acted(family, record)
    assert told.count("step") == simulator.samples == 2 * HORIZON and simulator.cut == 0
    assert simulator.robot.timing.stops == (accident is stops)
    np.testing.assert_array_equal(transitions.observation[0, :2], undisturbed.observation[0, :2])
    assert transitions.truncated[0, :3, 0].tolist() == [False, True, False]
    np.testing.assert_array_equal(transitions.observation[1], undisturbed.observation[1])
    again, simulator = acted(family, book())  # without a move
    assert told.count("step") == simulator.samples == 2 * HORIZON and capsys.readouterr().err == ""
    for there, here in zip(transitions, again, strict=True):
        np.testing.assert_array_equal(here, there)


def test_what_the_journal_says_of_another_iteration_or_of_another_policy(capsys):
    family, _ = carts(copies=1)
    acted(family, book())
    lines = Path(journal.NAME).read_bytes()
    entries = book().recorded
    assert len(entries) == lines.count(b"\n") and entries[-1].kind == "stop"
    Path(journal.NAME).write_bytes(lines[:-5])  # a line that was not finished
    assert [entry.kind for entry in book().recorded][-3:] == ["step", "step", "stop"]
    assert len(book().recorded) == len(entries) - 1
    robot_moved = json.loads(lines.splitlines()[2])
    changed = lines.replace(json.dumps(robot_moved["step"])[1:-1].encode(), b"0.125", 1)
    Path(journal.NAME).write_bytes(changed)
    transitions, _ = acted(family, book())
    assert transitions.action[0, 0, 0] == 0.125 and "differ from the recorded ones" in capsys.readouterr().err
    Path(journal.NAME).write_bytes(lines.replace(b"}\n", b"\n", 4))
    assert not book().recorded
    assert "line 1 of robot.jsonl is damaged" in capsys.readouterr().err
    Path(journal.NAME).write_bytes(damaged := lines.replace(b'"ended"', b'"over"', 1))
    assert not book().recorded and "line 3 of robot.jsonl is damaged" in capsys.readouterr().err
    assert Path("robot-damaged.jsonl").read_bytes() == damaged
    Path(journal.NAME).write_bytes(lines)
    assert not book(observation_size=3).recorded and Path("robot-damaged.jsonl").read_bytes() == lines
    said = "line 2 of robot.jsonl has an observation of 2 numbers, and the family now has 3, as with other limits"
    assert said in capsys.readouterr().err
    Path(journal.NAME).write_bytes(lines)
    assert not book(2).recorded and Path(journal.NAME).read_text() == '{"iteration": 2}\n'


TRAIN = """
import tests.conftest
from pathlib import Path
from tests.worlds import test_robot_journal
test_robot_journal.train(Path("robot.log"))
"""


def train(log):
    """One iteration of four episodes of the robot in its own process, at 50 Hz."""
    family = fake_robot.register(log, horizon=25)
    config = onebody.preset("omni", "smoke", family.id)
    return onebody.train("omni", family, config=config, samples=100, out="run", quiet=True)


def test_a_killed_training_loses_at_most_the_step_under_way(capsys):
    log = Path("robot.log")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", TRAIN], env=environment) as process:
        deadline = time.monotonic() + 120
        while not log.exists() or len(fake_robot.executed(log)) < 35:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    time.sleep(0.1)
    before = len(fake_robot.executed(log))
    assert before < 50  # in the second episode
    train(log)
    said = capsys.readouterr().err
    executed = np.float32([step["action"] for step in fake_robot.executed(log)])
    state = checkpoint.latest(Path("run"), folder.structure(record := folder.read_config(Path("run"))), print).state
    kept = np.clip(state.data.action[: int(state.data.size), 0], -1.0, 1.0)
    assert record["samples"] == len(kept) == 100 and len(executed) - 100 in (0, 1)
    taken = before - (len(executed) - 100)
    assert f"{taken} steps of iteration 1 are taken from robot.jsonl" in said
    np.testing.assert_array_equal(kept[:taken], executed[:taken])
    np.testing.assert_array_equal(kept[taken:], executed[before:])
    assert np.flatnonzero(state.data.done[:100])[:3].tolist() == sorted([24, taken - 1, 49])
    policy = onebody.adapt("run", 0.5)
    assert np.isnan(policy.real_return) and policy.achieved is None and "real return" not in str(policy)
    assert len(fake_robot.executed(log)) == len(executed)
    with pytest.raises(OnebodyError, match="--real-episodes"):
        onebody.adapt("run", 0.5, untrained=True)
    with pytest.raises(OnebodyError, match=r"1,600 episodes would move the one environment .* --tasks 2"):
        onebody.evaluate("run")
    with pytest.raises(OnebodyError, match="110 episodes would move the one environment"):
        onebody.evaluate("run", onebody.MetaTest(tasks=11, stages=0))
