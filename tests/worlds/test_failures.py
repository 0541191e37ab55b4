"""Environments and bodies that fail in the middle of a training run."""

import dataclasses

import gymnasium
import numpy as np
import pytest

from onebody.core.errors import BodyFailed
from onebody.runs import evaluate, log, loop
from onebody.tasks import registry
from onebody.tasks.space import Box
from onebody.worlds.custom import from_gymnasium, register

pytestmark = pytest.mark.usefixtures("nothing_leaks")


class Moving(gymnasium.Env):
    """Moves by its action; fails where it is told to, while `failing` is true."""

    observation_space = gymnasium.spaces.Box(-100, 100, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (2,))
    failing = False

    def __init__(self, fails):
        self.fails = fails

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.normal(size=2).astype(np.float32)
        if Moving.failing and self.fails == "reset":
            raise RuntimeError("the motor\nis hot")
        return self.place, {}

    def step(self, action):
        self.place = self.place + 0.1 * action
        if Moving.failing and self.fails == "step":
            raise ValueError("lost the connection")
        if Moving.failing and self.fails == "exit":
            raise SystemExit
        observation = self.place[:1] if Moving.failing and self.fails == "shape" else self.place
        return observation.astype(np.float32), 0.0, False, False, {}


def distance(observation, action, next_observation, task):
    return -((next_observation[0] - task[0]) ** 2) - next_observation[1] ** 2


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        ("reset", "RuntimeError: the motor is hot"),
        ("step", "ValueError: lost the connection"),
        ("exit", "SystemExit: no reason given"),
        ("shape", "ValueError"),
    ],
)
def test_an_environment_that_fails_names_the_iteration_and_the_run_goes_on(fails, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(Moving, "failing", False)
    space = Box((-1.0,), (1.0,))
    family = from_gymnasium(lambda: Moving(fails), reward=distance, space=space, id=f"fails/{fails}", horizon=10)
    register(dataclasses.replace(family, task_labels=("x (m)",)))
    run, written = tmp_path / "run", log.Log.write

    def write(self, iteration, metrics):
        Moving.failing = iteration == 1
        return written(self, iteration, metrics)

    monkeypatch.setattr(log.Log, "write", write)
    with pytest.raises(BodyFailed) as caught:
        loop.train("trpo", f"fails/{fails}", preset="smoke", out=run, quiet=True)
    Moving.failing = False
    assert str(caught.value).startswith(f"body Moving: its environment raises {reason}")
    last = run / "checkpoints/000001"
    assert str(caught.value).endswith(
        f", in iteration 2; the last good checkpoint is {last}; go on with: onebody resume {run}"
    )
    assert "\n" not in str(caught.value)
    loop.resume(run, quiet=True)
    assert [line["iteration"] for line in log.read(run)] == [1, 2]


def test_a_start_that_fails_is_one_line(tmp_path, monkeypatch):
    point = registry.make("point/goal")

    def start(rng, n):
        if calls > 1:
            raise KeyError("pose")
        return point.body.start(rng, n)

    calls, written = 0, log.Log.write

    def write(self, iteration, metrics):
        nonlocal calls
        calls += 2
        return written(self, iteration, metrics)

    monkeypatch.setattr(log.Log, "write", write)
    family = dataclasses.replace(point, id="fails/start", body=dataclasses.replace(point.body, start=start))
    registry.add(family)
    with pytest.raises(BodyFailed, match=r"its start raises KeyError: 'pose', in iteration 2; .*onebody resume"):
        loop.train("trpo", "fails/start", preset="smoke", out=tmp_path / "run", quiet=True)


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("physics", r"body hopper: physics raises KeyError: 'lost', in iteration 2; .*000001; .*onebody resume"),
        ("test", r"its start raises KeyError: 'lost', in the evaluation after iteration 2; .*000001; .*onebody resume"),
    ],
)
def test_physics_and_evaluations_that_fail_are_one_line(fails, said, tmp_path, monkeypatch):
    hopper, failing, written = registry.make("pearl/hopper-params"), False, log.Log.write

    def lost(function):
        def or_lost(*arguments):
            if failing:
                raise KeyError("lost")
            return function(*arguments)

        return or_lost

    def write(self, iteration, metrics):
        nonlocal failing
        failing = True
        return written(self, iteration, metrics)

    monkeypatch.setattr(log.Log, "write", write)
    family = dataclasses.replace(hopper, id=f"fails/{fails}", horizon=5)
    body = dataclasses.replace(hopper.body, start=lost(hopper.body.start))
    change = (
        {"physics": lost(hopper.physics)} if fails == "physics" else {"test": dataclasses.replace(family, body=body)}
    )
    registry.add(dataclasses.replace(family, **change))
    settings = {"preset": "smoke", "evaluate_every": 2, "test": evaluate.MetaTest(tasks=1, stages=0)}
    with pytest.raises(BodyFailed, match=said) as caught:
        loop.train("random-search", f"fails/{fails}", out=tmp_path / "run", quiet=True, **settings)
    assert "\n" not in str(caught.value) and [line["iteration"] for line in log.read(tmp_path / "run")] == [1]
