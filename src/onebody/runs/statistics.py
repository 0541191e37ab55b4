"""Aggregates of returns over tasks and seeds, and 95% intervals over seeds.

An aggregate is a number of one training, taken over its tasks; that of an algorithm is its mean over seeds. So the
worst task is each training's own, and so is the worst tenth of the tasks (CVaR). IQM, probability of improvement and
the advice to show intervals are from Agarwal et al. 2021 (rliable), who pool seeds and tasks in the IQM.

The held-out tasks are fixed by the family and the same for all, so intervals treat the seeds alone as a sample: they
speak of further trainings on these tasks. An interval of a mean is Student's t over the values of the seeds. Below
`FEWEST` seeds there is none: the values themselves and their range are shown.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

FEWEST = 5
"""number of seeds, or of tasks for a single training, below which there is no interval"""


class Estimate(NamedTuple):
    """A mean over seeds, what it is the mean of, and how far both can be trusted."""

    value: float
    by_seed: list[float]
    range: tuple[float, float]
    """lowest and highest value of a seed"""
    interval: tuple[float, float] | None
    """95% interval of the mean; None below `FEWEST` seeds"""


def mean(scores: Float[np.ndarray, "seed task"]) -> Float[np.ndarray, " seed"]:
    return scores.mean(axis=1)


def iqm(scores: Float[np.ndarray, "seed task"]) -> Float[np.ndarray, " seed"]:
    """Interquartile mean: without the lowest and the highest quarter of the tasks, each rounded down."""
    return stats.trim_mean(scores, 0.25, axis=1)


def worst(scores: Float[np.ndarray, "seed task"]) -> Float[np.ndarray, " seed"]:
    """Return on the worst task."""
    return scores.min(axis=1)


def cvar10(scores: Float[np.ndarray, "seed task"]) -> Float[np.ndarray, " seed"]:
    """Conditional value at risk: mean of the lowest tenth of the tasks, rounded up."""
    n = -(-scores.shape[1] // 10)
    return np.sort(scores, axis=1)[:, :n].mean(axis=1)


AGGREGATES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"mean": mean, "iqm": iqm, "worst": worst, "cvar10": cvar10}
"""of mean returns [seed, task]; a value for each seed"""


def estimate(by_seed: Float[np.ndarray, " seed"]) -> Estimate:
    """The mean of one value per seed, with Student's t interval.

    The difference of two algorithms is estimated by the differences of their seeds' values, paired by seed.
    """
    return _estimate(by_seed, _interval(by_seed) if len(by_seed) >= FEWEST else None)


def improvement(ours: Float[np.ndarray, "seed task"], theirs: Float[np.ndarray, "seed task"]) -> Estimate:
    """Probability that a training of ours beats one of theirs on a task, ties counted half; rows are paired by seed.

    The value of a pair is its share of tasks won. Student's t has no width where all pairs agree, as when seeds differ
    so much that each pair is won or lost on all tasks. So the interval is that of the pairs and two more, one won and
    one lost on all tasks, as in Laplace's rule of succession (Agresti and Coull 1998 add two of each to a proportion).
    With 5 to 20 pairs of a single task it holds in at least 93% of cases, and wrongly excludes one half in at most 7%:
    6% with five pairs, which by chance all go one way in 1 case of 16, and 2% with ten.
    """
    won = (0.5 + 0.5 * np.sign(ours - theirs)).mean(axis=1)
    if len(won) < FEWEST:
        return _estimate(won, None)
    low, high = _interval(np.append(won, [0.0, 1.0]))
    return _estimate(won, (max(low, 0.0), min(high, 1.0)))


def verdict(interval: tuple[float, float] | None, yes: str, no: str) -> str:
    """What an interval of `improvement` says; only one that excludes one half is a claim."""
    if interval is None:
        return f"fewer than {FEWEST} seeds"
    low, high = interval
    return yes if low > 0.5 else no if high < 0.5 else "not sure"


def shown(found: Mapping[str, Any], form: str) -> str:
    """An `Estimate`, as a mapping, in words: its value with its interval, or with the range of several seeds."""
    low, high = (format(x, form) for x in found["interval"] or found["range"])
    kind = "" if found["interval"] else "range "
    return f"{found['value']:{form}}" + (f" ({kind}{low} to {high})" if len(found["by_seed"]) > 1 else "")


def points(found: Mapping[str, Any], form: str) -> str:
    """The values of an `Estimate`'s seeds, in words."""
    return " ".join(format(x, form) for x in found["by_seed"])


def summary(scores: Float[np.ndarray, " task"]) -> dict[str, Any]:
    """The aggregates of one training, with an interval of the mean that says nothing of other seeds.

    It is Student's t over the tasks, as if they were independent draws from p(ψ); None below `FEWEST` tasks.
    """
    interval = _interval(scores) if len(scores) >= FEWEST else None
    return {name: float(aggregate(scores[None])[0]) for name, aggregate in AGGREGATES.items()} | {
        "interval": interval and list(interval)
    }


def _estimate(by_seed: np.ndarray, interval: tuple[float, float] | None) -> Estimate:
    return Estimate(float(by_seed.mean()), by_seed.tolist(), (float(by_seed.min()), float(by_seed.max())), interval)


def _interval(values: np.ndarray) -> tuple[float, float]:
    """Student's t interval of the mean of independent values."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)
