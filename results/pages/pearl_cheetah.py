"""The numbers of results/pearl-cheetah."""

from collections.abc import Iterator

import numpy as np

from results import raw

VEL, DIR = "pearl-cheetah/vel-s0", "pearl-cheetah/dir-s0"


def third(run: str, *samples: int) -> list[str]:
    """Mean return of the third episode."""
    return [raw.mean(raw.scores(run, samples=n, stage=2)) for n in samples]


def figures() -> Iterator[str]:
    for run in (VEL, DIR):
        for n in raw.tests(raw.HERE / run):
            stages = [raw.scores(run, samples=n, stage=stage) for stage in range(3)]
            yield raw.row(raw.number(n), *(raw.mean(each) for each in stages), raw.number(stages[2].min()))
    for name in ("vel", "dir"):
        published = raw.published(f"pearl/cheetah-{name}")["third_episode"]
        yield ", ".join(f"{raw.number(value)} at {int(n):,}" for n, value in published.items())
    velocities = third(VEL, 252_000, 300_000, 396_000)
    yield "{} after 252,000 samples, {} after 300,000 and {} after 396,000".format(*velocities)
    yield "({} at 364,000, {} at 380,000)".format(*third(VEL, 364_000, 380_000))
    directions = third(DIR, 254_000, 504_000, 1_004_000)
    yield "{} after 254,000, {} after 504,000 and {} after 1,004,000".format(*directions)
    control, worse = raw.scores(VEL), raw.scores(DIR)
    yield f"{raw.mean(control)} on velocities"
    yield f"on directions its mean is {raw.mean(worse)}, its worse task {raw.number(worse.min())}"
    for run, steps, per in ((VEL, "4,000", raw.to), (DIR, "10,000", raw.mean)):
        seconds = np.array([line["time/step"] for line in raw.metrics(run)])
        yield f"{per(seconds)} seconds per iteration of {steps}"


GIVEN = [
    "velocities from 0 to 3 m/s, tested on 30 that are held out",
    "the first 200,000 samples",
    "From 268,000 samples on",
    "from 500,000 samples on",
    "was 60 (neither 60 nor 120 are reached)",
]
