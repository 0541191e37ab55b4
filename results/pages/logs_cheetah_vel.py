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


def scores(system: str) -> np.ndarray:
    return raw.scores(f"{STUDY}/{system}-s*")


def inside(system: str) -> str:
    """Held-out tasks whose mean return is in the predicted interval, of all."""
    stages = raw.stages(f"{STUDY}/{system}-s*")
    intervals = np.array([each["predicted_intervals"] for each in stages], float)
    returns = scores(system)
    hits = (intervals[..., 0] <= returns) & (returns <= intervals[..., 1])
    return f"{hits.sum()} of {hits.size}"


def novelty(system: str) -> str:
    return raw.numbers([raw.metrics(run)[-1]["imagined/novelty"] for run in raw.runs(f"{STUDY}/{system}-s*")], 1)


def row(system: str) -> str:
    predicted = raw.predicted(f"{STUDY}/{system}-s*")
    cells = raw.by_seed(scores(system)), raw.worst(scores(system)), raw.by_seed(predicted)
    return raw.row(*SYSTEMS[system], *cells, inside(system), novelty(system))


def figures() -> Iterator[str]:
    yield from map(row, SYSTEMS)
    novel = {
        system: np.array([raw.metrics(run)[-1]["imagined/novelty"] for run in raw.runs(f"{STUDY}/{system}-s*")])
        for system in SYSTEMS
    }
    bad = {system: scores(system).mean(axis=1) < -50 for system in SYSTEMS}
    lowest = min(novel[system][bad[system]].min(initial=np.inf) for system in SYSTEMS)
    highest = max(novel[system][~bad[system]].max(initial=0) for system in SYSTEMS)
    yield f"above {lowest // 1:.0f} in every run whose mean return is below -50, and at most {raw.number(highest, 1)} in the others"
    yield f"untrained policy has {raw.mean(raw.scores('omni-cheetah-vel/omni-s0', samples=0))}"
    yield f"with {raw.by_seed(raw.scores('omni-cheetah-vel/omni-s*', samples=40_000))} after 40,000 real samples"


GIVEN = [
    "48,000 transitions",
    "velocities in [0, 2] m/s",
    "1.0 m/s with Gaussian noise of 0.1",
    "40 held-out velocities",
    "warns above 2",
    "a training run with real samples has 25",
]
