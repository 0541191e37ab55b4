"""The numbers of results/logs-cheetah-vel."""

from collections.abc import Iterator

import numpy as np

from results import raw

STUDY = "logs-cheetah-vel"
SYSTEMS = {
    "random": ("random actions", "0"),
    "random-penalty": ("random actions", "1"),
    "mixture": ("policies of a training run", "0"),
    "mixture-penalty": ("policies of a training run", "1"),
    "expert": ("one expert", "0"),
    "expert-penalty": ("one expert", "1"),
}


def novelty(study: str, system: str) -> np.ndarray:
    """The models' disagreement along the policies' trajectories at the end of training, relative to the logs, [seed]."""
    return np.array([raw.metrics(run)[-1]["imagined/novelty"] for run in raw.runs(f"{study}/{system}-s*")])


def rows(study: str) -> Iterator[str]:
    """The table of a study: a row for each system."""
    for system, names in SYSTEMS.items():
        scores, predicted = raw.scores(f"{study}/{system}-s*"), raw.predicted(f"{study}/{system}-s*")
        cells = raw.by_seed(scores), raw.worst(scores), raw.by_seed(predicted)
        yield raw.row(*names, *cells, raw.numbers(novelty(study, system), 1))


def inside(pattern: str) -> tuple[int, int]:
    """Returns in their predicted interval, of all that have one."""
    found = [stage for stage in raw.stages(pattern) if stage["predicted_intervals"][0] is not None]
    low, high = np.moveaxis(np.array([each["predicted_intervals"] for each in found]), -1, 0)
    real = np.array([np.mean(each["returns"], axis=1) for each in found])
    return int(((low <= real) & (real <= high)).sum()), real.size


def figures() -> Iterator[str]:
    yield from rows(STUDY)
    novel = {system: novelty(STUDY, system) for system in SYSTEMS}
    bad = {system: raw.scores(f"{STUDY}/{system}-s*").mean(axis=1) < -50 for system in SYSTEMS}
    lowest = min(novel[system][bad[system]].min(initial=np.inf) for system in SYSTEMS)
    highest = max(novel[system][~bad[system]].max(initial=0) for system in SYSTEMS)
    yield (
        f"{raw.number(lowest, 1)} or more in every run whose mean return is below -50, and at most "
        f"{raw.number(highest, 1)} in the others"
    )
    yield "{} of {} returns".format(*inside(f"{STUDY}/*-s*"))
    yield "{} of {} from the logs of a training run".format(*inside(f"{STUDY}/mixture*-s*"))
    yield f"untrained policy has {raw.mean(raw.scores('omni-cheetah-vel/omni-s0', samples=0))}"
    yield f"with {raw.by_seed(raw.scores('omni-cheetah-vel/omni-s*', samples=40_000))} after 40,000 real samples"


GIVEN = [
    "48,000 transitions",
    "velocities in [0, 2] m/s",
    "1.0 m/s with Gaussian noise of 0.1",
    "40 held-out velocities",
    "warns above 2",
    "Penalties other than 1",
    "a training run with real samples has 25",
]
