import numpy as np
import pytest

from onebody.runs import statistics
from onebody.runs.statistics import estimate, improvement

SCORES = np.array([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0], [8.0, 9.0, 10.0, 11.0]])


def test_aggregates_by_hand():
    assert statistics.mean(SCORES) == 5.5
    assert statistics.iqm(SCORES) == np.mean([3, 4, 5, 6, 7, 8])
    assert statistics.worst(SCORES) == (0 + 4 + 8) / 3
    assert statistics.cvar10(np.tile(np.arange(20.0), (2, 1))) == 0.5
    assert statistics.cvar10(SCORES) == statistics.worst(SCORES)
    assert statistics.optimality_gap(np.array([[0.25, 2.0], [1.0, 0.75]])) == (0.75 + 0 + 0 + 0.25) / 4


def test_improvement_by_hand():
    """Task 1: (1, 3) beat (2, 2) once of two; task 2: a tie and a win."""
    assert improvement(np.array([[1.0, 5.0], [3.0, 6.0]]), np.array([[2.0, 5.0], [2.0, 5.0]])) == (0.5 + 0.75) / 2
    assert improvement(SCORES, SCORES - 20) == 1.0 and improvement(SCORES, SCORES + 20) == 0.0
    assert improvement(SCORES, SCORES) == 0.5


def test_an_interval_holds_the_mean_as_often_as_it_says():
    """Seeds differ by N(0, 1), tasks by N(0, 1); ten of each. A percentile bootstrap is a little narrow."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(60):
        low, high = estimate(statistics.mean, rng.normal(size=(10, 1)) + rng.normal(size=(1, 10))).interval
        held += low <= 0 <= high
    assert 48 <= held <= 60


def test_an_interval_of_improvement_excludes_one_half_only_for_a_real_difference():
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(2, 5, 40))
    same = estimate(improvement, noise[0], noise[1])
    better = estimate(improvement, noise[0] + 2.0, noise[1])
    assert same.interval[0] < 0.5 < same.interval[1] and better.interval[0] > 0.5
    assert better.interval[0] < better.value < better.interval[1]


def test_the_same_tasks_are_drawn_for_both_sides():
    """A difference of 1 on each task is certain, however much the tasks differ from one another."""
    tasks = np.random.default_rng(0).normal(size=(1, 40)) * 100 + np.zeros((3, 1))
    assert estimate(improvement, tasks + 1, tasks) == statistics.Estimate(1.0, (1.0, 1.0))


def test_few_seeds_have_no_interval():
    assert estimate(statistics.mean, SCORES[:2]).interval is None
    assert estimate(improvement, SCORES, SCORES[:2]).interval is None
    assert estimate(statistics.mean, SCORES[:2], few=True).interval is not None


def test_other_tasks_are_refused():
    with pytest.raises(ValueError, match="4 and 3 tasks"):
        estimate(improvement, SCORES, SCORES[:, :3])


def test_the_summary_of_one_training():
    found = statistics.summary(np.arange(20.0))
    assert found["mean"] == 9.5 and found["worst"] == 0 and found["cvar10"] == 0.5
    assert found["iqm"] == np.arange(5.0, 15).mean()
    low, high = found["interval"]
    assert 6 < low < 9.5 < high < 13
    assert statistics.summary(np.array([3.0]))["interval"] is None


@pytest.mark.parametrize(
    ("interval", "said"),
    [((0.6, 1.0), "a"), ((0.4, 1.0), "not sure"), ((0.1, 0.4), "b"), (None, "fewer than 3 seeds")],
)
def test_a_verdict_needs_an_interval_beside_one_half(interval, said):
    assert statistics.verdict(interval, "a", "b") == said
