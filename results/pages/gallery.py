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
    result = raw.stages(omni(body), samples=SAMPLES)
    low, high = np.moveaxis(np.array([each["predicted_intervals"] for each in result], float), -1, 0)
    real = raw.scores(omni(body), samples=SAMPLES)
    return int(np.sum((low <= real) & (real <= high))), real.size


def sac(body: str, samples: int) -> float:
    """Mean return over the tasks that SAC was trained for, each for so many real samples."""
    return float(raw.scores(f"gallery/{body}-sac-s0", stage=samples // STAGE).mean())


def trpo(body: str) -> float:
    """Mean return over the tasks that TRPO was trained for, each for ten times as many real samples as SAC."""
    return float(raw.scores(f"gallery/{body}-trpo-10-s0", stage=-1).mean())


def above(body: str, other: float | None = None) -> bool:
    """Whether every training of OMNI is above another policy (SAC's last one) on the tasks of both, as far as the table
    shows it."""
    own = raw.scores(omni(body), samples=SAMPLES)[:, :ALONE].mean(axis=1)
    return round(own.min()) > round(sac(body, SAMPLES) if other is None else other)


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


def beside_others() -> Iterator[str]:
    bodies, best = done("sac"), {}
    for body in bodies:
        untrained, own = (raw.scores(omni(body), samples=n)[:, :ALONE] for n in (0, SAMPLES))
        alone = [sac(body, n) for n in (5_000, 10_000, SAMPLES)]
        best[body] = max(sac(body, n) for n in range(0, SAMPLES + 1, STAGE))
        others = [raw.number(each) for each in (*alone, best[body], trpo(body))]
        yield raw.row(f"`{body}`", raw.mean(untrained), raw.by_seed(own), *others)
    yield f"On {sum(map(above, bodies))} of {len(bodies)} bodies every training of OMNI is above SAC's last policy"
    yield f"on {sum(above(body, best[body]) for body in bodies)} above the best of SAC's tests"
    yield f"on {sum(above(body, trpo(body)) for body in bodies)} above TRPO with ten times as many samples"


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
    yield from beside_others()
    yield from shortfalls()


GIVEN: list[str] = []
