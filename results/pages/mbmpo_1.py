"""The numbers of results/mbmpo-1."""

import importlib
from collections.abc import Iterator

import numpy as np

from results import raw

plot = importlib.import_module("results.mbmpo-1.plot")
SHOWN = (50, 100, 250, 500, 1000)
"""thousand real samples"""
MODEL_BASED = 96
"""thousand real samples of MB-MPO's last test"""


def returns(pattern: str, thousands: int) -> np.ndarray:
    """Returns without noise, `[seed]`."""
    samples, values = plot.curves(pattern)
    return values[:, list(samples).index(1000 * thousands)]


def figures() -> Iterator[str]:
    for body in plot.BODIES:
        for name, (title, _) in plot.done(body).items():
            cells = [raw.numbers(returns(f"mbmpo-1/{body}-{name}-s*", n)) for n in SHOWN]
            yield raw.row(body, title, *cells)
        ours = returns(f"mbmpo-2/{body}-mb-mpo-s*", MODEL_BASED)
        yield f"{raw.numbers(ours)} on the {body}"


GIVEN = [
    "50,000 samples | 100,000 | 250,000 | 500,000 | 1,000,000",
    "after 96,000 samples",
    "after every 50,000 samples",
]
