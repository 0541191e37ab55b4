"""The numbers of results/admrl-ant-2d."""

import importlib
from collections.abc import Iterator

import numpy as np

from results import raw

plot = importlib.import_module("results.admrl-ant-2d.plot")
STANDING, PER_SPEED = 200 * 5.05, 200
"""return of an ant that stands, for a task at rest and less for each m/s of the task"""


def figures() -> Iterator[str]:
    tasks = [{len(raw.metrics(run)) for run in raw.runs(f"admrl-ant-2d/{name}-s*")} for name in plot.NAMES]
    yield raw.row("training tasks", raw.number(plot.SAMPLES[-1]), *(each.pop() for each in tasks))
    result = {name: [plot.returns(name).mean(-1), *plot.aggregates(name)] for name in plot.NAMES}
    for i, kind in enumerate(("mean return", *plot.KINDS)):
        for j, samples in enumerate(plot.SAMPLES):
            yield raw.row("" if j else kind, raw.number(samples), *(raw.numbers(each[i][j]) for each in result.values()))

    mean, _, worst, _ = (np.array([result[name][i][-1] for name in plot.NAMES]) for i in range(4))
    yield f"mean returns of {raw.numbers(mean[0])} beside {raw.numbers(mean[1])}"
    yield f"worst gaps of {raw.numbers(worst[0])} beside {raw.numbers(worst[1])}"
    yield f"the means differ by {raw.number(worst[0].mean() - worst[1].mean())}"
    yield f"MB-Gauss has mean returns of {raw.numbers(mean[2])} and worst gaps of {raw.numbers(worst[2])}"
    half = [plot.aggregates("mb-unif")[i, 1] for i in (1, 0)]
    yield f"AdMRL's worst gaps are lower with each seed ({raw.numbers(worst[0])} beside {raw.numbers(half[0])})"
    yield f"its mean gaps, too ({raw.numbers(result['admrl'][1][-1])} beside {raw.numbers(half[1])})"

    grid = np.array(raw.stages("admrl-ant-2d/admrl-s0")[0]["tasks"])
    standing = STANDING - PER_SPEED * np.abs(grid).sum(axis=1).mean()
    yield f"{raw.number(STANDING)} less {PER_SPEED} for each m/s of the task"
    yield f"{raw.number(standing)} on the mean of the grid"
    runs = raw.runs("admrl-ant-2d/admrl-s*")
    yield f"From {tuple(plot.visited(runs[0])[0].round(1).tolist())} m/s"
    gaps = np.array([line["gap/return"] for run in runs for line in raw.metrics(run)])
    yield f"is so in {np.sum(gaps < 0)} of {gaps.size} tasks"


GIVEN = [
    "grid of 25 velocities over [-3, 3]²",
    "At 160,000 samples",
    "(10 episodes of either policy; `paper`: 100 episodes beside 150 of the stages)",
    "20 (AdMRL after 160,000 samples, MB-Unif after 80,000)",
    "up to 100 tasks of 50,000 samples; this is 20 tasks of 8,000",
]
