"""The numbers of results/pearl-cheetah-vel, and of what is alike in the other pages on PEARL's families."""

from collections.abc import Iterator

import numpy as np

from results import raw

STUDY = "pearl-cheetah-vel"
WINDOW = 5
"""iterations up to there, whose returns are averaged"""


def third(run: str, *samples: int) -> list[str]:
    """Mean return of the third episode."""
    return [raw.mean(raw.scores(run, samples=n, stage=2)) for n in samples]


def pearl(run: str, published: str) -> Iterator[str]:
    """The tests of PEARL during training, and the authors' curve."""
    for n in raw.tests(raw.HERE / run):
        stages = [raw.scores(run, samples=n, stage=stage) for stage in range(3)]
        yield raw.row(raw.number(n), *(raw.mean(each) for each in stages), raw.number(stages[2].min()))
    theirs = raw.published(published)["third_episode"]
    yield ", ".join(f"{raw.number(value)} at {int(n):,}" for n, value in theirs.items())


def training(study: str, millions: float) -> np.ndarray:
    """Mean returns of RL²'s first and second episode in training, [seed, episode]."""
    lines = [raw.metrics(run) for run in raw.runs(f"{study}/rl2-s*")]
    seen = [[line for line in run if line["real/samples"] <= millions * 1e6][-WINDOW:] for run in lines]
    names = ("real/return", "real/adapted_return")
    return np.array([[np.mean([line[name] for line in run]) for name in names] for run in seen])


def rl2(study: str, at: tuple[float, ...], digits: int = 0) -> Iterator[str]:
    """Rows of RL²'s training: each episode's return, and the mean of both."""
    for millions in at:
        returns = training(study, millions)
        cells = (raw.numbers(x, digits) for x in (*returns.T, returns.mean(1)))
        yield raw.row(raw.number(millions, 1 if millions < 1 else 0), *cells)


def rl2_and_published(study: str, published: str) -> Iterator[str]:
    """The same, and the authors' runs."""
    theirs, at = raw.published(published)["return"], (1, 2, 5)
    for millions, row in zip(at, rl2(study, at), strict=True):
        yield f"{row} {theirs.get(f'{millions}000000', '')} |"
    yield f"go on to 40 million samples ({theirs['40000000']:g})"


def figures() -> Iterator[str]:
    run = f"{STUDY}/pearl-s0"
    yield from pearl(run, "pearl/cheetah-vel")
    yield "{} after 252,000 samples, {} after 300,000 and {} after 396,000".format(
        *third(run, 252_000, 300_000, 396_000)
    )
    yield "({} at 364,000, {} at 380,000)".format(*third(run, 364_000, 380_000))
    yield f"with no episode seen, has {raw.mean(raw.scores(run))}"
    seconds = np.array([line["time/step"] for line in raw.metrics(run)])
    yield f"{raw.to(seconds)} seconds per iteration of 4,000 samples"
    yield from rl2_and_published(STUDY, "rl2/cheetah-vel")


RL2_GIVEN = [
    "40,000 samples per iteration, of 100 tasks with two episodes each",
    "first episode, seeds 0 1 2",
    "over 5 iterations up to there",
    "takes ten minibatches with λ = 0.95 where `paper`",
    "has one and λ = 1",
    "RL² 8 minutes a seed",
]
GIVEN = [
    *RL2_GIVEN,
    "an hour and 50 minutes",
    "velocities from 0 to 3 m/s, tested on 30 that are held out",
    "The first 200,000 samples",
    "From 268,000 samples on",
]
