"""The numbers of results/fetch-reach."""

from collections.abc import Iterator

import numpy as np

from results import raw

PATTERN = "fetch-reach/omni-s*"
REACHED = 0.05
"""distance (m) within which gymnasium-robotics counts a goal as reached"""


def inside() -> str:
    """Tasks whose mean real return lies in the interval of their prediction."""
    real = raw.scores(PATTERN, samples=5000)
    low, high = np.moveaxis(np.array([each["predicted_intervals"] for each in raw.stages(PATTERN, samples=5000)]), -1, 0)
    return f"{np.sum((low <= real) & (real <= high))} of {real.size}"


def reached(name: str) -> np.ndarray:
    """Share of the episodes that end at their goal, by seed."""
    ends = np.array([raw.read(run / "distances.json")[name] for run in raw.runs(PATTERN)])
    return (ends < REACHED).mean(axis=(1, 2))


def figures() -> Iterator[str]:
    untrained, trained = raw.scores("fetch-reach/omni-s0", samples=0), raw.scores(PATTERN, samples=5000)
    yield raw.row("0 (seed 0)", raw.by_seed(untrained, 1), raw.number(untrained.min(), 1), "–", "–")
    cells = raw.by_seed(trained, 2), raw.number(trained.min(), 2), raw.by_seed(raw.predicted(PATTERN, samples=5000), 2)
    yield raw.row("5,000", *cells, inside())
    shares = (" ".join(f"{each:.2f}" for each in reached(name)) for name in ("trained", "untrained", "random actions"))
    yield raw.row("share of episodes", *shares)


GIVEN = [
    "gymnasium-robotics 1.4.2 beside MuJoCo 4.0.0 and Gymnasium 1.4.0",
    "a cube of 0.3 m",
    "50 steps of 0.04 s",
    "forty held-out goals",
    "within 0.05 m of its goal",
    "go on to 10,000 samples and was stopped after 6,000; it was tested after 5,000",
]
