"""The numbers of results/interfaces."""

from collections.abc import Iterator

import numpy as np

from results import raw

METRICS = {
    "pearl": ("PEARL", "real/return"),
    "maml": ("MAML", "real/adapted_return"),
    "smt": ("SMT", "imagined/return"),
    "omni": ("OMNI", "real/return"),
    "mb-mpo": ("MB-MPO", "imagined/return"),
}
"""by algorithm: its name and the metric that is compared"""


def last_quarter(when: str, algorithm: str) -> np.ndarray:
    """Mean of the metric over the last quarter of the iterations, [seed]."""
    values = [
        [line[METRICS[algorithm][1]] for line in raw.metrics(run)]
        for run in raw.runs(f"interfaces/{when}-{algorithm}-s*")
    ]
    return np.array([np.mean(each[-max(1, len(each) // 4) :]) for each in values])


def figures() -> Iterator[str]:
    for algorithm, (name, metric) in METRICS.items():
        columns = (raw.numbers(last_quarter(when, algorithm), 1) for when in ("before", "now"))
        yield raw.row(name, f"`{metric}`", *columns)
    lowest, highest = last_quarter("now", "omni").min(), last_quarter("before", "omni").max()
    yield f"its lowest is {raw.number(lowest, 1)}, and its highest was {raw.number(highest, 1)}"


GIVEN = [
    "Three seeds (0, 1, 2)",
    "6,400,000 real samples",
    "40,000",
    "20,000",
    "24,000 (seed 0) or 12,000",
    "8 iterations of 250 gradient steps with 64-64 networks",
    "`f40df3e`",
    "`1c63dcc`",
]
