"""The numbers of results/gallery."""

from collections.abc import Iterator

import numpy as np

from results import raw

CHOSE = ("pendulum", "double-pendulum", "reacher", "crane")
REPORTED = ("pusher", "quadrotor", "press", "swimmer", "plate")
SAMPLES = 20_000
ALONE = 4
"""held-out tasks for each of which SAC was trained"""


def omni(body: str) -> str:
    return f"gallery/{body}-omni-s*"


def sac(body: str, times: int = 1, stage: int = -1) -> np.ndarray:
    """Returns of SAC trained for each task alone, [seed, task]."""
    name = "sac" if times == 1 else f"sac-{times}"
    return raw.scores(f"gallery/{body}-{name}-s*", stage=stage)


def covered(body: str) -> tuple[int, int]:
    """Tasks of all seeds whose mean real return lies in the interval of their prediction, and how many tasks."""
    found = raw.stages(omni(body), samples=SAMPLES)
    low, high = np.moveaxis(np.array([each["predicted_intervals"] for each in found], float), -1, 0)
    real = raw.scores(omni(body), samples=SAMPLES)
    return int(np.sum((low <= real) & (real <= high))), real.size


def above(body: str) -> bool:
    """Whether every training of OMNI is above every one of SAC at equal samples, on the tasks that both have."""
    return raw.scores(omni(body))[:, :ALONE].mean(1).min() > sac(body).mean(1).max()


def figures() -> Iterator[str]:
    for group in (CHOSE, REPORTED):
        for body in group:
            untrained, trained = (raw.scores(omni(body), samples=samples) for samples in (0, SAMPLES))
            four = trained[:, :ALONE]
            ten = raw.by_seed(sac(body, 10)) if body in REPORTED else "-"
            yield raw.row(
                f"`{body}`", raw.number(untrained[:, :ALONE].mean()), raw.by_seed(four), raw.by_seed(sac(body)), ten
            )
            inside, total = covered(body)
            predicted = raw.predicted(omni(body), samples=SAMPLES)
            yield raw.row(
                f"`{body}`", raw.by_seed(trained), raw.by_seed(predicted), raw.worst(trained), f"{inside} of {total}"
            )
    both = (*CHOSE, *REPORTED)
    yield f"on {sum(map(above, both))} of {len(both)} bodies"
    yield f"on {sum(map(above, REPORTED))} of the {len(REPORTED)} reported"
    inside, total = np.sum([covered(body) for body in both], axis=0)
    yield f"{inside} of {total} tasks"


GIVEN = []
