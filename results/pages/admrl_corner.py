"""The numbers of results/admrl-corner."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from onebody.runs import statistics
from results import raw

NAMES = ("admrl", "mb-unif")
SAMPLES = (2400, 4800)
LAST = SAMPLES[-1]
SPEED, HORIZON = 0.1, 40


def gaps(name: str, samples: int) -> np.ndarray:
    """How far the zero-shot policy of each goal is below the optimum, [seed, goal]; the corner is the last goal.

    The optimum is the return of the straight way: turned or not, a step is as long in every direction.
    """
    goals = np.array(raw.stages("admrl-corner/admrl-s0")[0]["tasks"])
    away = np.linalg.norm(goals, axis=1)[:, None] - SPEED * np.arange(1, HORIZON + 1)
    return -np.maximum(away, 0.0).sum(axis=1) - raw.scores(f"admrl-corner/{name}-s*", samples=samples)


def visited(run: Path, samples: int = LAST) -> np.ndarray:
    """Training tasks, [task, axis]."""
    rows = [row for row in raw.metrics(run) if row["real/samples"] <= samples]
    return np.array([(row["task/1"], row["task/2"]) for row in rows])


def interval(difference: np.ndarray, digits: int) -> str:
    """The mean of the seeds' differences and its 95% interval (Student's t)."""
    result = statistics.estimate(difference)
    return f"{raw.number(result.value, digits)} ({raw.to(result.interval, digits)})"


def elsewhere(name: str, samples: int) -> np.ndarray:
    """The mean gap of each seed without the goal at the corner, the last of the grid."""
    return gaps(name, samples)[:, :-1].mean(axis=1)


def figures() -> Iterator[str]:
    kinds = {
        "worst": (1, lambda name, samples: gaps(name, samples).max(axis=1)),
        "mean": (2, lambda name, samples: gaps(name, samples).mean(axis=1)),
        "mean elsewhere": (2, elsewhere),
    }
    for kind, (digits, of) in kinds.items():
        for samples in SAMPLES:
            ours, theirs = (of(name, samples) for name in NAMES)
            cells = raw.numbers(ours, digits), raw.numbers(theirs, digits), interval(theirs - ours, digits)
            yield raw.row(kind, raw.number(samples), *cells)
    for samples in SAMPLES:
        runs = [raw.runs(f"admrl-corner/{name}-s0")[0] for name in NAMES]
        adversarial, uniform = (len(visited(run, samples)) for run in runs)
        yield f"after {raw.number(samples)} samples it has had {adversarial} tasks where MB-Unif has had {uniform}"
    behind = [elsewhere("admrl", samples) > elsewhere("mb-unif", samples) for samples in SAMPLES]
    assert behind[0].sum() == behind[1].sum()
    yield f"the higher one with {behind[0].sum()} of {behind[0].size} seeds, at either number of samples"
    far = gaps("admrl-first", LAST)
    yield f"worst gaps are {raw.numbers(far.max(axis=1))}"
    yield f"mean gaps elsewhere {raw.numbers(elsewhere('admrl-first', LAST), 1)}"
    tasks = np.concatenate([visited(run) for run in raw.runs("admrl-corner/admrl-first-s*")])
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
    there = later("admrl-corner/admrl-first-s*", "gap/return")
    half = raw.to(np.percentile(there, [25, 75]), 1)
    yield f"the gap of a task there is {raw.to(there, 1)}, in half of the cases {half}"


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
