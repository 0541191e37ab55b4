"""The numbers of results/pearl-rl2."""

import importlib
from collections.abc import Iterator

import numpy as np

from results import raw

plot = importlib.import_module("results.pearl-rl2.plot")
AT = {"cheetah-vel": (1, 2, 5), "cheetah-dir": (1, 2, 5), "point": (0.2, 0.5, 1)}
"""million real samples"""
WINDOW = 5
"""iterations up to there, whose returns are averaged"""


def training(family: str, millions: float) -> np.ndarray:
    """Mean returns of the first and the second episode in training, `[seed, slot]`."""
    samples, returns = plot.curves(family)
    end = int(np.searchsorted(samples, millions * 1e6, side="right"))
    return returns[:, :, max(end - WINDOW, 0) : end].mean(-1)


def tested(family: str) -> np.ndarray:
    """Mean returns on held-out tasks, `[seed, stage]`."""
    tests = [raw.read(run / "evaluation.json") for run in raw.runs(f"pearl-rl2/{family}-s*")]
    return np.array([[np.mean(stage["returns"]) for stage in test["stages"]] for test in tests])


def figures() -> Iterator[str]:
    for family, at in AT.items():
        published = raw.published(f"rl2/{family}")["return"] if family.startswith("cheetah") else {}
        for millions in at:
            returns = training(family, millions)
            theirs = published.get(str(int(millions * 1e6)), "")
            cells = (raw.numbers(x, 1 if family == "point" else 0) for x in (*returns.T, returns.mean(1)))
            yield raw.row(family, raw.number(millions, 1 if millions < 1 else 0), *cells, str(theirs))
    ends = (raw.published(f"rl2/cheetah-{name}")["return"]["40000000"] for name in ("vel", "dir"))
    yield "go on to 40 million samples ({} and {})".format(*(f"{end:g}" for end in ends))
    for family in AT:
        places = 1 if family == "point" else 0
        yield raw.row(family, *(raw.numbers(x, places) for x in tested(family).T))


GIVEN = [
    "40,000 samples per iteration on the half-cheetah, 4,000 on the point",
    "tasks hidden, 100 per iteration",
    "first episode, seeds 0 1 2",
    "over 5 iterations up to there",
    "takes ten minibatches with λ = 0.95 where `paper`",
    "has one and λ = 1",
    "| family | stage 0 | 1 | 2 | 3 |",
]
