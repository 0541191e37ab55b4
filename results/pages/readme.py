"""The numbers of README.md."""

from collections.abc import Iterator

import numpy as np

from results import raw
from results.pages import gallery

SMT = ("smt-1a/smt-s*", "slbo-cheetah-vel/smt-s*")
OMNI = "omni-{}/omni-s*"


def table() -> Iterator[str]:
    theirs = raw.published("maml/cheetah-vel")

    def row(name, told, scores):
        shown = f"{raw.mean(scores)} ({raw.spread(scores)})" if len(scores) >= 5 else raw.by_seed(scores)
        return raw.row(name, told, shown, raw.worst(scores))

    yield row("untrained policy", "", raw.scores(SMT[1], samples=0))
    yield row(
        "SLBO from nothing, 4,000 real samples of the task", "yes", raw.scores("slbo-cheetah-vel/slbo-s*", stage=1)
    )
    yield row("SMT, no sample of the task, 160,000 of others (seeds 0 to 2 at two commits)", "yes", raw.scores(*SMT))
    yield row("the same with 4,000 of the task", "yes", raw.scores(*SMT, stage=1))
    for samples in (40_000, 100_000):
        scores = raw.scores(OMNI.format("cheetah-vel"), samples=samples)
        yield row(f"OMNI, no sample of the task, {raw.number(samples)} of others (five seeds)", "yes", scores)
    maml = [raw.scores("smt-1a/maml-s*", stage=stage) for stage in (1, 3)]
    yield row("MAML, 4,000 samples of the task, 80,000,000 of others", "no", maml[0])
    yield row("the same with 12,000 of the task", "no", maml[1])
    yield row(
        "oracle (`tuned`): TRPO told the task, 8,000,000 real samples of all", "yes", raw.scores("smt-1a/oracle-s*")
    )
    yield raw.row(
        "published MAML, after one and after three gradient steps",
        "no",
        f"{theirs['maml']['1']}, {theirs['maml']['3']}",
        "",
    )
    yield raw.row("published oracle", "yes", theirs["oracle"], "")


def half_cheetah() -> Iterator[str]:
    now = raw.by_seed(raw.scores("omni/deterministic/cheetah-vel-s*", samples=40_000))
    yield f"three seeds have {now} after 40,000 samples"
    smt, oracle = raw.scores(*SMT), raw.scores("smt-1a/oracle-s*")
    maml = raw.scores("smt-1a/maml-s*", stage=3)
    theirs = raw.published("maml/cheetah-vel")
    yield f"SMT's worst task ({raw.worst(smt)}) is below MAML's ({raw.worst(maml)})"
    yield f"with a mean of {raw.mean(smt, 1)} it is just above the published oracle ({theirs['oracle']}), within its interval"
    yield f"and far below our `tuned` oracle ({raw.mean(oracle, 1)})"
    omni, smt = raw.scores(OMNI.format("cheetah-dir"), samples=40_000), raw.scores("omni-cheetah-dir/smt-s*")
    yield f"OMNI's one policy has {raw.mean(omni)} ({raw.spread(omni)}, five seeds) after 40,000 samples, and SMT {raw.by_seed(smt)}"
    result = {name: raw.scores(f"cheetah-dir/{name}-s*") for name in ("omni", "smt", "oracle")}
    maml = raw.scores("cheetah-dir/maml-s*", stage=2)
    yield f"OMNI has {raw.mean(result['omni'])} with 100,000 (one seed), SMT {raw.by_seed(result['smt'])} with 160,000"
    yield f"the `tuned` oracle ends at {raw.by_seed(result['oracle'])} (published: {raw.published('maml/cheetah-dir')['oracle']})"
    published = raw.published("maml/cheetah-dir")["maml"]["2"]
    yield f"MAML after 8,000 samples of the task has {raw.by_seed(maml)} (published: {published})"


def ant() -> Iterator[str]:
    for samples in (200_000, 400_000):
        scores = raw.scores(OMNI.format("ant-vel"), samples=samples)
        yield f"{raw.mean(scores)} ({raw.spread(scores)}) after {raw.number(samples)} samples"


def pearl() -> Iterator[str]:
    drawn = [np.array(raw.read(f"pearl-sparse-point/pearl-s{seed}/draws.json")["5 exploring"]) > 0 for seed in range(3)]
    result = np.array([each.mean(axis=(0, 2)) for each in drawn])
    yield f"in {raw.numbers(result[:, 5], 2)} of the cases (three seeds) after five episodes of the task"
    yield f"in {raw.numbers(result[:, 10], 2)} after ten, and in {raw.number(result[:, 0].mean(), 2)} without adapting"
    chance = 1 - (1 - result[:, 0].mean()) ** np.array([6, 11])
    yield f"one of six episodes at random finds them in {raw.number(chance[0], 2)}, one of eleven in {raw.number(chance[1], 2)}"
    for family, samples, published in (("vel", 396_000, "400000"), ("dir", 1_004_000, "1000000")):
        (test,) = raw.stages(f"pearl-cheetah-{family}/pearl-s0", samples=samples, stage=2)
        theirs = raw.published(f"pearl/cheetah-{family}")["third_episode"][published]
        mean = round(np.mean(test["returns"]))
        yield f"{mean} after {raw.number(samples)} samples (the authors' logs: {theirs} at {int(published):,})"


def one_task() -> Iterator[str]:
    lengths = [raw.read(run / "balance.json")["100"] for run in raw.runs("double-pendulum/double-pendulum*-s*")]
    assert len(lengths) == 6 and np.min([np.mean(each) for each in lengths]) > 99.5
    yield "at every held-out place after 20,000 samples, each of three seeds"
    ours, theirs, free = (
        raw.by_seed(raw.scores(f"mbmpo-2-{runs}-s*", samples=40_000))
        for runs in ("half-cheetah/mb-mpo", "equal/me-trpo-vote", "equal/me-trpo-no-vote")
    )
    yield f"MB-MPO has {ours} after 40,000 samples, ME-TRPO at equal imagined steps {theirs} ({free} without its stopping rule), three seeds each"


def foreign_bodies() -> Iterator[str]:
    bodies = gallery.done("sac")
    above = sum(gallery.above(body) for body in bodies)
    inside, total = np.sum([gallery.covered(body) for body in gallery.done("omni")], axis=0)
    yield f"above SAC on {above} of {len(bodies)} of them"
    yield f"{inside} of {total} real returns lie in the interval"


def figures() -> Iterator[str]:
    for part in (table, half_cheetah, ant, pearl, one_task, foreign_bodies):
        yield from part()


GIVEN = [
    "40 held-out velocities",
    "(0 is perfect)",
    "95% interval",
    "two layers of 64 tanh units",
    "velocities up to 3 m/s; 210 is the most any policy can have",
    "Python ≥ 3.11",
    "1.5 GB",
    "[-1, 1]",
    "18-dimensional linear rewards",
    "one preset and 20,000 real samples per body",
]
