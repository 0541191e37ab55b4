"""Aggregates against formulas written out in loops; intervals against what they should hold, by simulation."""

import math

import numpy as np
import pytest

from onebody.runs import statistics
from onebody.runs.statistics import estimate, improvement

DRAWS = 1000
"""simulated comparisons; the share of them that an interval of 95% holds then has a standard error of 0.007"""
SIZES = [(1, 1), (2, 2), (3, 5), (4, 10), (5, 30), (2, 31), (6, 40)]
"""seeds and tasks"""


def tied(seeds, tasks, seed):
    """Returns of which some are equal."""
    return np.random.default_rng(seed).integers(-15, 16, (seeds, tasks)) / 2


@pytest.mark.parametrize("size", SIZES)
def test_aggregates_are_those_of_loops(size):
    scores = tied(*size, 0)
    for i, row in enumerate(scores):
        ordered, n = sorted(map(float, row)), size[1]
        middle = ordered[math.floor(n / 4) : n - math.floor(n / 4)]
        lowest = ordered[: math.ceil(n / 10)]
        assert statistics.mean(scores)[i] == pytest.approx(sum(ordered) / n)
        assert statistics.iqm(scores)[i] == pytest.approx(sum(middle) / len(middle))
        assert statistics.worst(scores)[i] == ordered[0]
        assert statistics.cvar10(scores)[i] == pytest.approx(sum(lowest) / len(lowest))


@pytest.mark.parametrize("size", SIZES)
def test_improvement_is_that_of_loops(size):
    ours, theirs = tied(*size, 0), tied(*size, 1)
    won = []
    for i in range(size[0]):
        points = 0.0
        for j in range(size[1]):
            points += 1.0 if ours[i, j] > theirs[i, j] else 0.5 if ours[i, j] == theirs[i, j] else 0.0
        won.append(points / size[1])
    result = improvement(ours, theirs)
    assert result.by_seed == pytest.approx(won) and result.value == pytest.approx(sum(won) / len(won))
    assert result.range == (min(result.by_seed), max(result.by_seed))


def test_intervals_by_hand():
    """The 97.5% quantile of Student's t is 2.776 for 4 degrees of freedom and 2.447 for 6."""
    result = estimate(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    half = 2.776445 * math.sqrt(2.5 / 5)
    assert result.value == 3 and result.range == (1, 5) and result.by_seed == [1, 2, 3, 4, 5]
    assert result.interval == pytest.approx((3 - half, 3 + half))
    tasks = np.arange(4.0) * 100 + np.zeros((5, 1))
    half = 2.446912 * math.sqrt((6 * (1 / 7) ** 2 + (6 / 7) ** 2) / 6 / 7)
    assert improvement(tasks + 1, tasks).interval == pytest.approx((6 / 7 - half, 1.0))
    assert improvement(tasks, tasks + 1).interval == pytest.approx((0.0, 1 / 7 + half))


@pytest.mark.parametrize("name", statistics.AGGREGATES)
@pytest.mark.parametrize(("seed_std", "task_std"), [(3.0, 0.3), (0.3, 3.0)])
@pytest.mark.parametrize("seeds", [5, 10])
def test_an_interval_holds_as_often_as_it_says(seeds, seed_std, task_std, name):
    """Of an aggregate over twenty fixed tasks, where seeds or tasks make most of the differences."""
    rng, of = np.random.default_rng(0), statistics.AGGREGATES[name]
    tasks = rng.normal(size=20) * task_std

    def trained(n):
        return tasks + seed_std * rng.normal(size=(n, 1)) + rng.normal(size=(n, 20))

    truth = of(trained(20_000)).mean()
    assert 0.925 <= share(lambda: estimate(of(trained(seeds))), lambda low, high: low <= truth <= high) <= 0.975


SPREADS = [(1, 1.0), (2, 10.0), (40, 3.0), (40, 0.3)]
"""numbers of tasks, and standard deviations between seeds where that of a task and seed is 1"""


@pytest.mark.parametrize(("tasks", "seed_std"), SPREADS)
@pytest.mark.parametrize("better", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("seeds", [5, 10])
def test_an_interval_of_improvement_holds_also_where_pairs_are_won_or_lost_whole(seeds, better, tasks, seed_std):
    truth = 0.5 + 0.5 * math.erf(better * seed_std / math.sqrt(2 * (seed_std**2 + 1)))
    compared = pairs(seeds, tasks, seed_std, better)
    assert share(compared, lambda low, high: low <= truth <= high) >= 0.92


@pytest.mark.parametrize(("tasks", "seed_std"), SPREADS)
@pytest.mark.parametrize("seeds", [5, 6, 9, 10])
def test_a_verdict_is_seldom_wrong_where_there_is_no_difference(seeds, tasks, seed_std):
    """Five pairs of a single task all go one way in 2 of 32 cases, which are called sure."""
    highest = 2 / 32 if seeds == 5 else 0.05
    wrong = share(pairs(seeds, tasks, seed_std, 0.0), lambda low, high: low > 0.5 or high < 0.5)
    assert wrong <= highest + 0.015


def test_a_verdict_finds_what_is_there():
    for better, tasks, seed_std in ((4.0, 1, 1.0), (2.0, 40, 1.0), (3.0, 40, 0.3)):
        assert share(pairs(10, tasks, seed_std, better), lambda low, _: low > 0.5) > 0.9


def pairs(seeds, tasks, seed_std, better):
    """Simulated comparisons, where one algorithm is better by `better` standard deviations of a seed."""
    rng = np.random.default_rng(1)

    def compared():
        difference = seed_std * (better + rng.normal(size=(seeds, 1))) + rng.normal(size=(seeds, tasks))
        return improvement(difference, np.zeros_like(difference))

    return compared


def share(estimated, holds):
    return np.mean([holds(*estimated().interval) for _ in range(DRAWS)])


def test_few_seeds_have_points_and_a_range_but_no_interval():
    points = np.array([[3.0], [1.0], [2.0], [2.0]])
    assert estimate(points[:, 0]) == (2.0, [3.0, 1.0, 2.0, 2.0], (1.0, 3.0), None)
    assert improvement(points, points[::-1]) == (0.5, [1.0, 0.0, 1.0, 0.0], (0.0, 1.0), None)
    assert statistics.shown(estimate(points[:, 0])._asdict(), ".1f") == "2.0 (range 1.0 to 3.0)"
    assert statistics.shown(estimate(points[:1, 0])._asdict(), ".1f") == "3.0"
    assert statistics.shown({"value": 2.0, "by_seed": [2.0] * 5, "interval": [1.0, 3.0]}, ".0f") == "2 (1 to 3)"


def test_the_summary_of_one_training():
    result = statistics.summary(np.arange(20.0))
    assert result["mean"] == 9.5 and result["worst"] == 0 and result["cvar10"] == 0.5
    assert result["iqm"] == np.arange(5.0, 15).mean()
    half = 2.093024 * math.sqrt(35 / 20)
    assert result["interval"] == pytest.approx([9.5 - half, 9.5 + half])
    assert statistics.summary(np.arange(4.0))["interval"] is None


@pytest.mark.parametrize(
    ("interval", "said"),
    [((0.6, 1.0), "a"), ((0.4, 1.0), "not sure"), ((0.1, 0.4), "b"), (None, "fewer than 5 seeds")],
)
def test_a_verdict_needs_an_interval_beside_one_half(interval, said):
    assert statistics.verdict(interval, "a", "b") == said
