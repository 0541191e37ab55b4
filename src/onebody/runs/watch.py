"""Warnings during training: observations that never vary, episodes that the environment ends early, and imagined
returns far from the real ones."""

from collections.abc import Mapping, Sequence
from typing import Any, SupportsFloat

import jax
import numpy as np

from onebody.learning.replay import Replay
from onebody.tasks.family import TaskFamily
from onebody.worlds import notes
from onebody.worlds.simulator import Simulator

CONSECUTIVE = 6
"""number of consecutive iterations in which the returns must differ enough for a warning"""
MIN_RELATIVE_GAP = 0.75
"""least difference of the two returns for a warning, relative to the larger one"""
MIN_DEVIATIONS, RECENT = 2.0, 10
"""least difference for a warning in standard deviations of the real return over the last RECENT iterations"""
PAIRS = (("real/deterministic_return", "imagined/deterministic_return"), ("real/return", "imagined/return"))
"""pairs of metrics to compare; the first pair that exists is used"""


def constant(state: Any, family: TaskFamily) -> str:
    """Warning about observations that are constant in the replay buffer of real data; empty if there are none."""
    for data in jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, Replay)):
        if isinstance(data, Replay) and data.size:
            rows = np.asarray(data.observation[: int(data.size)])
            if labels := notes.constant(family.body.labels, rows):
                return f"{labels} never varied in {len(rows):,} real samples and is ignored until it does"
    return ""


def cut(simulator: Simulator) -> str:
    """Warning about episodes that the environment ended before the family did; empty if there are none."""
    if not simulator.cut:
        return ""
    return (
        f"the environment ended {simulator.cut:,} of {simulator.episodes:,} episodes before the family did: "
        "they were truncated there, which is harmless as long as they are few"
    )


def model_is_off(metrics: Sequence[Mapping[str, SupportsFloat]]) -> str:
    """Warning that imagined returns have been far from real ones in the last iterations; empty if they have not.

    Args:
        metrics: of each iteration so far; with fewer than CONSECUTIVE of them there is no warning.
    """
    pair = next((pair for pair in PAIRS if metrics[-1].keys() >= set(pair)), None)
    if pair is None or len(metrics) < CONSECUTIVE:
        return ""
    real, imagined = (np.array([float(line.get(name, np.nan)) for line in metrics]) for name in pair)
    gap, larger = np.abs(imagined - real), np.maximum(np.abs(imagined), np.abs(real))
    for i in range(len(metrics) - CONSECUTIVE, len(metrics)):
        recent = real[max(0, i + 1 - RECENT) : i + 1].std()
        if not gap[i] > max(MIN_RELATIVE_GAP * larger[i], MIN_DEVIATIONS * recent):
            return ""
    return (
        f"imagined and real returns have been far apart for {CONSECUTIVE} iterations, now {imagined[-1]:.1f} "
        f"and {real[-1]:.1f}: the model is wrong along the policy's trajectory. Look for observations that jump or "
        "rarely vary"
    )
