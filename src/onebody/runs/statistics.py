"""Aggregates of returns over tasks and seeds, and 95% intervals over seeds.

An aggregate is computed over the tasks of one training run; that of an algorithm is its mean over seeds. So the worst
task, and the worst tenth of the tasks (CVaR), may be other tasks in each run. IQM, probability of improvement and the
advice to show intervals are from Agarwal et al. 2021 (rliable), who pool seeds and tasks in the IQM.

The held-out tasks are fixed by the family and the same for all runs, so intervals treat only the seeds as a sample:
they are about further training runs on these tasks. The interval of a mean is Student's t over the values of the seeds.
Below `FEWEST` seeds there is none, and the values and their range are shown instead.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

FEWEST = 5
"""least number of seeds, or of tasks for a single run, with which there is an interval"""


class Estimate(NamedTuple):
    """A mean over seeds, with the value of each seed, their range and the interval of the mean."""

    value: float
    by_seed: list[float]
    range: tuple[float, float]
    """lowest and highest value of all seeds"""
    interval: tuple[float, float] | None
    """95% interval of the mean; None below `FEWEST` seeds"""


def mean(scores: Float[np.ndarray, "seed task"]) -> Float[np.ndarray, " seed"]:
    """Mean over tasks."""
    return scores.mean(axis=1)


def iqm(scores: Float[np.ndarray, "seed task"]) -> Float[np.ndarray, " seed"]:
    """Interquartile mean: without the lowest and the highest quarter of the tasks, each rounded down."""
    cut = scores.shape[1] // 4
    return np.sort(scores, axis=1)[:, cut : scores.shape[1] - cut].mean(axis=1)


def worst(scores: Float[np.ndarray, "seed task"]) -> Float[np.ndarray, " seed"]:
    """Return on the worst task."""
    return scores.min(axis=1)


def cvar10(scores: Float[np.ndarray, "seed task"]) -> Float[np.ndarray, " seed"]:
    """Conditional value at risk: mean of the lowest tenth of the tasks, rounded up."""
    n = -(-scores.shape[1] // 10)
    return np.sort(scores, axis=1)[:, :n].mean(axis=1)


AGGREGATES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"mean": mean, "iqm": iqm, "worst": worst, "cvar10": cvar10}
"""functions of mean returns [seed, task] that give one value per seed"""


def estimate(by_seed: Float[np.ndarray, " seed"]) -> Estimate:
    """The mean of one value per seed, with Student's t interval.

    To estimate the difference of two algorithms, give the differences of their values, paired by seed.
    """
    return _estimate(by_seed, _interval(by_seed) if len(by_seed) >= FEWEST else None)


def improvement(ours: Float[np.ndarray, "seed task"], theirs: Float[np.ndarray, "seed task"]) -> Estimate:
    """Probability that a run of ours beats a run of theirs on a task, ties counted half; rows are paired by seed.

    The value of a pair is the share of tasks on which ours wins. Student's t has zero width if all pairs are equal, for
    example if ours wins all tasks in each pair. The interval is therefore computed from the pairs and two more, one
    that wins and one that loses all tasks, as in Laplace's rule of succession (Agresti and Coull 1998 add two of each
    to a proportion). With 5 to 20 pairs of a single task, it covers the true value in at least 93% of cases and wrongly
    excludes one half in at most 7%: 6% with five pairs, which by chance all have one sign in 1 case of 16, and 2% with
    ten.
    """
    won = (0.5 + 0.5 * np.sign(ours - theirs)).mean(axis=1)
    if len(won) < FEWEST:
        return _estimate(won, None)
    low, high = _interval(np.append(won, [0.0, 1.0]))
    return _estimate(won, (max(low, 0.0), min(high, 1.0)))


def verdict(interval: tuple[float, float] | None, yes: str, no: str) -> str:
    """The better algorithm according to an interval of `improvement`; `not sure` if it includes one half."""
    if interval is None:
        return f"fewer than {FEWEST} seeds"
    low, high = interval
    return yes if low > 0.5 else no if high < 0.5 else "not sure"


def shown(estimate: Mapping[str, Any], form: str) -> str:
    """An `Estimate`, given as a mapping, as text: its value with its interval, or with the range over the seeds."""
    low, high = (format(x, form) for x in estimate["interval"] or estimate["range"])
    kind = "" if estimate["interval"] else "range "
    return f"{estimate['value']:{form}}" + (f" ({kind}{low} to {high})" if len(estimate["by_seed"]) > 1 else "")


def points(estimate: Mapping[str, Any], form: str) -> str:
    """The value of each seed of an `Estimate`, given as a mapping, as text."""
    return " ".join(format(x, form) for x in estimate["by_seed"])


def summary(scores: Float[np.ndarray, " task"]) -> dict[str, Any]:
    """The aggregates of one training run, with an interval of the mean that does not account for other seeds.

    The interval is Student's t over the tasks, treated as independent draws from p(ψ); None below `FEWEST` tasks.
    """
    interval = _interval(scores) if len(scores) >= FEWEST else None
    return {name: float(aggregate(scores[None])[0]) for name, aggregate in AGGREGATES.items()} | {
        "interval": interval and list(interval)
    }


def _estimate(by_seed: np.ndarray, interval: tuple[float, float] | None) -> Estimate:
    return Estimate(float(by_seed.mean()), by_seed.tolist(), (float(by_seed.min()), float(by_seed.max())), interval)


def _interval(values: np.ndarray) -> tuple[float, float]:
    """Student's t interval of the mean of independent values."""
    from scipy.special import stdtrit  # a slow import that `onebody adapt` does not need

    half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)
