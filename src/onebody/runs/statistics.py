"""Aggregates of returns over tasks."""

from typing import Any

import numpy as np
from scipy import stats


def summary(scores: np.ndarray) -> dict[str, Any]:
    """Mean, interquartile mean, worst task, mean of the worst tenth, and a 95% bootstrap interval of the mean.

    Args:
        scores: one mean return a task, [task]. The interval resamples tasks; it says nothing of other seeds.
    """
    scores = np.asarray(scores, float)
    worst = np.sort(scores)[: max(1, round(0.1 * len(scores)))]
    interval = [float(scores.mean())] * 2
    if len(scores) > 1 and np.ptp(scores) > 0:
        found = stats.bootstrap((scores,), np.mean, n_resamples=2000, method="percentile", rng=0).confidence_interval
        interval = [float(found.low), float(found.high)]
    return {
        "mean": float(scores.mean()),
        "iqm": float(stats.trim_mean(scores, 0.25)),
        "worst": float(scores.min()),
        "cvar10": float(worst.mean()),
        "interval": interval,
    }
