"""The numbers of results/double-pendulum."""

from collections.abc import Iterator

import numpy as np

from results import raw

FAMILIES = ("double-pendulum", "double-pendulum-9")
HORIZON, LONG = 100, 1000


def balanced(family: str, horizon: int) -> np.ndarray:
    """Share of the horizon, [seed, task]."""
    runs = raw.runs(f"double-pendulum/{family}-s*")
    return np.array([np.mean(raw.read(run / "balance.json")[str(horizon)], axis=1) for run in runs]) / horizon


def shares(values: np.ndarray) -> str:
    return " ".join(f"{value:.2f}" for value in values)


def inside(family: str, samples: int) -> int:
    """Tasks whose mean real return lies in the interval of their prediction."""
    result = raw.stages(f"double-pendulum/{family}-s*", samples=samples)
    low, high = np.moveaxis(np.array([each["predicted_intervals"] for each in result], float), -1, 0)
    real = raw.scores(f"double-pendulum/{family}-s*", samples=samples)
    return int(np.sum((low <= real) & (real <= high)))


def deterministic(run: str, samples: int) -> str:
    """Real and imagined returns of the deterministic policy in training episodes."""
    (line,) = (each for each in raw.metrics(f"double-pendulum/{run}") if each["real/samples"] == samples)
    return " and ".join(raw.number(line[f"{world}/deterministic_return"]) for world in ("real", "imagined"))


def figures() -> Iterator[str]:
    covered = total = 0
    for family in FAMILIES:
        pattern = f"double-pendulum/{family}-s*"
        for samples in (0, 10_000, 20_000):
            real, predicted = raw.scores(pattern, samples=samples), raw.predicted(pattern, samples=samples)
            cells = [raw.by_seed(real), raw.by_seed(predicted), f"{inside(family, samples)} of {real.size}"]
            yield raw.row(f"`{family}`", raw.number(samples), *cells)
        covered, total = covered + inside(family, 20_000), total + real.size
        short, long = balanced(family, HORIZON), balanced(family, LONG)
        ends = [f"{each.min():.2f}" for each in (short, long)]
        yield raw.row(f"`{family}`", shares(short.mean(1)), ends[0], shares(long.mean(1)), ends[1])
    yield f"{covered} of {total} tasks lie in their intervals"
    before = raw.scores("double-pendulum/before-s1", samples=20_000).mean()
    predicted = raw.predicted("double-pendulum/before-s1", samples=20_000).mean()
    after = raw.scores("double-pendulum/double-pendulum-s1", samples=10_000).mean()
    yield f"seed 1 reached {raw.number(before)} after 20,000 samples, where {raw.number(predicted)} was predicted"
    yield f"reaches {raw.number(after)} after 10,000"
    yield f"input noise with squared errors has {deterministic('trials/noise-alone', 7000)}"
    yield f"input noise with β-NLL has {deterministic('trials/lambda-and-ends', 7000)}"
    apart = {n: [] for n in (10_000, 20_000)}
    for family in FAMILIES:
        for n, each in apart.items():
            pattern = f"double-pendulum/{family}-s*"
            each += list(raw.scores(pattern, samples=n).mean(1) - raw.predicted(pattern, samples=n).mean(1))
    yield f"After 20,000 samples the mean predictions of the six trainings are {raw.to(np.abs(apart[20_000]))} from the returns"
    yield f"after 10,000 up to {raw.number(np.max(apart[10_000]))} too low"
    yield f"own objective input noise with β-NLL has {deterministic('trials/as-it-is', 7000)}"


GIVEN = [
    "a force that is 0 until",
    "less than the 90% that the intervals are made for",
    "below 1.001 m, 100 steps of 0.05 s",
    "The most that an episode can have is 200",
    "100 steps, by seed | worst target | 1,000 steps, by seed",
    "the 1,000 steps that Gymnasium allows",
    "horizon of 200 steps, 1,000 samples per iteration",
    "after 7,000 samples",
]
