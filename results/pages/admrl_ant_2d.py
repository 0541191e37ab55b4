"""The numbers of results/admrl-ant-2d."""

from collections.abc import Iterator

import numpy as np

from results import raw

NAMES = ("admrl", "mb-unif", "mb-gauss")
SAMPLES = (40_000, 80_000, 160_000)
KINDS = ("mean gap", "worst gap", "worst tenth's gap")
WORST_TENTH = 3
"""of 25 tasks"""
STANDING, PER_SPEED = 200 * 5.05, 200
"""return of an ant that stands, for a task at rest and less for each m/s of the task"""


def returns(name: str) -> np.ndarray:
    """Of the zero-shot policies, [samples, seed, task]."""
    return np.array([raw.scores(f"admrl-ant-2d/{name}-s*", samples=n) for n in SAMPLES])


def aggregates(name: str) -> np.ndarray:
    """Of the gaps to the highest return of any training on each task, [kind, samples, seed]."""
    best = np.max([returns(each).max(axis=(0, 1)) for each in NAMES], axis=0)
    gap = np.sort(best - returns(name))
    return np.array([gap.mean(-1), gap[..., -1], gap[..., -WORST_TENTH:].mean(-1)])


def figures() -> Iterator[str]:
    tasks = [{len(raw.metrics(run)) for run in raw.runs(f"admrl-ant-2d/{name}-s*")} for name in NAMES]
    yield raw.row("training tasks", raw.number(SAMPLES[-1]), *(each.pop() for each in tasks))
    result = {name: [returns(name).mean(-1), *aggregates(name)] for name in NAMES}
    for i, kind in enumerate(("mean return", *KINDS)):
        for j, samples in enumerate(SAMPLES):
            yield raw.row("" if j else kind, raw.number(samples), *(raw.numbers(each[i][j]) for each in result.values()))

    mean, _, worst, _ = (np.array([result[name][i][-1] for name in NAMES]) for i in range(4))
    yield f"mean returns of {raw.numbers(mean[0])} beside {raw.numbers(mean[1])}"
    yield f"worst gaps of {raw.numbers(worst[0])} beside {raw.numbers(worst[1])}"
    yield f"the means differ by {raw.number(worst[0].mean() - worst[1].mean())}"
    yield f"MB-Gauss has mean returns of {raw.numbers(mean[2])} and worst gaps of {raw.numbers(worst[2])}"
    half = [aggregates("mb-unif")[i, 1] for i in (1, 0)]
    yield f"AdMRL's worst gaps are lower with each seed ({raw.numbers(worst[0])} beside {raw.numbers(half[0])})"
    yield f"its mean gaps, too ({raw.numbers(result['admrl'][1][-1])} beside {raw.numbers(half[1])})"

    grid = np.array(raw.stages("admrl-ant-2d/admrl-s0")[0]["tasks"])
    standing = STANDING - PER_SPEED * np.abs(grid).sum(axis=1).mean()
    yield f"{raw.number(STANDING)} less {PER_SPEED} for each m/s of the task"
    yield f"{raw.number(standing)} on the mean of the grid"
    runs = raw.runs("admrl-ant-2d/admrl-s*")
    first = raw.metrics(runs[0])[0]
    yield f"From ({first['task/1']:.1f}, {first['task/2']:.1f}) m/s"
    gaps = np.array([line["gap/return"] for run in runs for line in raw.metrics(run)])
    yield f"is so in {np.sum(gaps < 0)} of {gaps.size} tasks"


GIVEN = [
    "grid of 25 velocities over [-3, 3]²",
    "At 160,000 samples",
    "(10 episodes of either policy; `paper`: 100 episodes beside 150 of the stages)",
    "20 (AdMRL after 160,000 samples, MB-Unif after 80,000)",
    "up to 100 tasks of 50,000 samples; this is 20 tasks of 8,000",
]
