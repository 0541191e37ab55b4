"""The numbers of docs/results.md."""

from collections.abc import Iterator

import numpy as np

from results import raw
from results.pages import gallery

SMT = ("smt-1a/smt-s*", "slbo-cheetah-vel/smt-s*")
OMNI = "omni-{}/omni-s*"


def rows() -> dict[str, str]:
    """The rows of the table, by name: what each system is told, its real samples of training and of each tested task,
    its mean return and that of the worst task of each seed."""
    theirs = raw.published("maml/cheetah-vel")

    def row(name, told, training, task, scores):
        shown = f"{raw.mean(scores)} ({raw.spread(scores)})" if len(scores) >= 5 else raw.by_seed(scores)
        return raw.row(name, told, training, task, shown, raw.worst(scores))

    def omni(samples):
        scores = raw.scores(OMNI.format("cheetah-vel"), samples=samples)
        return row("OMNI", "the task", raw.number(samples), "0", scores)

    maml = [raw.scores("smt-1a/maml-s*", stage=stage) for stage in (1, 3)]
    return {
        "untrained": row("untrained policy", "–", "0", "0", raw.scores(SMT[1], samples=0)),
        "slbo": row("SLBO", "the task", "0", "4,000", raw.scores("slbo-cheetah-vel/slbo-s*", stage=1)),
        "smt": row("SMT", "the task", "160,000", "0", raw.scores(*SMT)),
        "smt adapted": row("SMT", "the task", "160,000", "4,000", raw.scores(*SMT, stage=1)),
        "omni early": omni(40_000),
        "omni": omni(100_000),
        "maml": row("MAML", "nothing", "80,000,000", "4,000", maml[0]),
        "maml adapted": row("MAML", "nothing", "80,000,000", "12,000", maml[1]),
        "oracle": row("oracle (`tuned`)", "the task", "8,000,000", "0", raw.scores("smt-1a/oracle-s*")),
        "published maml": raw.row("published MAML", "nothing", "–", "4,000", theirs["maml"]["1"], "–"),
        "published maml adapted": raw.row("published MAML", "nothing", "–", "12,000", theirs["maml"]["3"], "–"),
        "published oracle": raw.row("published oracle", "the task", "–", "0", theirs["oracle"], "–"),
    }


def table() -> Iterator[str]:
    yield from rows().values()


def half_cheetah() -> Iterator[str]:
    now = raw.by_seed(raw.scores("omni/deterministic/cheetah-vel-s*", samples=40_000))
    yield f"three seeds reach {now} after 40,000 samples"
    smt, oracle = raw.scores(*SMT), raw.scores("smt-1a/oracle-s*")
    maml = raw.scores("smt-1a/maml-s*", stage=3)
    theirs = raw.published("maml/cheetah-vel")
    yield f"SMT's worst task ({raw.worst(smt)}) is below MAML's ({raw.worst(maml)})"
    yield f"with a mean of {raw.mean(smt, 1)} it is just above the published oracle ({theirs['oracle']}), but within its interval"
    yield f"and far below our `tuned` oracle ({raw.mean(oracle, 1)})"
    omni, smt = raw.scores(OMNI.format("cheetah-dir"), samples=40_000), raw.scores("omni-cheetah-dir/smt-s*")
    yield f"OMNI's single policy reaches {raw.mean(omni)} ({raw.spread(omni)}, five seeds) after 40,000 samples, and SMT {raw.by_seed(smt)}"
    result = {name: raw.scores(f"cheetah-dir/{name}-s*") for name in ("omni", "smt", "oracle")}
    maml = raw.scores("cheetah-dir/maml-s*", stage=2)
    yield f"OMNI reaches {raw.mean(result['omni'])} after 100,000 (one seed), SMT {raw.by_seed(result['smt'])} after 160,000"
    yield f"the `tuned` oracle ends at {raw.by_seed(result['oracle'])} (published: {raw.published('maml/cheetah-dir')['oracle']})"
    published = raw.published("maml/cheetah-dir")["maml"]["2"]
    yield f"MAML reaches {raw.by_seed(maml)} after 8,000 samples of the task (published: {published})"


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
    yield f"six random episodes find them in {raw.number(chance[0], 2)} of the cases, eleven in {raw.number(chance[1], 2)}"
    for family, samples, published in (("vel", 396_000, "400000"), ("dir", 1_004_000, "1000000")):
        (test,) = raw.stages(f"pearl-cheetah-{family}/pearl-s0", samples=samples, stage=2)
        theirs = raw.published(f"pearl/cheetah-{family}")["third_episode"][published]
        mean = round(np.mean(test["returns"]))
        yield f"{mean} after {raw.number(samples)} samples (the authors' logs: {theirs} at {int(published):,})"


def one_task() -> Iterator[str]:
    lengths = [raw.read(run / "balance.json")["100"] for run in raw.runs("double-pendulum/double-pendulum*-s*")]
    assert len(lengths) == 6 and np.min([np.mean(each) for each in lengths]) > 99.5
    yield "at every held-out position after 20,000 samples, in each of three seeds"
    ours, theirs, free = (
        raw.by_seed(raw.scores(f"mbmpo-2-{runs}-s*", samples=40_000))
        for runs in ("half-cheetah/mb-mpo", "equal/me-trpo-vote", "equal/me-trpo-no-vote")
    )
    yield f"MB-MPO reaches {ours} after 40,000 samples, and ME-TRPO with as many imagined steps {theirs} ({free} without its stopping rule), three seeds each"


def foreign_bodies() -> Iterator[str]:
    bodies = gallery.done("sac")
    above = sum(gallery.above(body) for body in bodies)
    inside, total = np.sum([gallery.covered(body) for body in gallery.done("omni")], axis=0)
    yield f"above SAC on {above} of {len(bodies)} of them"
    yield f"{inside} of {total} real returns lie in the predicted interval"


def figures() -> Iterator[str]:
    for part in (table, half_cheetah, ant, pearl, one_task, foreign_bodies):
        yield from part()


GIVEN = [
    "40 held-out velocities",
    "0 is perfect",
    "95% interval",
    "two layers of 64 tanh units",
    "velocities up to 3 m/s; 210 is the most that any policy can reach",
    "one preset and 20,000 real samples per body",
]
