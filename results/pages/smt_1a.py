"""The numbers of results/smt-1a."""

from collections.abc import Iterator

import numpy as np

from results import raw

OMNI, SMT, MAML, ORACLE = (f"smt-1a/{name}-s*" for name in ("omni", "smt", "maml", "oracle"))
OMNI_EARLIER, SMT_EARLIER = "omni-cheetah-vel/omni-s*", "slbo-cheetah-vel/smt-s*"
LAST = 8_000_000
STAGES = range(4)


def figures() -> Iterator[str]:
    omni = {n: raw.scores(OMNI_EARLIER, samples=n) for n in (40_000, 100_000)}
    smt, maml = ([raw.scores(pattern, stage=k) for k in STAGES] for pattern in (SMT, MAML))
    oracle, theirs = raw.scores(ORACLE), raw.published("maml/cheetah-vel")

    def worst(scores):
        return [raw.worst(each) for each in scores]

    for n, scores in omni.items():
        yield raw.row("OMNI", raw.number(n), raw.by_seed(scores, 1))
    yield raw.row("OMNI, 100,000", raw.worst(omni[100_000]), "", "", "")
    yield raw.row("SMT", *worst(smt))
    yield raw.row("MAML", *worst(maml))
    yield raw.row("oracle", raw.worst(oracle), "", "", "")

    yield f"its mean over the seeds is {raw.mean(smt[0], 1)} before any sample of the task"
    yield f"MAML's {', '.join(raw.mean(x, 1) for x in maml[1:])} after 4,000, 8,000 and 12,000"
    yield f"SMT's worst task ({raw.worst(smt[0])}) is below MAML's ({raw.worst(maml[3])} after 12,000 samples)"
    six = np.concatenate([smt[0], raw.scores(SMT_EARLIER)])
    yield f"all six SMT trainings together have {raw.mean(six, 1)} (95% interval {raw.spread(six, 1)})"
    above = np.sum(six.mean(1) > theirs["oracle"])
    yield f"Against the published oracle ({theirs['oracle']}) it holds for the mean"
    yield f"{('no', 'one', 'two', 'three', 'four', 'five', 'all')[above]} of the six trainings are above it"
    yield f"Against our oracle ({raw.mean(oracle, 1)}) it does not hold"
    passed = raw.reached(ORACLE, smt[0].mean())
    yield f"passes SMT's mean at {raw.number(np.max(passed))} samples or before"
    predicted = raw.predicted(SMT)
    yield f"predicted means are {raw.numbers(predicted.mean(1), 1)}"

    for n, scores in omni.items():
        passed = np.array(raw.reached(ORACLE, scores.mean())) / 1e6
        when = f"{raw.to(passed, 1)} million samples, {raw.to(passed * 1e6 / n)} times as many"
        yield f"{raw.mean(scores, 1)} (95% interval {raw.spread(scores, 1)}) with {raw.number(n)} samples"
        yield f"the oracle first has after {when}"
    yield f"{raw.number(LAST / 100_000)} times as many samples"
    yield f"The oracle's end is {raw.number(oracle.mean() - omni[100_000].mean(), 1)} better"
    gains = (raw.scores(OMNI, stage=3) - raw.scores(OMNI)).mean(1)
    yield f"Three stages change OMNI's mean return by {raw.numbers(gains, 1)}"
    late = oracle.mean(1) - raw.scores(ORACLE, samples=LAST - 800_000).mean(1)
    yield f"changed by {raw.numbers(late, 1)} within its last 800,000 samples"
    for name, pattern in (("MAML", MAML), ("an oracle", ORACLE), ("SMT", SMT)):
        yield f"{name} {raw.to(raw.minutes(pattern))}"
    yield f"OMNI {raw.numbers(raw.minutes(OMNI))}"


GIVEN = [
    "250 meta-iterations of 320,000",
    "one of the two, 4,000 per task and meta-iteration",
    "MAML after 12,000 samples",
    "its 80 million are 500 meta-iterations",
    "1,000 samples of one task",
    "100,000 of others",
    "two layers of 64 tanh units",
    "2 × 100 ReLU units",
    "λ = 1",
    "every 400,000 samples",
]
