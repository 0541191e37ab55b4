"""Refinement inside the model, other rewards, intervals and warnings of adapted policies."""

import dataclasses
import re

import jax.numpy as jnp
import numpy as np
import pytest

import onebody
from onebody.core.errors import OnebodyError
from onebody.runs import evaluate, presets


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Smoke runs of two algorithms on the point robot."""
    place = tmp_path_factory.mktemp("runs")
    learns = dataclasses.replace(presets.preset("omni", "smoke"), real_episodes=8, n_model=150, n_updates=150)
    return {
        name: onebody.train(name, "point/goal", preset="smoke", config=config, out=place / name, quiet=True)
        for name, config in (("omni", learns), ("smt", None))
    }


def test_a_promise_has_an_interval_where_there_is_an_ensemble(runs):
    omni, smt = (onebody.adapt(runs[name], (0.5, 0.5)) for name in ("omni", "smt"))
    low, high = omni.predicted_interval
    assert low <= omni.predicted_return <= high and smt.predicted_interval is None
    assert evaluate.evaluate(runs["omni"], n_tasks=3, stages=0)["stages"][0]["predicted_intervals"][2][0] < 0


def test_a_task_outside_the_space_has_a_warning(runs):
    assert "outside [-1, 1]^2" in onebody.adapt(runs["omni"], (3.0, 0.0), extrapolate=True).warning


def test_refinement_improves_the_prediction_and_costs_no_sample(tmp_path):
    """Of a training of twenty updates an iteration, which leaves something to improve."""
    run = onebody.train("omni", "point/goal", preset="smoke", out=tmp_path / "run", quiet=True)
    plain, refined = (onebody.adapt(run, (0.5, 0.5), refine=seconds) for seconds in (0.0, 5.0))
    assert refined.adaptation_samples == 0
    assert refined.predicted_return > plain.predicted_return
    place = np.zeros(2, np.float32)
    assert (plain(place) != refined(place)).any()


def test_another_reward_begins_at_the_nearest_task(runs):
    """To the right: its policy starts as that of a goal far to the right."""

    def right(observation, action, next_observation, task):
        return next_observation[0]

    found = onebody.adapt(runs["omni"], reward=right, refine=0.5)
    assert found.task[0] > 0.3
    assert found.real_return > onebody.adapt(runs["omni"], (-1.0, 0.0), reward=right, refine=0.0).real_return


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (lambda o, a, n, t: 1.0 if n[0] > 0 else 0.0, "jnp.where"),
        (lambda o, a, n, t: n, "one float, a scalar"),
        (lambda o, a, n, t: jnp.log(-jnp.abs(n[0]) - 1.0), "not finite"),
        (lambda o, a, n, t: n[2], "out of bounds"),
    ],
)
def test_a_wrong_reward_is_named_before_any_practice(runs, reward, said):
    with pytest.raises(OnebodyError, match=re.escape(said)):
        onebody.adapt(runs["omni"], reward=reward)


def test_what_cannot_be_refined_is_refused(runs):
    with pytest.raises(OnebodyError, match="smt cannot refine"):
        onebody.adapt(runs["smt"], (0.5, 0.5), refine=1.0)
    with pytest.raises(OnebodyError, match="one of them is 0"):
        onebody.adapt(runs["omni"], (0.5, 0.5), refine=1.0, stages=1)
