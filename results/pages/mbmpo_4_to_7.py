"""The numbers of results/mbmpo-4-to-7."""

import importlib
from collections.abc import Iterator

import numpy as np

from results import raw

plot = importlib.import_module("results.mbmpo-4-to-7.plot")
SHOWN = (20_000, 40_000, 60_000, 80_000)
ROWS = (
    ("Figure 4, no bias", "MB-MPO", "4-mb-mpo-0"),
    ("", "ME-TRPO", "4-me-trpo-0"),
    ("up to 0.1", "MB-MPO", "4-mb-mpo-0.1"),
    ("", "ME-TRPO", "4-me-trpo-0.1"),
    ("up to 0.5", "MB-MPO", "4-mb-mpo-0.5"),
    ("", "ME-TRPO", "4-me-trpo-0.5"),
    ("Figure 6", "adapted policies collect", "6-tailored"),
    ("", "the one before adaptation", "6-not-tailored"),
    ("Figure 7", "α 0", "7-rate-0"),
    ("", "one model", "7-members-1"),
    ("", "10 meta-steps", "7-steps-10"),
)


def lines(name: str) -> list[list[dict[str, float]]]:
    """The metrics of each seed."""
    return [raw.metrics(run) for run in raw.runs(f"mbmpo-4-to-7/{name}-s*")]


def shown(name: str, samples: int) -> str:
    return raw.numbers(plot.returns(name, samples))


def figures() -> Iterator[str]:
    for title, what, name in ROWS:
        yield raw.row(title, what, *(shown(name, n) for n in SHOWN))
    yield from biased_models()
    yield from long_horizon()
    for n in (40_000, 80_000):
        means = (raw.number(plot.returns(name, n).mean()) for name in ("6-tailored", "6-not-tailored"))
        yield f"after {raw.number(n)} samples the means are {' and '.join(means)}"
    yield from variants()
    ended = [len(run) for name in ("7-members-1", "5-rate-0", "5-rate-0.001") for run in lines(name)]
    yield f"`7-members-1` after {ended[0]} iterations and {ended[1]}, both of Figure 5's seed 1 after {ended[3]}"


def biased_models() -> Iterator[str]:
    for bias, samples in (("0", 20_000), ("0", 60_000), ("0.1", 60_000)):
        both = (shown(f"4-{name}-{bias}", samples) for name in ("mb-mpo", "me-trpo"))
        yield f"{' beside '.join(both)} after {raw.number(samples)}"
    ours, theirs = (lines(f"4-{name}-0.5")[0] for name in ("mb-mpo", "me-trpo"))
    top = (raw.number(max(line["imagined/return"] for line in each)) for each in (ours, theirs))
    yield f"up to {' in MB-MPO and '.join(top)} in ME-TRPO"
    yield f"up to {raw.number(100 * max(line['imagined/cut'] for line in ours))}% of the steps"
    config = raw.read("mbmpo-4-to-7/4-mb-mpo-0-s0/config.json")["config"]
    each = raw.number(config["meta_batch"] * config["episodes"] * 100)
    episodes = raw.read("mbmpo-4-to-7/4-me-trpo-0-s0/config.json")["config"]["episodes"]
    yield f"here {raw.number(episodes * 100)}, where MB-MPO has {each} before the inner step and as many after it"


def long_horizon() -> Iterator[str]:
    for title, rate in (("α 0.001", "0.001"), ("without adaptation", "0")):
        result = [shown(f"5-rate-{rate}", n) for n in (25_000, 50_000, 75_000)]
        yield f"{title} {result[0]} after 25,000 samples, {result[1]} after 50,000 and {result[2]} after 75,000"
    runs = raw.runs("mbmpo-4-to-7/5-rate-*-s*")
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


def variants() -> Iterator[str]:
    reference = {n: shown("6-tailored", n) for n in SHOWN}
    alone, single = shown("7-rate-0", 60_000), shown("7-members-1", 40_000)
    yield f"without adaptation {alone} after 60,000 samples, where the reference has {reference[60_000]}"
    yield f"with one model in place of five {single} after 40,000, where it has {reference[40_000]}"
    yield f"({raw.number(lines('7-members-1')[1][-1]['imagined/return'])} after 40,000)"
    yield f"with 10 meta-steps per iteration {shown('7-steps-10', 60_000)} after 60,000, one seed"


GIVEN = [
    "the paper's persistence of 0.95 and at most 200 epochs; 15 iterations (Figure 6: 20, its reference 25)",
    "horizon 100, 40 real episodes per iteration, α 0.01 for MB-MPO, noise 0.1",
    "off by up to 0.1 or 0.5 standard deviations",
    "The released trial has 40 iterations",
    "30 imagined episodes per task, and 100,000 imagined steps for a step of ME-TRPO",
    "horizon 1000: α 0 or 0.001",
    "of 500 steps, at states of the data; here all begin at p0, and have 1000",
    "after 20,000 samples | 40,000 | 60,000 | 80,000",
    "every 8,000 samples: at 20,000 and 60,000",
    "up to 0.1 they",
    "up to 0.5 neither learns",
    "Biases between 0.1 and 0.5",
    "for 1000 steps",
    "11 to 12% ahead",
    "At α 0.001",
    "α 0.01, 10 models and 60 meta-steps",
    "the second (10 iterations) none",
    "Figures 4 (with bias), 5 and 7",
    "of 4 and 5 at `cdef2a3`",
    "was begun for 25 and stopped after 20",
]
