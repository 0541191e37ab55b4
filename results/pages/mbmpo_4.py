"""The numbers of results/mbmpo-4."""

from collections.abc import Iterator
from typing import Any

from results import raw

NAMES = {"mb-mpo": "MB-MPO", "me-trpo": "ME-TRPO"}
BIASES = {"0": "no bias", "0.1": "up to 0.1", "0.5": "up to 0.5"}
SHOWN = (20_000, 40_000, 60_000)


def shown(name: str, bias: str, samples: int) -> str:
    """Returns without noise before adaptation, of each seed."""
    return raw.by_seed(raw.scores(f"mbmpo-4-{name}/bias-{bias}-s*", samples=samples))


def config(name: str) -> dict[str, Any]:
    return raw.read(f"mbmpo-4-{name}/bias-0-s0/config.json")["config"]


def figures() -> Iterator[str]:
    for bias, title in BIASES.items():
        for name, algorithm in NAMES.items():
            yield raw.row(title if name == "mb-mpo" else "", algorithm, *(shown(name, bias, n) for n in SHOWN))
    for bias, samples in (("0", 20_000), ("0", 60_000), ("0.1", 60_000)):
        both = (shown(name, bias, samples) for name in NAMES)
        yield f"{' beside '.join(both)} after {raw.number(samples)}"
    ours, theirs = (raw.metrics(f"mbmpo-4-{name}/bias-0.5-s0") for name in NAMES)
    top = (raw.number(max(line["imagined/return"] for line in each)) for each in (ours, theirs))
    yield f"up to {' in MB-MPO and '.join(top)} in ME-TRPO"
    yield f"up to {raw.number(100 * max(line['imagined/cut'] for line in ours))}% of the steps"
    each = raw.number(config("mb-mpo")["meta_batch"] * config("mb-mpo")["episodes"] * 100)
    steps = raw.number(config("me-trpo")["episodes"] * 100)
    yield f"here {steps}, where MB-MPO has {each} before the inner step and as many after it"


GIVEN = [
    "the paper's persistence of 0.95 and at most 200 epochs; 15 iterations of 40 real episodes",
    "α 0.01 for MB-MPO, noise 0.1",
    "off by up to 0.1 or 0.5 standard deviations",
    "The released trial has 40 iterations",
    "30 imagined episodes per task, and 100,000 imagined steps for a step of ME-TRPO",
    "after 20,000 samples | 40,000 | 60,000",
    "up to 0.1 they",
    "up to 0.5 neither learns",
    "Biases between 0.1 and 0.5",
]
