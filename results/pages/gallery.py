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


def done(algorithm: str) -> list[str]:
    """Bodies with results of an algorithm."""
    return [body for body in (*CHOSE, *REPORTED) if list(raw.HERE.glob(f"gallery/{body}-{algorithm}-s*"))]


def covered(body: str) -> tuple[int, int]:
    """Tasks of all seeds whose mean real return lies in the interval of their prediction, and how many tasks."""
    found = raw.stages(omni(body), samples=SAMPLES)
    low, high = np.moveaxis(np.array([each["predicted_intervals"] for each in found], float), -1, 0)
    real = raw.scores(omni(body), samples=SAMPLES)
    return int(np.sum((low <= real) & (real <= high))), real.size


def figures() -> Iterator[str]:
    for body in done("omni"):
        untrained, half, trained = (raw.scores(omni(body), samples=n) for n in (0, SAMPLES // 2, SAMPLES))
        inside, total = covered(body)
        predicted = raw.predicted(omni(body), samples=SAMPLES)
        cells = [raw.by_seed(each) for each in (untrained, half, trained, predicted)]
        yield raw.row(f"`{body}`", *cells, raw.worst(trained), f"{inside} of {total}")
    inside, total = np.sum([covered(body) for body in done("omni")], axis=0)
    yield f"{inside} of {total} tasks"
    for body in done("sac"):
        own, alone = raw.scores(omni(body))[:1, :ALONE], raw.scores(f"gallery/{body}-sac-s0", stage=-1)
        yield f"`{body}`: {raw.number(own.mean())} and {raw.number(alone.mean())}"


GIVEN: list[str] = []
