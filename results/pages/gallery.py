"""The numbers of results/gallery."""

from collections.abc import Iterator

import numpy as np

from results import raw

CHOSE = ("pendulum", "double-pendulum", "reacher", "crane")
REPORTED = ("pusher", "quadrotor", "press", "swimmer", "plate")
VARIANT = "double-pendulum-9"
SAMPLES = 20_000
ALONE = 4
"""held-out tasks for each of which SAC was trained"""
STAGE = 500
"""real samples of a stage of SAC"""


def omni(body: str) -> str:
    return f"gallery/{body}-omni-s*"


def done(algorithm: str) -> list[str]:
    """Bodies with results of an algorithm."""
    bodies = (*CHOSE, *REPORTED, VARIANT)
    return [body for body in bodies if list(raw.HERE.glob(f"gallery/{body}-{algorithm}-s*"))]


def covered(body: str) -> tuple[int, int]:
    """Tasks of all seeds whose mean real return lies in the interval of their prediction, and how many tasks."""
    found = raw.stages(omni(body), samples=SAMPLES)
    low, high = np.moveaxis(np.array([each["predicted_intervals"] for each in found], float), -1, 0)
    real = raw.scores(omni(body), samples=SAMPLES)
    return int(np.sum((low <= real) & (real <= high))), real.size


def sac(body: str, samples: int) -> float:
    """Mean return over the tasks that SAC was trained for, each for so many real samples."""
    return float(raw.scores(f"gallery/{body}-sac-s0", stage=samples // STAGE).mean())


def above(body: str) -> bool:
    """Whether every training of OMNI is above SAC's last policy on the tasks of both, by more than the last digit."""
    own = raw.scores(omni(body), samples=SAMPLES)[:, :ALONE].mean(axis=1)
    return round(own.min()) > round(sac(body, SAMPLES))


def zero_shot() -> Iterator[str]:
    for body in done("omni"):
        untrained, half, trained = (raw.scores(omni(body), samples=n) for n in (0, SAMPLES // 2, SAMPLES))
        inside, total = covered(body)
        predicted = raw.predicted(omni(body), samples=SAMPLES)
        cells = [raw.by_seed(each) for each in (untrained, half, trained, predicted)]
        yield raw.row(f"`{body}`", *cells, raw.number(trained.min()), f"{inside} of {total}")
    counts = np.array([covered(body) for body in done("omni")])
    inside, total = counts.sum(axis=0)
    yield f"{inside} of {total} tasks ({raw.number(100 * inside / total)}%)"
    inside, total = np.sum([covered(body) for body in REPORTED], axis=0)
    yield f"{inside} of {total} ({raw.number(100 * inside / total)}%) on the bodies that are reported"


def beside_sac() -> Iterator[str]:
    first = first_of_best = 0
    for body in done("sac"):
        untrained, own = (raw.scores(omni(body), samples=n)[:, :ALONE] for n in (0, SAMPLES))
        alone = [sac(body, n) for n in (5_000, 10_000, SAMPLES)]
        best = max(sac(body, n) for n in range(0, SAMPLES + 1, STAGE))
        yield raw.row(
            f"`{body}`", raw.mean(untrained), raw.by_seed(own), *(raw.number(each) for each in alone), raw.number(best)
        )
        first += above(body)
        first_of_best += round(own.mean(axis=1).min()) > round(best)
    yield f"On {first} of {len(done('sac'))} bodies every training of OMNI is above SAC's last policy"
    yield f"on {first_of_best} above the best of SAC's tests"


def too_high(body: str) -> np.ndarray:
    """By how much predicted returns are above real ones, `[seed]`."""
    apart = raw.predicted(omni(body), samples=SAMPLES) - raw.scores(omni(body), samples=SAMPLES)
    return apart.mean(axis=1)


def shortfalls() -> Iterator[str]:
    yield f"predictions are {raw.numbers(too_high('pusher'))} too high"
    yield f"predictions are {raw.number(too_high('press')[1])} too high"
    yield f"the worst task has {raw.number(raw.scores(omni('swimmer'), samples=SAMPLES).min())}"
    yield f"predictions are {raw.numbers(too_high('double-pendulum'))} too high"


def figures() -> Iterator[str]:
    yield from zero_shot()
    yield from beside_sac()
    yield from shortfalls()


GIVEN: list[str] = []
