"""What a training warns of: observations that never vary, episodes that are cut, and imagined returns that part from
the real ones."""

from collections.abc import Mapping, Sequence
from typing import Any, SupportsFloat

import jax
import numpy as np

from onebody.learning.replay import Replay
from onebody.tasks.family import TaskFamily
from onebody.worlds import notes
from onebody.worlds.simulator import Simulator

PARTED = 6
"""iterations in a row in which imagined returns must be off"""
SHARE = 0.75
"""of the larger of the two returns, by which they must at least be off"""
DEVIATIONS, RECENT = 2.0, 10
"""standard deviations of so many recent real returns, by which they must at least be off"""
PAIRS = (("real/deterministic_return", "imagined/deterministic_return"), ("real/return", "imagined/return"))
"""metrics that are compared: the first pair that there is"""


def constant(state: Any, family: TaskFamily) -> str:
    """Which observations are the same in all the real data of a model so far; empty if there are none."""
    for data in jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, Replay)):
        if isinstance(data, Replay) and data.size:
            rows = np.asarray(data.observation[: int(data.size)])
            if same := notes.constant(family.body.labels, rows):
                return f"{same} never varied in {len(rows):,} real samples: nothing is learned from it until it does"
    return ""


def cut(simulator: Simulator) -> str:
    """That the body ended episodes itself, where the family goes on; empty if it has not."""
    if not simulator.cut:
        return ""
    return (
        f"the environment ended {simulator.cut:,} of {simulator.episodes:,} episodes where the family goes on: they "
        "were truncated there, which does no harm while they are few"
    )


def parted(metrics: Sequence[Mapping[str, SupportsFloat]]) -> str:
    """What to say where imagined returns have parted from the real ones in the newest iterations; empty if they have
    not, or if there are too few iterations."""
    pair = next((pair for pair in PAIRS if metrics[-1].keys() >= set(pair)), None)
    if pair is None or len(metrics) < PARTED:
        return ""
    real, imagined = (np.array([float(line.get(name, np.nan)) for line in metrics]) for name in pair)
    gap, larger = np.abs(imagined - real), np.maximum(np.abs(imagined), np.abs(real))
    for i in range(len(metrics) - PARTED, len(metrics)):
        recent = real[max(0, i + 1 - RECENT) : i + 1].std()
        if not gap[i] > max(SHARE * larger[i], DEVIATIONS * recent):
            return ""
    return (
        f"imagined and real returns have been far apart for {PARTED} iterations, now {imagined[-1]:.1f} and "
        f"{real[-1]:.1f}: the model is wrong where the policy goes. Look for observations that jump or hardly ever vary"
    )
