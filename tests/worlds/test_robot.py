"""One robot, or one simulator process: an environment of which there is only one, and what it did is not lost."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import onebody
from onebody.core.errors import BodyFailed, EmergencyStop, NotFinite, OnebodyError
from onebody.core.nets import Normalizer
from onebody.learning.policies import Exploring, GaussianPolicy, UniformPolicy, for_each
from onebody.runs import checkpoint, folder, hidden, journal, tuning
from onebody.worlds import robot
from onebody.worlds.custom import from_gymnasium
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import SINGLE_STARTS, Simulator
from tests.faults import fake_robot

pytestmark = pytest.mark.usefixtures("nothing_leaks", "closed")
HORIZON = 6
TASKS = jnp.array([[0.3], [-0.3]])


@pytest.fixture
def closed():
    """The environment of a test is not the next test's."""
    with robot.released():
        yield


class Cart(gymnasium.Env):
    """A cart that says what it is told, and has its accidents at chosen steps of all carts together."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float32)
    dt = 0.1
    told: list
    accidents: dict

    def __init__(self):
        self.told.append("make")

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.told.append("reset")
        self.state = self.np_random.uniform(-0.1, 0.1, 2).astype(np.float32)
        return self.state, {}

    def step(self, action):
        accident = self.accidents.pop(Counter(self.told)["step"], None)
        if accident is not None and (result := accident()) is not None:
            return result
        self.told.append("step")
        self.state = self.state + np.float32(0.1) * np.concatenate([self.state[1:], action])
        return self.state, 0.0, False, False, {}

    def close(self):
        self.told.append("close")


def carts(accidents=None, **options):
    """A family with carts, and all that they are told."""
    kind = type("Own", (Cart,), {"told": [], "accidents": accidents or {}})
    family = from_gymnasium(
        kind,
        reward=lambda observation, action, next_observation, task: -jnp.abs(next_observation[0] - task[0]),
        terminal=lambda next_observation, task: jnp.abs(next_observation[1]) > 0.25,
        space=onebody.Box((-1.0,), (1.0,)),
        id="robot/cart",
        horizon=HORIZON,
        **options,
    )
    return family, kind.told


@jax.jit
def policies(key):
    return for_each(GaussianPolicy(key, (4,), Normalizer(2), 1), len(TASKS))


def acted(family, record=None, episodes=1):
    """Transitions of exploring policies, and the simulator; `record`: its journal."""
    simulator = Simulator(family)
    if record is not None:
        simulator.robot.journal = record
    explorers = Exploring(policies(jax.random.key(0)), jnp.array([1.0, 0.5]))
    transitions = rollout(simulator, explorers, TASKS, jax.random.key(1), episodes=episodes)
    return jax.tree.map(np.asarray, transitions), simulator


def fails():
    raise ValueError("motor 3 is hot")


def stops():
    raise EmergencyStop


def book(iteration=1, observation_size=2):
    return journal.Journal(Path(), iteration, (observation_size, 1))


def test_slots_one_after_the_other_are_the_slots_of_a_batch():
    batch, _ = acted(carts()[0])
    family, told = carts(copies=1)
    in_turn, simulator = acted(family)
    assert batch.terminated.any() and not batch.terminated.all(axis=1).any()  # episodes begin within slots
    for there, here in zip(batch, in_turn, strict=True):
        np.testing.assert_allclose(here, there, atol=1e-6)
    assert told[:3] == ["make", "close", "make"] and told.count("make") == 2
    assert told.count("reset") == in_turn.terminated[:, :-1].sum() + 2  # none after the last step of a slot
    assert told.count("step") == simulator.samples == 2 * HORIZON
    assert acted(family, episodes=2)[0].reward.shape == (2, HORIZON, 2)
    robot.release()
    assert told[-1] == "close"


class Keyed(eqx.Module):
    """A policy whose memory is a random key, as that of a planner."""

    inner: GaussianPolicy
    noise_size = 1

    def memory(self, axes):
        return jax.random.split(jax.random.key(0), axes)

    def __call__(self, observation, task, memory, noise):
        return self.inner(observation, task, (), noise)[0], memory


def test_a_memory_may_have_keys():
    simulator, plain = Simulator(carts(copies=1)[0]), policies(jax.random.key(0))
    there, here = (rollout(simulator, each, TASKS, jax.random.key(1), episodes=1) for each in (plain, Keyed(plain)))
    np.testing.assert_array_equal(here.observation, there.observation)


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


def test_a_robot_is_sent_each_command_at_once_since_it_has_its_own_latency(monkeypatch):
    received, after = [], (np.zeros(2), 0.0, False, False, {})
    monkeypatch.setattr(Cart, "step", lambda _, action: received.append(action) or after)
    simulator = Simulator(onebody.limited(carts(copies=1)[0], onebody.Limits(latency=2)))
    age, observation = simulator.reset(TASKS[:1], 1, jax.random.key(0)[None])
    age, row = simulator.advance(age, observation, np.full((1, 1, 1), 1.0, np.float32))
    np.testing.assert_array_equal(received, [Cart.action_space.high])
    np.testing.assert_array_equal(row.next_observation[0, 0, 2:], [0, 1])


def test_rounding_moves_no_command_out_of_the_environments_bounds(monkeypatch):
    box, received = gymnasium.spaces.Box(np.float32(-2.8), np.float32(1.5), (1,), np.float32), []
    monkeypatch.setattr(Cart, "action_space", box)
    after = np.zeros(2), 0.0, False, False, {}
    monkeypatch.setattr(Cart, "step", lambda _, action: received.append(action) or after)
    simulator = Simulator(carts(copies=1)[0])
    age, observation = simulator.reset(TASKS[:1], 1, jax.random.key(0)[None])
    for action in (-1.0, 1.0):
        simulator.advance(age, observation, np.full((1, 1, 1), action, np.float32))
    assert all(map(box.contains, received)) and np.allclose(np.ravel(received), [-2.8, 1.5])


def test_after_an_exception_only_a_reset_moves_the_robot():
    for accident, kind in ((stops, EmergencyStop), (fails, BodyFailed)):
        family, told = carts({1: accident}, copies=1)
        simulator = Simulator(family)
        age, observation = simulator.reset(TASKS[:1], 1, jax.random.key(0)[None])
        act = lambda: simulator.advance(age, observation, np.zeros((1, 1, 1), np.float32))  # noqa: B023, E731
        act()
        with pytest.raises(kind):
            act()
        with pytest.raises(OnebodyError, match="call reset first"):
            act()
        assert told.count("step") == 1


def test_a_second_interrupt_does_not_leave_the_robot_open(monkeypatch):
    family, told = carts(copies=1)

    def interrupted(own):
        monkeypatch.undo()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), robot.released():
        Simulator(family).reset(TASKS[:1], 1, jax.random.key(0)[None])
        monkeypatch.setattr(family.body.make, "close", interrupted)
    assert told[-2:] == ["reset", "close"]


def test_nothing_moves_the_robot_unasked(monkeypatch):
    family, told = carts(copies=1)
    onebody.register(family)
    assert told == ["make", "close"]
    starts = Simulator(family).starts(jax.random.key(0))
    assert told[2:] == ["make"] + ["reset"] * SINGLE_STARTS and len(np.unique(starts, axis=0)) == SINGLE_STARTS
    onebody.gym.Env(family).close()
    loaded = SimpleNamespace(
        algorithm=SimpleNamespace(family=family), record={"algorithm": "pearl"}, checkpoint=SimpleNamespace(state=())
    )
    monkeypatch.setattr(hidden.loaded, "Run", lambda *_: loaded)
    for call in (
        lambda: hidden.Adapting(Path("run")),
        lambda: Simulator(family).reset(TASKS, 1, jax.random.split(jax.random.key(0))),
        lambda: onebody.train("omni", family, preset="smoke", out="run", evaluate_every=1),
        lambda: onebody.compare(["omni"], family.id, out="runs"),
        lambda: tuning.tune("omni", family.id, [tuning.Range.parse("n-model=1:9")], out=Path("tuned")),
    ):
        with pytest.raises(OnebodyError, match="copies=1"):
            call()
    assert len(told) == 3 + SINGLE_STARTS
    for options, said in (
        ({"copies": 2}, "copies is 1"),
        ({"real_time": True}, "give copies=1"),
        ({"copies": 1, "parallel": True}, "parallel needs several"),
        ({"copies": 1, "timeout": 0.0}, "timeout must be above 0"),
    ):
        with pytest.raises(OnebodyError, match=said):
            carts(**options)


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
    Path(journal.NAME).write_bytes(lines.replace(b'"ended"', b'"over"', 1))
    assert not book().recorded and "line 3 of robot.jsonl is damaged" in capsys.readouterr().err
    Path(journal.NAME).write_bytes(lines)
    assert not book(2).recorded and Path(journal.NAME).read_text() == '{"iteration": 2}\n'


def test_a_step_that_hangs_ends_with_one_line():
    over = threading.Event()
    family, told = carts({3: lambda: over.wait(20) and None}, copies=1, timeout=0.3)
    began = time.monotonic()
    with pytest.raises(BodyFailed, match=r"a step of its environment takes over 0.3 s"):
        acted(family, book())
    robot.release()
    assert time.monotonic() - began < 10 and told[-1] == "step"  # it is not closed in the middle of a step
    over.set()
    assert acted(family, book())[1].samples == 2 * HORIZON


def test_what_is_not_finite_reaches_neither_robot_nor_journal(monkeypatch):
    nothing = np.full(2, np.nan), 0.0, False, False, {}
    with pytest.raises(NotFinite, match="observation is not finite at step 2"):
        acted(carts({1: lambda: nothing}, copies=1)[0], book())
    assert [entry.kind for entry in book().recorded] == ["reset", "step", "stop"]
    family, told = carts(copies=1)
    simulator = Simulator(family)
    for wrong in (np.nan, np.inf):
        with pytest.raises(NotFinite, match="action is not finite"):
            simulator.advance(*simulator.reset(TASKS[:1], 1, jax.random.key(0)[None]), np.full((1, 1, 1), wrong))
    assert "step" not in told
    monkeypatch.setattr(family.body.make, "reset", lambda _, **options: (np.full(2, np.nan), options))
    with pytest.raises(BodyFailed, match="the first observation of an episode is not finite"):
        simulator.reset(TASKS[:1], 1, jax.random.key(0)[None])


@pytest.mark.parametrize(("dt", "late"), [(1e-9, 2 * HORIZON), (1e9, 0)])
def test_the_clock_is_measured(dt, late):
    dropped = np.zeros(2), 0.0, False, False, {"dropped": True}
    _, simulator = acted(carts({4: lambda: dropped}, copies=1, real_time=True, dt=dt)[0])
    metrics = simulator.robot.timing.metrics(True)
    assert metrics["real/late"] == late and 0 < metrics["real/dt"] <= metrics["real/dt_longest"] < 10
    assert metrics["real/dropped"] == 1 and metrics["real/stops"] == 0


TRAIN = """
import tests.conftest
from pathlib import Path
from tests.worlds import test_robot
test_robot.train(Path("robot.log"))
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
