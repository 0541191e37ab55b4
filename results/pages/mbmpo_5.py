"""The numbers of results/mbmpo-5."""

from collections.abc import Iterator

import numpy as np

from results import raw
from results.pages import mbmpo_6


def figures() -> Iterator[str]:
    for title, rate in (("α 0.001", "0.001"), ("without adaptation", "0")):
        result = [mbmpo_6.shown(f"mbmpo-5/rate-{rate}", n) for n in (25_000, 50_000, 75_000)]
        yield f"{title} {result[0]} after 25,000 samples, {result[1]} after 50,000 and {result[2]} after 75,000"
    runs = raw.runs("mbmpo-5/rate-*-s*")
    tested = [
        (line, tests[n])
        for run in runs
        for tests in [raw.tests(run)]
        for line in raw.metrics(run)
        if (n := line["real/samples"]) in tests
    ]
    apart = [abs(line["imagined/return"] - np.mean(stages[0]["returns"])) for line, stages in tested]
    yield f"Imagined returns are {raw.to(apart)} from the real ones"
    cut = [100 * line["imagined/cut"] for run in runs for line in raw.metrics(run)]
    yield f"mostly {raw.to(np.percentile(cut, [10, 90]))}%, once {raw.number(max(cut))}%"
    (ended,) = {len(raw.metrics(run)) for run in raw.runs("mbmpo-5/rate-*-s1")}
    yield f"both runs with seed 1 were stopped after {ended} iterations"


GIVEN = [
    "at horizon 1000",
    "the paper's persistence of 0.95 and at most 200 epochs; 15 iterations, α 0 or 0.001",
    "of 500 steps, at states of the data; here all begin at p0, and have 1000",
    "the second (10 iterations) none",
    "for 1000 steps",
]
