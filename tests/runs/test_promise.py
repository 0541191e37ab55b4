"""Refinement inside the model, other rewards, intervals and warnings of adapted policies."""

import dataclasses
import itertools
import json
import math
import re
from types import SimpleNamespace

import jax.numpy as jnp
import pytest

import onebody
from onebody.algorithms import presets
from onebody.algorithms.omni import omni
from onebody.core.errors import OnebodyError
from onebody.runs import adapt, evaluate, loop, refinement


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Smoke runs of two algorithms on the point robot."""
    place = tmp_path_factory.mktemp("runs")
    learns = dataclasses.replace(presets.preset("omni", "smoke"), real_episodes=8, n_model=150, n_updates=150)
    return {
        name: onebody.train(name, "point/goal", preset="smoke", config=config, out=place / name, quiet=True)
        for name, config in (("omni", learns), ("smt", None))
    }


def test_a_predicted_return_has_an_interval_where_there_is_an_ensemble(runs):
    ensemble, single = (onebody.adapt(runs[name], (0.5, 0.5)) for name in ("omni", "smt"))
    low, high = ensemble.predicted_interval
    assert low <= ensemble.predicted_return <= high and single.predicted_interval is None
    stage = evaluate.evaluate(runs["omni"], evaluate.MetaTest(tasks=3, stages=0))["stages"][0]
    for interval, predicted in zip(stage["predicted_intervals"], stage["predicted"], strict=True):
        assert interval[0] < predicted < interval[1]


def test_a_run_without_an_iteration_is_said_to_be_untrained(tmp_path):
    run = onebody.train("omni", "point/goal", preset="smoke", samples=0, out=tmp_path / "run", quiet=True)
    said = "the run is untrained, because it has finished no iteration: "
    assert onebody.adapt(run, (0.5, 0.5)).warning == f"{said}train a run with samples"
    assert said not in onebody.adapt(run, (0.5, 0.5), stages=1).warning
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"samples": 100}))
    assert onebody.adapt(run, (0.5, 0.5)).warning == f"{said}onebody resume {run}"


def test_a_task_of_a_shift_is_outside_what_training_drew_from(tmp_path):
    run = loop.train("omni", "smt/cheetah-pos-to-neg", preset="smoke", samples=0, out=tmp_path / "run", quiet=True)
    assert "the space that training sampled tasks from" in onebody.adapt(run, -0.5).warning


def test_a_task_outside_the_space_has_a_warning(runs):
    assert "outside [-1, 1]^2" in onebody.adapt(runs["omni"], (3.0, 0.0), extrapolate=True).warning


def test_a_policy_for_a_hidden_task_without_real_samples_has_a_warning(tmp_path):
    """Random search never adapts, TRPO goes on with real samples; a single task is not hidden."""
    for name, family, stages, uninformed in (
        ("random-search", "point/goal", 0, True),
        ("random-search", "point/goal", 1, True),
        ("trpo", "point/goal", 0, True),
        ("trpo", "point/goal", 1, False),
        ("trpo", "mbmpo/point", 0, False),
    ):
        place = tmp_path / f"{name}-{family[:5]}"
        run = onebody.train(name, family, preset="smoke", samples=0, out=place, quiet=True)
        task = (0.5, 0.5) if family == "point/goal" else None
        warning = onebody.adapt(run, task, stages=stages).warning
        assert ("the policy has no information about it" in warning) is uninformed
    both = onebody.adapt(tmp_path / "trpo-point", (3.0, 0.0), extrapolate=True).warning
    assert "no information about it" in both and "outside [-1, 1]^2" in both
    with pytest.raises(OnebodyError, match="a task is needed"):
        onebody.adapt(tmp_path / "trpo-point")


@pytest.fixture
def predictions(monkeypatch):
    """Predicted returns of the policies that refinement yields, appended as they come."""
    returns, refine = [], omni.OMNI.refine

    def counted(*arguments):
        for adapted in refine(*arguments):
            returns.append(float(adapted.predicted_return[0]))
            yield adapted

    monkeypatch.setattr(omni.OMNI, "refine", counted)
    return returns


def test_refinement_goes_on_until_its_time_is_over_and_costs_no_sample(runs, monkeypatch, predictions):
    """A clock that moves by three seconds at each look. The first look comes after the first updates, which compile;
    four more fill ten seconds, with three policies."""
    clock, counts = itertools.count(0.0, 3.0), []
    look = lambda: counts.append(len(predictions)) or next(clock)  # noqa: E731
    monkeypatch.setattr(refinement, "time", SimpleNamespace(monotonic=look))
    refined = onebody.adapt(runs["omni"], (0.5, 0.5), refine=10.0)
    assert counts == [2, 2, 3, 4, 5] and refined.adaptation_samples == 0
    assert refined.predicted_return == max(predictions) > refined.predicted_before == predictions[0]
    assert refined.refine_updates == 4 * omni.OMNI.refine_updates and "did not raise" not in refined.warning
    said = f"optimised for 200 updates: predicted return from {predictions[0]:.1f} to {max(predictions):.1f}"
    assert refined.refinement == said


def test_refinement_without_improvement_says_so(runs, monkeypatch):
    """Here no update does anything."""
    monkeypatch.setattr(omni.OMNI, "_optimize", lambda self, state, *_: (state, {}))
    refined = onebody.adapt(runs["omni"], (0.5, 0.5), refine=1e-9)
    assert refined.predicted_return == refined.predicted_before and refined.refinement == ""
    assert "50 updates did not raise the predicted return" in refined.warning and "more seconds" in refined.warning
    plain = onebody.adapt(runs["omni"], (0.5, 0.5))
    assert plain.refine_updates == 0 and plain.refinement == "" and plain.warning == ""
    assert plain.predicted_before == plain.predicted_return


def test_the_reported_number_of_updates_is_that_of_the_updates_made(runs, monkeypatch, predictions):
    updates, optimize = [], omni.OMNI._optimize
    monkeypatch.setattr(
        omni.OMNI,
        "_optimize",
        lambda self, s, tasks, rates, key: updates.append(len(rates)) or optimize(self, s, tasks, rates, key),
    )
    policies = adapt.adapt_many(runs["omni"], [(0.5, 0.5), (-0.5, 0.0)], refine=1e-9)
    assert [each.refine_updates for each in policies] == updates == [50, 50]
    assert [each.predicted_before for each in policies] == predictions[::2]


def test_another_reward_starts_from_the_best_held_out_task(runs):
    """To the right: its policy starts as that of a goal far to the right."""

    def right(observation, action, next_observation, task):
        return next_observation[0]

    policy = onebody.adapt(runs["omni"], reward=right, refine=0.5)
    assert policy.task[0] > 0.3 and policy.refine_updates > 0
    left = onebody.adapt(runs["omni"], (-1.0, 0.0), reward=right, refine=0.0)
    assert policy.real_return > left.real_return and "not optimised for the reward" in left.warning


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (lambda o, a, n, t: 1.0 if n[0] > 0 else 0.0, "jnp.where"),
        (lambda o, a, n, t: n, "one float, a scalar"),
        (lambda o, a, n, t: jnp.log(-jnp.abs(n[0]) - 1.0), "not finite"),
        (lambda o, a, n, t: n[2], "out of bounds"),
    ],
)
def test_a_wrong_reward_is_named_before_any_optimization(runs, reward, said):
    with pytest.raises(OnebodyError, match=re.escape(said)):
        onebody.adapt(runs["omni"], reward=reward)


def test_what_cannot_be_refined_is_refused(runs):
    for options in ({"refine": 1.0}, {"reward": lambda o, a, n, t: n[0]}):
        with pytest.raises(OnebodyError, match=r"smt cannot optimise a policy inside its model: .* train omni$"):
            onebody.adapt(runs["smt"], (0.5, 0.5), **options)
    for seconds in (math.nan, math.inf, -1.0):
        with pytest.raises(OnebodyError, match="0 or more seconds, and finite"):
            onebody.adapt(runs["omni"], (0.5, 0.5), refine=seconds)
    with pytest.raises(OnebodyError, match="give either --stages"):
        onebody.adapt(runs["omni"], (0.5, 0.5), refine=1.0, stages=1)
