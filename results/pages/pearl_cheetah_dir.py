"""The numbers of results/pearl-cheetah-dir."""

from collections.abc import Iterator

import numpy as np

from results import raw
from results.pages import pearl_cheetah_vel as vel

STUDY = "pearl-cheetah-dir"


def figures() -> Iterator[str]:
    run = f"{STUDY}/pearl-s0"
    yield from vel.pearl(run, "pearl/cheetah-dir")
    yield "{} after 254,000, {} after 504,000 and {} after 1,004,000".format(
        *vel.third(run, 254_000, 504_000, 1_004_000)
    )
    control = raw.scores(run)
    yield f"has a mean of {raw.mean(control)} and {raw.number(control.min())} on its worse task"
    seconds = np.array([line["time/step"] for line in raw.metrics(run)])
    yield f"{raw.mean(seconds)} seconds per iteration of 10,000 samples"
    yield from vel.rl2_and_published(STUDY, "rl2/cheetah-dir")


GIVEN = [*vel.RL2_GIVEN, "an hour and 40 minutes", "from 500,000 samples on"]
