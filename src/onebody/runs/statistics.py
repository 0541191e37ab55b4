"""Aggregates of returns over seeds and tasks, with bootstrap intervals (after Agarwal et al. 2021, rliable).

Scores are mean returns `[seed, task]` on the same held-out tasks for every seed and algorithm. A bootstrap draw takes
seeds, and tasks for all seeds at once: both are samples, of trainings and of p(ψ).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

Scores = np.ndarray
"""mean returns [seed, task]"""

DRAWS = 2000
"""bootstrap draws"""
MANY = 3
"""seeds from which on an interval is worth drawing"""


class Estimate(NamedTuple):
    """A number and its 95% bootstrap interval; the interval is None where there are too few seeds for one."""

    value: float
    interval: tuple[float, float] | None


def mean(scores: Scores) -> float:
    return float(scores.mean())


def iqm(scores: Scores) -> float:
    """Interquartile mean: of the middle half of all seeds and tasks."""
    return float(stats.trim_mean(scores.reshape(-1), 0.25))


def worst(scores: Scores) -> float:
    """Return on the worst task of each seed, mean over seeds."""
    return float(scores.min(axis=1).mean())


def cvar10(scores: Scores) -> float:
    """Mean over the worst tenth of each seed's tasks (one task at least), mean over seeds."""
    n = max(1, round(0.1 * scores.shape[1]))
    return float(np.sort(scores, axis=1)[:, :n].mean())


def optimality_gap(scores: Scores, reference: float = 1.0) -> float:
    """How far normalised scores fall short of a reference, those above it counted as equal to it."""
    return float((reference - np.minimum(scores, reference)).mean())


def improvement(ours: Scores, theirs: Scores) -> float:
    """Probability that a training of ours beats one of theirs on a task, ties counted half; mean over tasks."""
    above = ours[:, None] - theirs[None, :]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


AGGREGATES: dict[str, Callable[[Scores], float]] = {"mean": mean, "iqm": iqm, "worst": worst, "cvar10": cvar10}


def estimate(statistic: Callable[..., float], *scores: Scores, few: bool = False) -> Estimate:
    """A statistic of one or several algorithms' scores; seeds of each are drawn apart, tasks for all at once.

    Args:
        few: draw an interval whatever the number of seeds; with one it speaks of tasks alone.

    Raises:
        ValueError: the scores are not of the same tasks.
    """
    if len({each.shape[1] for each in scores}) > 1:
        raise ValueError(f"scores of {' and '.join(str(each.shape[1]) for each in scores)} tasks cannot be compared")
    value = statistic(*scores)
    if min(len(each) for each in scores) < MANY and not few:
        return Estimate(value, None)
    rng, tasks = np.random.default_rng(0), scores[0].shape[1]
    drawn = []
    for _ in range(DRAWS):
        columns = rng.integers(0, tasks, tasks)
        drawn.append(statistic(*(each[rng.integers(0, len(each), len(each))][:, columns] for each in scores)))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(value, (float(low), float(high)))


def verdict(interval: tuple[float, float] | None, yes: str, no: str) -> str:
    """What an interval of `improvement` says; only one that excludes one half is a claim."""
    if interval is None:
        return f"fewer than {MANY} seeds"
    low, high = interval
    return yes if low > 0.5 else no if high < 0.5 else "not sure"


def summary(scores: np.ndarray) -> dict[str, Any]:
    """The aggregates of one training, with an interval of the mean that resamples tasks and says nothing of seeds.

    Args:
        scores: one mean return a task, [task]; a single one has no interval.
    """
    row = np.asarray(scores, float)[None]
    interval = estimate(mean, row, few=True).interval if row.size > 1 else None
    return {name: aggregate(row) for name, aggregate in AGGREGATES.items()} | {"interval": interval and list(interval)}
