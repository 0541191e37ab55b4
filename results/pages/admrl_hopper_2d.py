"""The numbers of results/admrl-hopper-2d."""

from collections.abc import Iterator

import numpy as np

from results import raw

NAMES = {"admrl": "AdMRL", "mb-unif": "MB-Unif", "mb-gauss": "MB-Gauss"}


def scores_and_gaps() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    scores = {name: raw.scores(f"admrl-hopper-2d/{name}-s*") for name in NAMES}
    best = np.concatenate(list(scores.values())).max(axis=0)
    return {name: (each, best - each) for name, each in scores.items()}


def table() -> Iterator[str]:
    for name, (scores, gaps) in scores_and_gaps().items():
        (tasks,) = {len(raw.metrics(run)) for run in raw.runs(f"admrl-hopper-2d/{name}-s*")}
        worst = raw.numbers(scores.min(1)), raw.numbers(gaps.max(1))
        yield raw.row(NAMES[name], tasks, raw.by_seed(scores), worst[0], raw.by_seed(gaps), worst[1])


def figures() -> Iterator[str]:
    yield from table()
    gaps = {name: gap for name, (_, gap) in scores_and_gaps().items()}
    ours, *others = gaps.values()
    assert all(np.all(ours.max(1) > theirs.max(1)) for theirs in others)
    yield "with each of the three seeds AdMRL's largest gap is above those of both controls"
    means = [raw.number(gap.mean()) for gap in gaps.values()]
    yield f"mean over the seeds is {means[0]}, that of MB-Unif's {means[1]} and of MB-Gauss's {means[2]}"
    runs = [raw.metrics(run) for run in raw.runs("admrl-hopper-2d/admrl-s*")]
    yield f"`gap/return` is {raw.numbers([lines[0]['gap/return'] for lines in runs])} on the first task"
    later = [line["gap/return"] for lines in runs for line in lines[1:]]
    yield f"on the {len(later)} later ones it is {raw.to(later)}, with a median of {raw.number(np.median(later))}"


GIVEN = [
    "43,200 real samples",
    "takes 3,600 for its stages, and AdMRL 1,200 more for the gradient",
    "a grid of 25 tasks over [-2, 2] m/s × [1.2, 2] m",
    "(`paper`: 40,000 real samples per task, 100 tasks)",
]
