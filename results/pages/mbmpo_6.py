"""The numbers of results/mbmpo-6, whose runs with adapted policies are the reference of Figure 7, too."""

from collections.abc import Iterator

import numpy as np

from results import raw

SHOWN = (20_000, 40_000, 60_000, 80_000)
NAMES = {"tailored": "adapted policies collect", "not-tailored": "the one before adaptation"}


def returns(system: str, samples: int) -> np.ndarray:
    """Return without noise before adaptation of each seed of STUDY/SYSTEM that got as far, in their order; between two
    tests the mean of both."""
    tested = [raw.tests(run) for run in raw.runs(f"{system}-s*")]
    curves = [{n: np.mean(stages[0]["returns"]) for n, stages in tests.items()} for tests in tested]
    return np.array([np.interp(samples, list(one), list(one.values())) for one in curves if max(one) >= samples])


def shown(system: str, samples: int) -> str:
    return raw.numbers(returns(system, samples))


def figures() -> Iterator[str]:
    for name, title in NAMES.items():
        yield raw.row(title, *(shown(f"mbmpo-6/{name}", n) for n in SHOWN))
    for n in (40_000, 80_000):
        means = (raw.number(returns(f"mbmpo-6/{name}", n).mean()) for name in NAMES)
        yield f"after {raw.number(n)} samples the means are {' and '.join(means)}"


GIVEN = [
    "the paper's persistence of 0.95 and at most 200 epochs; 20 iterations, and 25 where",
    "after 20,000 samples | 40,000 | 60,000 | 80,000",
    "every 8,000 samples: at 20,000 and 60,000",
    "11 to 12% ahead",
    "At α 0.001",
    "was begun for 25 iterations and stopped after 20",
]
