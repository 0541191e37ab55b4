"""The numbers of results/omni-ends."""

from collections.abc import Iterator

import numpy as np

from results import raw

BODIES = ("walker2d", "hopper", "humanoid-vel")
TESTED = (0, 20_000, 40_000)
"""real samples"""


def row(body: str, name: str) -> str:
    (run,) = raw.runs(f"omni-ends/{body}-{name}-ends-s0")
    tested = raw.tests(run)
    returns = [raw.number(np.mean(tested[n][0]["returns"])) for n in TESTED]
    return raw.row(body, name, *returns, raw.number(np.mean(tested[TESTED[-1]][0]["predicted"])))


def trial(name: str) -> str:
    """Return of the real episodes with the deterministic policy in each iteration of the trial on the walker."""
    return raw.numbers([line["real/deterministic_return"] for line in raw.metrics(f"omni-ends/walker2d-{name}-ends-s100")])


def figures() -> Iterator[str]:
    for body in BODIES:
        for name in ("without", "with"):
            if list(raw.HERE.glob(f"omni-ends/{body}-{name}-ends-s0")):
                yield row(body, name)
    yield f"without it {trial('without')}"
    yield f"with it {trial('with')}"
    now, before = (
        raw.scores(pattern, samples=20_000).mean()
        for pattern in ("omni-ends/double-pendulum-with-ends-s1", "gallery/double-pendulum-omni-s1")
    )
    yield f"has {raw.number(now)} after 20,000 samples with it, and {raw.number(before)} without"


GIVEN = [
    "40,000 real samples",
    "| untrained | 20,000 samples | 40,000 samples | predicted |",
    "(1 + velocity per step, 200 steps), `humanoid-vel` has 40 held-out velocities",
    "to 24,000 samples, once: eight copies with noise of 0.3 standard deviations",
    "of iterations 1 to 6 was",
]
