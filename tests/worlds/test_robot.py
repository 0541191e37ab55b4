"""One robot, or one simulator process: an environment of which there is only one."""

import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import equinox as eqx
import gymnasium
import jax
import numpy as np
import pytest

import onebody
from onebody.algorithms.omni import omni
from onebody.core.errors import BodyFailed, EmergencyStop, NotFinite, OnebodyError, Stopped
from onebody.learning.policies import GaussianPolicy
from onebody.runs import folder, hidden, tuning
from onebody.worlds import robot
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import SINGLE_STARTS, Simulator
from tests.worlds.carts import HORIZON, TASKS, Cart, acted, book, carts, fails, policies, stops

pytestmark = pytest.mark.usefixtures("nothing_leaks", "closed")


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


def test_a_step_that_hangs_ends_with_one_line():
    over = threading.Event()
    family, told = carts({3: lambda: over.wait(20) and None}, copies=1, timeout=0.3)
    began = time.monotonic()
    with pytest.raises(BodyFailed, match=r"a step of its environment takes over 0.3 s"):
        acted(family, book())
    robot.release()
    assert time.monotonic() - began < 10 and told[-1] == "step"  # it is not closed in the middle of a step
    with pytest.raises(BodyFailed, match="still hangs; start a new process"):
        acted(family)
    assert told.count("make") == 2  # the first for its spaces
    over.set()
    assert acted(family, book())[1].samples == 2 * HORIZON


def test_values_of_another_form_end_with_one_line(monkeypatch):
    family, _ = carts(copies=1)
    simulator = Simulator(family)
    for returned in (
        (np.zeros(2), 0.0, False, False),
        (np.zeros(2), 0.0, False, False, None),
        ([[0.0], [0.0, 0.0]], 0.0, False, False, {}),
    ):
        monkeypatch.setattr(family.body.make, "step", lambda *_, returned=returned: returned)
        age, observation = simulator.reset(TASKS[:1], 1, jax.random.key(0)[None])
        with pytest.raises(BodyFailed, match=r"step of its environment must return \(observation, reward, .*Error"):
            simulator.advance(age, observation, np.zeros((1, 1, 1), np.float32))
    monkeypatch.setattr(family.body.make, "reset", lambda _, **options: np.zeros(3))
    with pytest.raises(BodyFailed, match=r"reset of its environment must return \(observation, info\)"):
        simulator.reset(TASKS[:1], 1, jax.random.key(0)[None])


@pytest.mark.parametrize("copies", [None, 1])
def test_an_environment_that_is_refused_is_closed(copies, monkeypatch):
    told = []
    monkeypatch.setattr(Cart, "__init__", lambda _: told.append("make"))
    monkeypatch.setattr(Cart, "close", lambda _: told.append("close"))
    monkeypatch.setattr(Cart, "action_space", gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32))
    with pytest.raises(OnebodyError, match="finite bounds"):
        carts(copies=copies)
    assert told[-1] == "close" and told.count("make") == told.count("close")


def test_no_second_environment_is_made_while_another_thread_uses_the_first():
    thread = threading.Thread(target=carts, kwargs={"copies": 1}, daemon=True)
    with robot.IN_USE:
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("accident", "kind", "said"),
    [
        (fails, BodyFailed, "hot, in the resets for the initial states; go on with: onebody resume run"),
        (lambda: signal.raise_signal(signal.SIGINT), Stopped, "stopped; go on with: onebody resume run"),
    ],
    ids=["exception", "signal"],
)
def test_the_resets_for_the_initial_states_end_as_any_iteration(accident, kind, said, monkeypatch):
    family, told = carts(copies=1)
    monkeypatch.setattr(family.body.make, "reset", lambda _, **options: accident())
    onebody.register(family)
    monkeypatch.setattr(omni.OMNI, "init", lambda self, key: self.simulator.starts(key))
    monkeypatch.setattr(folder, "initial_state", lambda *_: ())
    with pytest.raises(kind, match=said):
        onebody.train("omni", family, preset="smoke", out="run", quiet=True)
    assert told[-2:] == ["make", "close"]


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
