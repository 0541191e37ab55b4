"""The journal of an adaptation: what a robot did in it is not lost, and is repeated without a move of the robot."""

import dataclasses
import errno
import shutil
from pathlib import Path

import numpy as np
import pytest

import onebody
from onebody.core.errors import BodyFailed, OnebodyError
from onebody.runs import bundle, lock
from onebody.runs.adapt import adapt_many
from onebody.worlds.rollout import MAX_STOPS
from tests.worlds.carts import HORIZON, carts, fails, stops

pytestmark = pytest.mark.usefixtures("nothing_leaks", "closed")

ADAPTATIONS = Path("run/adaptations")


STAGE = 2 * HORIZON
"""steps of a stage, and of a test, of two episodes"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Registers carts with accidents, puts a run of them into the folder, and gives what the carts are told.

    All tests have the same families, and so the same programs.
    """
    origin, families = (
        tmp_path_factory.mktemp("trained") / "run",
        {copies: carts(copies=copies) for copies in (1, None)},
    )

    def prepare(accidents=None, copies=1):
        if not origin.exists():
            family = onebody.register(families[1][0])
            smoke = onebody.preset("omni", "smoke", family.id)
            config = dataclasses.replace(smoke, n_iterations=1, real_episodes=2, refine_episodes=2)
            onebody.train("omni", family, config=config, out=origin, quiet=True)
        family, told = families[copies]
        own = onebody.register(family).body.make.accidents
        own.clear()
        own.update(accidents or {})
        shutil.rmtree("run", ignore_errors=True)
        shutil.copytree(origin, "run")
        told.clear()
        return told

    return prepare


def raises(error):
    def call(*_):
        raise error

    return call


def adapted(task=0.3, stages=2, **options):
    return onebody.adapt("run", task, stages=stages, real_episodes=2, **options)


def assert_same(here, there):
    for name in ("real_return", "achieved", "predicted_return", "untrained_return", "adaptation_samples"):
        assert str(getattr(here, name)) == str(getattr(there, name))
    rows = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    np.testing.assert_array_equal(here(rows), there(rows))


def test_a_stage_goes_on_where_it_stopped(trained, capsys):
    at = STAGE + HORIZON + 2  # in the second episode of the second stage
    told = trained({at: stops})
    uninterrupted = adapted()
    assert told.count("step") == 3 * STAGE and not ADAPTATIONS.exists()
    told = trained({at: fails})
    with pytest.raises(BodyFailed, match="motor 3 is hot; start the same adaptation again, which goes on where"):
        adapted()
    (journal,) = ADAPTATIONS.iterdir()
    assert told.count("step") == at and journal.read_bytes().count(b'{"step"') == at
    assert_same(adapted(), uninterrupted)
    assert told.count("step") == 3 * STAGE and not ADAPTATIONS.exists()
    assert f"{at} steps of this adaptation are taken from {journal}" in capsys.readouterr().err
    adapted()  # once it has finished, it begins anew
    assert told.count("step") == 6 * STAGE and capsys.readouterr().err == ""


def test_a_test_episode_that_was_interrupted_is_repeated(trained):
    told = trained()
    uninterrupted = adapted(stages=1, untrained=True)
    assert told.count("step") == 3 * STAGE
    told = trained({2 * STAGE - 2: fails, 3 * STAGE - 1: fails})
    for _ in range(2):
        with pytest.raises(BodyFailed):
            adapted(stages=1, untrained=True)
    assert_same(adapted(stages=1, untrained=True), uninterrupted)
    assert told.count("step") == 3 * STAGE + 4 + 1  # the steps of the interrupted episodes


def test_a_test_episode_with_an_emergency_stop_is_repeated(trained, capsys):
    told = trained()
    undisturbed = adapted(stages=1)
    told = trained({STAGE: stops, STAGE + 3: stops})
    assert_same(adapted(stages=1), undisturbed)
    assert told.count("step") == 2 * STAGE + 3
    trained({STAGE + i: stops for i in range(MAX_STOPS)})
    with pytest.raises(OnebodyError, match=rf"was stopped {MAX_STOPS} times; start the same command again"):
        adapted(stages=1)
    assert_same(adapted(stages=1), undisturbed)


def test_a_kill_loses_at_most_the_step_under_way(trained):
    killed = Path("killed")
    told = trained({HORIZON: lambda: shutil.copytree(ADAPTATIONS, killed) and None})
    uninterrupted = adapted(stages=1)
    shutil.copytree(killed, ADAPTATIONS)  # as on the disk in the reset before this step
    before = told.count("step")
    assert_same(adapted(stages=1), uninterrupted)
    assert told.count("step") - before == 2 * STAGE - HORIZON


def test_two_adaptations_are_not_mixed_up(trained):
    told = trained({2: fails, 5: fails})
    for options in ({}, {"stages": 1}):
        with pytest.raises(BodyFailed):
            adapted(**options)
    assert told.count("step") == 5 and len(list(ADAPTATIONS.iterdir())) == 2
    adapted(-0.3)
    assert told.count("step") == 5 + 3 * STAGE and len(list(ADAPTATIONS.iterdir())) == 2
    adapted()
    assert told.count("step") == 5 - 2 + 6 * STAGE and len(list(ADAPTATIONS.iterdir())) == 1
    with lock.held(Path("run")), pytest.raises(OnebodyError, match="or adapting its robot"):
        adapted()
    family, told = carts(copies=1)  # with another reward
    onebody.register(dataclasses.replace(family, reward=lambda observation, action, after, task: -(after[0] ** 2)))
    told.clear()
    adapted(stages=1)
    assert told.count("step") == 2 * STAGE and len(list(ADAPTATIONS.iterdir())) == 1


def test_a_robot_adapts_to_one_task_after_the_other(trained):
    at = STAGE + 3
    told = trained({at: stops})
    uninterrupted = adapt_many("run", [0.3, -0.3], stages=1)
    trained({at: fails})
    with pytest.raises(BodyFailed):
        adapt_many("run", [0.3, -0.3], stages=1)
    for here, there in zip(adapt_many("run", [0.3, -0.3], stages=1), uninterrupted, strict=True):
        assert_same(here, there)
    assert told.count("step") == 2 * STAGE


def test_simulators_keep_no_journal(trained):
    trained({STAGE + 2: fails}, copies=None)
    with pytest.raises(BodyFailed, match=r"motor 3 is hot$"):
        adapted()
    assert not ADAPTATIONS.exists()


def test_an_export_with_stages_goes_on_where_it_stopped(trained, monkeypatch):
    told = trained({3: fails})
    with pytest.raises(BodyFailed, match="start the same adaptation again"):
        onebody.load("run").export("bundle", 0.3, stages=1)
    with monkeypatch.context() as full, pytest.raises(OnebodyError, match="No space left on device"):
        full.setattr(bundle, "_write", raises(OSError(errno.ENOSPC, "No space left on device")))
        onebody.load("run").export("bundle", 0.3, stages=1)
    assert onebody.load("run").export("bundle", 0.3, stages=1)
    assert told.count("step") == STAGE and not ADAPTATIONS.exists()
