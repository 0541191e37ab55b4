"""The numbers of results/cheetah-dir."""

from collections.abc import Iterator

import numpy as np

from results import raw

OMNI, SMT, MAML, ORACLE = (f"cheetah-dir/{name}-s*" for name in ("omni", "smt", "maml", "oracle"))
OMNI_EARLIER, SMT_EARLIER = "omni-cheetah-dir/omni-s*", "omni-cheetah-dir/smt-s*"
LAST = 8_000_000
STAGES = range(4)


def figures() -> Iterator[str]:
    omni, smt, maml = ([raw.scores(pattern, stage=k) for k in STAGES] for pattern in (OMNI, SMT, MAML))
    oracle, theirs = raw.scores(ORACLE), raw.published("maml/cheetah-dir")
    earlier, again = raw.scores(OMNI_EARLIER, samples=40_000), raw.scores(OMNI, samples=40_000)

    yield raw.row("OMNI", "40,000", raw.by_seed(earlier))
    yield raw.row("OMNI, seed 0 again", "40,000", raw.by_seed(again))
    yield raw.row("SMT", "40,000 (10 tasks)", raw.by_seed(raw.scores(SMT_EARLIER, samples=40_000)))

    yield f"{raw.to(smt[0].mean(1))}, each training above each of MAML's after any stage ({raw.to(maml_means(maml))})"
    yield f"above the published MAML ({', '.join(str(theirs['maml'][k]) for k in '123')})"
    yield f"above the published oracle ({theirs['oracle']})"
    yield f"below our oracle ({raw.to(oracle.mean(1))}), in the mean by {raw.number(oracle.mean() - smt[0].mean())}"
    passed = np.array(raw.reached(ORACLE, smt[0].mean()))
    yield f"has SMT's mean of {raw.mean(smt[0])} after {raw.number(passed.max() / 1e6, 1)} million samples, {raw.number(passed.max() / 160_000, 1)} times as many"
    worst = {name: raw.worst(scores) for name, scores in (("SMT", smt[0]), ("MAML", maml[3]), ("oracle", oracle))}
    yield f"{worst['SMT']} for SMT without a sample, {worst['MAML']} for MAML after 12,000, {worst['oracle']} for our oracle"
    yield f"OMNI has {raw.mean(omni[0])} with 100,000 samples (one seed)"
    yield f"its stages lower it to {raw.mean(omni[3])} after 3,000 samples of each task"
    seed0 = earlier[0].mean()
    yield f"seed 0 has {raw.number(seed0)} with 40,000 samples there and {raw.mean(again)} here"
    late = oracle.mean(1) - raw.scores(ORACLE, samples=LAST - 800_000).mean(1)
    yield f"changed by {raw.numbers(late)} within its last 800,000 samples"


def maml_means(maml):
    return np.concatenate([scores.mean(1) for scores in maml[1:]])


GIVEN = [
    "250 meta-iterations of 320,000 samples, both batches counted",
    "tested every 400,000 samples",
]
