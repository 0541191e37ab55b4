"""The numbers of results/logs-ant-vel."""

from collections.abc import Iterator

import numpy as np

from results import raw
from results.pages.logs_cheetah_vel import SYSTEMS, novelty, rows

STUDY = "logs-ant-vel"


def figures() -> Iterator[str]:
    yield from rows(STUDY)
    scores = {system: raw.scores(f"{STUDY}/{system}-s*") for system in SYSTEMS}
    predicted = {system: raw.predicted(f"{STUDY}/{system}-s*") for system in SYSTEMS}
    over = [(predicted[system] - scores[system]).mean(axis=1) for system in SYSTEMS]
    yield f"{raw.to(np.concatenate(over))} too high in every run"
    experts = [novelty(STUDY, system) for system in SYSTEMS if "expert" in system]
    others = [novelty(STUDY, system) for system in SYSTEMS if "expert" not in system]
    yield (
        f"{raw.to(np.concatenate(experts), 1)} with logs of one expert, and {raw.to(np.concatenate(others), 1)} with the "
        "others"
    )
    yield f"untrained policy has {raw.mean(raw.scores('omni-ant-vel/omni-s0', samples=0))}"
    for samples in (80_000, 120_000, 200_000):
        reached = raw.by_seed(raw.scores("omni-ant-vel/omni-s*", samples=samples))
        yield f"{reached} after {raw.number(samples)}"


GIVEN = [
    "100,000 transitions",
    "velocities in [0, 3] m/s",
    "1.0 m/s with Gaussian noise of 0.1",
    "40 held-out velocities",
    "warns above 2",
    "penalties other than 1",
    "fifty real episodes per iteration in place of 20",
    "a training run with real samples has 40",
]
