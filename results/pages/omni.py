"""The numbers of results/omni."""

from collections.abc import Iterator

import numpy as np

from results import raw

VEL, WIDE, DIR, ANT, ANT_DIR = (
    f"omni-{family}/omni-s*" for family in ("cheetah-vel", "cheetah-vel-wide", "cheetah-dir", "ant-vel", "ant-dir")
)
SMT_LONG = "slbo-cheetah-vel/smt-s*"


def inside(pattern: str, samples: int) -> np.ndarray:
    """-1, 0 or 1 where a task's real mean return lies below, in or above its predicted interval, [seed, task]."""
    result = raw.stages(pattern, samples=samples)
    low, high = np.moveaxis(np.array([each["predicted_intervals"] for each in result], float), -1, 0)
    real = raw.scores(pattern, samples=samples)
    return (real > high).astype(int) - (real < low)


def widths(pattern: str, samples: int) -> np.ndarray:
    """Median width of the predicted intervals, [seed]."""
    result = raw.stages(pattern, samples=samples)
    return np.array([np.median(np.diff(np.array(each["predicted_intervals"], float))) for each in result])


def main_table() -> Iterator[str]:
    for pattern, samples, digits in (
        (VEL, 40_000, 1),
        ("omni-cheetah-vel/smt-s*", 40_000, 1),
        (VEL, 100_000, 1),
        (SMT_LONG, 100_000, 1),
        (WIDE, 40_000, 1),
        ("omni-cheetah-vel-wide/smt-s*", 40_000, 1),
        (DIR, 40_000, 0),
        ("omni-cheetah-dir/smt-s*", 40_000, 0),
        (ANT, 200_000, 0),
        (ANT, 400_000, 0),
        (ANT_DIR, 200_000, 0),
        (ANT_DIR, 400_000, 0),
    ):
        scores, predicted = raw.scores(pattern, samples=samples), raw.predicted(pattern, samples=samples)
        family, ours = pattern.partition("/")[0].removeprefix("omni-"), "/omni-s" in pattern
        yield raw.row(
            f"`{family}`" if ours else "SMT there",
            raw.number(samples),
            raw.mean(scores, digits) + (f" ({raw.spread(scores, digits)})" if ours else ""),
            raw.by_seed(scores, digits),
            raw.worst(scores, digits),
            raw.mean(predicted, digits),
        )


def transitions() -> Iterator[str]:
    pairs = [
        (raw.scores(ours, samples=n), raw.scores(theirs, samples=n))
        for ours, theirs, n in (
            (VEL, "omni-cheetah-vel/smt-s*", 40_000),
            (VEL, SMT_LONG, 100_000),
            (WIDE, "omni-cheetah-vel-wide/smt-s*", 40_000),
            (DIR, "omni-cheetah-dir/smt-s*", 40_000),
        )
    ]
    assert all(f(ours, axis=1).min() > f(smt, axis=1).max() for ours, smt in pairs for f in (np.mean, np.min))
    yield "every training of OMNI is above every training of SMT with as many samples, in its mean and on its worst task"
    again = raw.scores("smt-1a/omni-s0", samples=40_000), raw.scores("cheetah-dir/omni-s*", samples=40_000)
    first = (raw.scores(pattern, samples=40_000)[:1] for pattern in (VEL, DIR))
    for result, there, digits in zip(again, first, (1, 0)):
        yield f"{raw.mean(result, digits)} beside {raw.mean(there, digits)}"
    psi = np.array(raw.stages(VEL)[0]["tasks"])[:, 0]
    scores = raw.scores(VEL, samples=100_000)
    fast, slow = scores[:, psi > 1.2].mean(), scores[:, psi <= 1.2].mean()
    yield f"{raw.number(fast, 1)} above 1.2 m/s and {raw.number(slow, 1)} below"
    gaps = [raw.predicted(p, samples=n).mean() - raw.scores(p, samples=n).mean() for p, n in
            ((VEL, 40_000), (VEL, 100_000), (WIDE, 40_000))]  # fmt: skip
    yield f"predictions are {raw.to(gaps, 1)} too high"
    for pattern, samples, where in ((DIR, 40_000, "`cheetah-dir`"), (ANT_DIR, 400_000, "`ant-dir`")):
        excess = raw.predicted(pattern, samples=samples).mean() / raw.scores(pattern, samples=samples).mean() - 1
        yield f"on {where} by {raw.number(100 * excess)}%"
    for pattern, words in ((ANT, "`ant-vel` rises by {} in"), (ANT_DIR, "`ant-dir` by {}, and")):
        rise = raw.scores(pattern, samples=400_000).mean() - raw.scores(pattern, samples=200_000).mean()
        yield words.format(raw.number(rise))
    for name in ("maml/cheetah-vel", "maml/cheetah-dir", "maml/ant-vel", "maml/ant-dir"):
        yield f"{raw.published(name)['oracle']} on `{name.split('/')[1]}`"
    seconds = [sum(line["time/step"] for line in raw.metrics("omni/timed"))]
    yield f"{raw.number(seconds[0])} s for the ten iterations"
    yield f"took {raw.to(raw.minutes(VEL))} minutes"


def intervals() -> Iterator[str]:
    early = [np.mean(inside(p, n) == 0, axis=1) for p in (VEL, WIDE) for n in (20_000, 40_000)]
    end = np.mean(inside(VEL, 100_000) == 0, axis=1)
    yield f"{raw.to(100 * np.concatenate(early))}% of the tasks at 20,000 and 40,000 samples"
    yield f"{raw.number(100 * end.min())}% of `cheetah-vel` at 100,000"
    wide = widths(VEL, 100_000)
    yield f"median widths of {raw.numbers(wide[:4])}"
    yield f"seed 4's were wider than 1e{int(np.log10(wide[4]))}"
    yield f"{np.sum(inside(DIR, 40_000) != 0)} of the ten returns on `cheetah-dir` at 40,000 samples lie outside"
    ant = np.mean(inside(ANT, 400_000) == 0, axis=1)
    yield f"{raw.number(100 * ant.min())} to {raw.number(100 * ant.max())}% of `ant-vel` at 400,000"
    below = inside(ANT_DIR, 400_000)
    yield f"{np.sum(below < 0)} of the ten on `ant-dir` at 400,000 lie below and {np.sum(below > 0)} above"


def calibration() -> Iterator[str]:
    """Trainings whose episodes all have exploration noise, and those where half have none."""
    for family, samples, digits in (("cheetah-vel", 20_000, 1), ("cheetah-vel", 40_000, 1), ("ant-dir", 200_000, 0)):
        for share, pattern in (("none", f"omni-{family}/omni-s*"), ("half", f"omni/deterministic/{family}-s*")):
            scores, predicted = raw.scores(pattern, samples=samples), raw.predicted(pattern, samples=samples)
            held = inside(pattern, samples) == 0
            yield raw.row(
                f"`{family}`",
                raw.number(samples),
                share,
                raw.by_seed(scores, digits),
                raw.numbers((predicted - scores).mean(1), digits),
                f"{np.sum(held)} of {held.size}",
                raw.numbers(widths(pattern, samples)),
            )
    old, new = (
        100 * (raw.predicted(p, samples=200_000).mean(1) / raw.scores(p, samples=200_000).mean(1) - 1)
        for p in (ANT_DIR, "omni/deterministic/ant-dir-s*")
    )
    early = [raw.scores(p, samples=20_000).mean(1)[:3] for p in (VEL, "omni/deterministic/cheetah-vel-s*")]
    assert np.all(early[1] < early[0])
    yield "lower after 20,000 samples with each seed"
    yield f"on `ant-dir` predictions are {raw.numbers(new)}% too high, where the old ones were {raw.to(old)}%"


def figures() -> Iterator[str]:
    for part in (main_table, transitions, intervals, calibration, model_fit):
        yield from part()


def model_fit() -> Iterator[str]:
    before, after = (raw.metrics(f"omni/model-fit/{name}-s100") for name in ("before", "after"))
    samples = [line["real/samples"] for line in before]
    error, returned = "model/validation_error", "real/deterministic_return"
    lower = sum(new[error] < old[error] for new, old in zip(after, before, strict=True))
    yield f"lower in {lower} of the {len(samples)} iterations"
    late = [np.mean([line[returned] for line in each[-5:]]) for each in (after, before)]
    yield f"{raw.number(late[0], 1)} in place of {raw.number(late[1], 1)}"
    higher = sum(new[returned] > old[returned] for new, old in zip(after[-5:], before[-5:], strict=True))
    yield f"higher in {higher} of the last 5"
    ends = [raw.number(each[-1][error], 3) for each in (after, before)]
    yield f"{ends[0]} and {ends[1]} in the last"
    for name in ("before", "after"):
        for n in (20_000, 40_000):
            pattern = f"omni/model-fit/{name}-s[012]"
            scores, promised = raw.scores(pattern, samples=n), raw.predicted(pattern, samples=n)
            missed, held = (promised - scores).mean(1), inside(pattern, n) == 0
            cells = raw.by_seed(scores, 1), raw.numbers(missed, 1), f"{np.sum(held)} of {held.size}"
            yield raw.row(name, raw.number(n), *cells)


GIVEN = [
    "over the last five",
    "210 at ψ = 0 and about -390 at ψ = 3",
    "210 is the most that any task of `ant-vel` allows",
    "SMT at 100,000 samples, and its",
    "95% interval",
    "At 40,000 samples seed 0",
    "at 100,000 samples.",
    "and SMT at 40,000 samples",
    "On `cheetah-vel` after 40,000 samples",
    "overlap after 40,000.",
]
