"""The numbers of results/admrl-corner."""

import importlib
from collections.abc import Iterator

import numpy as np

from onebody.runs import statistics
from results import raw

plot = importlib.import_module("results.admrl-corner.plot")
LAST = plot.SAMPLES[-1]


def interval(difference: np.ndarray, digits: int) -> str:
    """The mean of the seeds' differences and its 95% interval (Student's t)."""
    result = statistics.estimate(difference)
    return f"{raw.number(result.value, digits)} ({raw.to(result.interval, digits)})"


def elsewhere(name: str, samples: int) -> np.ndarray:
    """The mean gap of each seed without the goal at the corner, the last of the grid."""
    return plot.gaps(name, samples)[:, :-1].mean(axis=1)


def figures() -> Iterator[str]:
    kinds = {
        "worst": (1, lambda name, samples: plot.gaps(name, samples).max(axis=1)),
        "mean": (2, lambda name, samples: plot.gaps(name, samples).mean(axis=1)),
        "mean elsewhere": (2, elsewhere),
    }
    for kind, (digits, of) in kinds.items():
        for samples in plot.SAMPLES:
            ours, theirs = (of(name, samples) for name in plot.NAMES)
            cells = raw.numbers(ours, digits), raw.numbers(theirs, digits), interval(theirs - ours, digits)
            yield raw.row(kind, raw.number(samples), *cells)
    for samples in plot.SAMPLES:
        runs = [raw.runs(f"admrl-corner/{name}-s0")[0] for name in plot.NAMES]
        adversarial, uniform = (len(plot.visited(run, samples)) for run in runs)
        yield f"after {raw.number(samples)} samples it has had {adversarial} tasks where MB-Unif has had {uniform}"
    behind = [elsewhere("admrl", samples) > elsewhere("mb-unif", samples) for samples in plot.SAMPLES]
    assert behind[0].sum() == behind[1].sum()
    yield f"the higher one with {behind[0].sum()} of {behind[0].size} seeds, at either number of samples"
    far = plot.gaps("admrl-first", LAST)
    yield f"worst gaps are {raw.numbers(far.max(axis=1))}"
    yield f"mean gaps elsewhere {raw.numbers(elsewhere('admrl-first', LAST), 1)}"
    tasks = np.concatenate([plot.visited(run) for run in raw.runs("admrl-corner/admrl-first-s*")])
    nearest = np.ceil(10 * tasks.min(axis=1).max()) / 10
    yield f"no training task has both coordinates above {raw.number(nearest, 1)}"
    yield from terms()


def later(pattern: str, key: str) -> np.ndarray:
    """A metric of every gradient but the first, `[seed, gradient]`."""
    return np.array([[line[key] for line in raw.metrics(run)[1:]] for run in raw.runs(pattern)])


def terms() -> Iterator[str]:
    implicit, direct = (later("admrl-corner/admrl-s*", f"gap/{kind}") for kind in ("implicit", "direct"))
    larger = f"above 0.02 in {np.sum(implicit > 0.02)}, and larger than the direct one in {np.sum(implicit > direct)}"
    yield f"Of the {implicit.size} later gradients of all seeds the implicit term is {larger}"
    yield f"Its median is {raw.number(np.median(implicit), 3)} beside {raw.number(np.median(direct), 3)}"
    both = [(raw.number(implicit[seed, 0], 3), raw.number(direct[seed, 0], 3)) for seed in (1, 2)]
    largest = [" beside ".join(each) for each in both]
    yield f"({' and '.join(largest)})"
    gaps = later("admrl-corner/admrl-first-s*", "gap/return")
    yield f"the gap of a task there is {raw.to(gaps, 1)}, in half of the cases {raw.to(np.percentile(gaps, [25, 75]), 1)}"


GIVEN = [
    "Goals in [0, 1]²",
    "at (0.9, 0.9) and by 3 rad at (1, 1)",
    "a grid of 25 goals",
    "take 160 of its 400 samples per task",
    "leaves the goal at (1, 1) out",
    "a 95% interval",
    "difference, 95% interval",
    "the other 24 goals",
    "30% of the way",
    "a first task at (0.2, 0.2) (`admrl-first-s*`, 4,800 samples)",
    "After 2,400 samples",
    "After 4,800",
    "rate of 2, the entropy coefficient of 0.1 (TRPO's usual one is 0.005)",
]
