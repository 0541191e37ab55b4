"""The numbers of results/pearl-sparse-point."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from results import raw

HERE = raw.HERE / "pearl-sparse-point"
EXPLORING = 5
"""episodes with z ~ N(0, I) before the posterior explores"""
NOTHING = "found with nothing seen"
"""name in `draws.json`"""
SEEN = (0, 1, 2, 3, 5, 10, 20)
"""episodes seen of the task"""
SEEDS = ("pearl-s0", "pearl-s1", "pearl-s2")
LEARNED = (
    ("learning rate 0.0003, context 256, without AMX", ["rate-0.0003-context-256-s0"]),
    ("the same, but 3 × 64 units, context 128, 1000 gradient steps", ["units-64-s0"]),
    ("learning rate 0.001, context 256 (two seeds), without AMX", ["context-256-s0", "context-256-s1"]),
    ("learning rate 0.001, context 100: this (three seeds)", [f"../{run}/metrics" for run in SEEDS]),
    ("the same without AMX, 250 iterations", [f"iterations-250-s{i}" for i in range(3)]),
    ("recent data of 5 posterior episodes in place of 45, without AMX", ["posterior-episodes-5-s0"]),
    ("context 1000, as released", ["context-1000-s0"]),
    ("no posterior episode, 45 more that are not in the context", ["posterior-0-extra-45-s0"]),
    ("λ = 10", ["kl-10-s0"]),
    (
        "context 1000, of which 100 are drawn and count for ten each (three seeds; seed 1 stopped at 3 million steps)",
        [f"weighed-1000-s{i}" for i in range(3)],
    ),
    (
        "contexts that are the first 1 to 50 episodes of a visit (as many of each magnitude), "
        "N(0, I) one of the factors (seed 2)",
        ["prefixes-s2"],
    ),
    (
        "dense rewards in the context while episodes are collected (two seeds, stopped at 3 and 2 million steps)",
        ["dense-context-s0", "dense-context-s1"],
    ),
)
"""trials, and their metrics"""


def tested(run: str) -> dict[int, np.ndarray]:
    """Returns of a run's meta-tests, [stage, task], by real samples of training."""
    found = raw.tests(HERE / run).items()
    return {n: np.array([np.mean(stage["returns"], axis=1) for stage in stages]) for n, stages in found}


def draws(path: str) -> dict[str, np.ndarray]:
    """Returns of ten tests of the last checkpoint, [draw, stage, task], with five exploring episodes and with twenty;
    the share of episodes with nothing seen that find each goal, [task], where it was counted."""
    return {name: np.array(each) for name, each in json.loads((HERE / path).read_text()).items()}


def by_chance(found: Any, episodes: Sequence[int]) -> list[float]:
    """Share of goals that so many episodes find, and one more, all with z ~ N(0, I)."""
    return [float(np.mean(1 - (1 - found) ** (n + 1))) for n in episodes]


def found_again(drawn: dict[str, np.ndarray]) -> tuple[int, int]:
    """How often a goal is reached for the first time after the fifth episode or a later one, and how often of these by
    the next episode, too."""
    reached = drawn["5 exploring"][:, EXPLORING:] > 0
    first = reached[:, :-1] & (np.cumsum(reached, axis=1)[:, :-1] == 1)
    return first.sum(), (first & reached[:, 1:]).sum()


def learns(metrics: Path) -> tuple[int | None, int, float]:
    """After how many iterations the posterior's return is better than the prior's by 4, mean of ten; the number of
    iterations, and seconds of one."""
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    better = [row["real/return"] - row["real/prior_return"] for row in rows]
    after = [n for n in range(10, len(rows) + 1) if np.mean(better[n - 10 : n]) > 4]
    return after[0] if after else None, len(rows), float(np.mean([row["time/step"] for row in rows]))


def drawn(kind: str = "5 exploring") -> np.ndarray:
    """Returns of ten tests of the last checkpoint, `[seed, draw, stage, task]`."""
    return np.array([draws(f"{run}/draws.json")[kind] for run in SEEDS])


def share(returns: np.ndarray) -> np.ndarray:
    """Of goals found, `[seed, stage]`."""
    return (returns > 0).mean(axis=(1, 3))


def twice(values: np.ndarray) -> str:
    return raw.numbers(values, 2)


def figures() -> Iterator[str]:
    result, sparse = share(drawn()), drawn().mean(axis=(1, 3))
    yield raw.row("share of goals found, seeds 0 1 2", *(twice(result[:, n]) for n in SEEN))
    yield raw.row("sparse return", *(raw.numbers(sparse[:, n], 1) for n in SEEN))
    later = (raw.to(result[:, n], 2) for n in (5, 10, 20))
    yield f"With nothing seen an episode finds {raw.number(result[:, 0].mean(), 2)} of the held-out goals"
    yield "after five episodes {}, after ten {}, after twenty {}".format(*later)
    chance = by_chance(result[:, 0].mean(), (5, 10, 20))
    yield "they would find {}, {} and {} of the goals".format(*(raw.number(x, 2) for x in chance))
    above = max((one - by_chance(one[0], range(len(one)))).max() for one in result)
    yield f"No seed is above chance by more than {raw.number(np.ceil(100 * above) / 100, 2)}"
    knows = share(drawn("20 exploring"))
    for n, when in ((10, "ten"), (20, "twenty")):
        yield f"{twice(knows[:, n])} of the goals after {when} (here {twice(result[:, n])})"
    first, again = np.sum([found_again(draws(f"{run}/draws.json")) for run in SEEDS], axis=0)
    yield f"in {again} of {first} cases"
    by_samples = list(zip(*(tested(run).values() for run in SEEDS), strict=True))
    nothing, ten = np.array([[[test[n].mean() for test in each] for each in by_samples] for n in (0, 10)]).mean(axis=2)
    yield f"after ten episodes are {raw.numbers(ten, 1)} at 1, 2, 3, 4 and 5 million steps"
    yield f"with nothing seen {raw.numbers(nothing, 1)}"
    yield from trials()
    yield from dense_context()
    yield from maesn()


def dense_context() -> Iterator[str]:
    """Goals found after ten episodes, by its tests, beside those of the same seeds with a sparse context."""
    dense = [one_test(f"dense-context-s{i}") for i in range(2)]
    sparse = [
        [(test[10] > 0).mean() for test in tested(run).values()][:n]
        for run, n in zip(SEEDS[:2], (3, 2), strict=True)
    ]
    yield "goals found after ten episodes are {} at 1, 2 and 3 million steps of seed 0".format(dense[0])
    yield f"and {dense[1]} at 1 and 1.9 million of seed 1"
    yield f"where the same seeds with the sparse context have {twice(sparse[0])} and {twice(sparse[1])}"


def maesn() -> Iterator[str]:
    """MAESN at equal samples; a stage is 20 episodes."""
    tests = [raw.read(f"pearl-sparse-point/maesn-s{i}/evaluation.json") for i in range(3)]
    reached = np.array([[np.mean(stage["returns"]) for stage in test["stages"]] for test in tests])
    goals = np.array([[np.mean(np.array(stage["returns"]) > 0) for stage in test["stages"]] for test in tests])
    yield raw.row("MAESN: share of goals found, seeds 0 1 2", *(twice(goals[:, n]) for n in (0, 1, 2, 5, 10)))
    yield raw.row("MAESN: sparse return", *(raw.numbers(reached[:, n], 1) for n in (0, 1, 2, 5, 10)))
    result = share(drawn())
    yield f"PEARL finds {twice(result[:, 20])} after 20 episodes, MAESN {twice(goals[:, 1])}"
    last = [raw.metrics(run)[-1] for run in raw.runs("pearl-sparse-point/maesn-s*")]
    before, after = ([line[name] for line in last] for name in ("real/return", "real/adapted_return"))
    yield f"from {raw.numbers(before, 1)} to {raw.numbers(after, 1)} in meta-iteration 310"


def one_test(trial: str, stage: int = 10) -> str:
    """Share of goals found in one test at each count of samples."""
    tests = raw.read(f"pearl-sparse-point/trials/{trial}-tests.json").values()
    return twice([np.mean(np.array(returns)[stage] > 0) for returns in tests])


def trials() -> Iterator[str]:
    for title, files in LEARNED:
        result = [learns(HERE / f"trials/{name}.jsonl") for name in files]
        after = ", ".join(f"{n}" if n else f"not by {iterations}" for n, iterations, _ in result)
        yield raw.row(title, after, raw.number(np.mean([seconds for *_, seconds in result])))
    yield f"goals found after ten episodes are {one_test('posterior-0-extra-45-s0').split()[-1]} at 1.5 million steps"
    ours = [[(test[10] > 0).mean() for test in tested(run).values()] for run in SEEDS]
    first, second = np.array(ours)[:, :2].T
    yield f"here {twice(first)} at one million, {twice(second)} at two"
    lines = (HERE / "trials/kl-10-s0.jsonl").read_text().splitlines()
    narrow = [json.loads(line)["encoder/kl"] for line in lines]
    yield f"they are at {raw.number(np.mean(narrow[-10:]), 1)} nats at its end"
    (prefixes,) = raw.read("pearl-sparse-point/trials/prefixes-s2-tests.json").values()
    returns, deviations = np.array(prefixes["returns"]), np.array(prefixes["belief_stds"])
    left = [raw.number(deviations[n][(returns[:n] <= 0).all(axis=0)].mean(), 2) for n in (3, 10)]
    yield f"a deviation of {left[0]} after three episodes and of {left[1]} after ten"
    yield f"goals found stay at {raw.to((returns > 0).mean(axis=1)[4:], 2)} from the fourth episode to the tenth"
    weighed = [draws(f"trials/weighed-1000-s{i}-draws.json") for i in (0, 2)]
    shares = share(np.array([each["5 exploring"] for each in weighed]))[:, [5, 10, 20]]
    expected = [by_chance(each[NOTHING], (5, 10, 20)) for each in weighed]
    yield f"{twice(shares[0])} and {twice(shares[1])} of the goals after five, ten and twenty episodes"
    yield f"would have found {twice(expected[0])} and {twice(expected[1])}"
    tests = [one_test(f"weighed-1000-s{i}") for i in range(3)]
    yield "at each million steps: {}, {} (stopped), {}".format(*tests)


GIVEN = [
    "80 goals on a half circle to train on, 20 held out",
    "within 0.2 m of the goal",
    "500 iterations, 5 million real steps",
    "N(0, I)",
    "on the 20 held-out goals",
    "| episodes seen of the task | 0 | 1 | 2 | 3 | 5 | 10 | 20 |",
    "A goal is 0.4 m of a half circle of 3.14 m",
    "all of a visit's 50 episodes",
    "(5 episodes with the prior, 45 with the posterior)",
    "a learning rate of 0.001 (`laptop`)",
    "better than the prior's by 4, mean of ten",
    "The trials with 5 and",
    "with a context of 100 in training",
    "the released 1000 it is wider by √10",
    "5 million steps, ten tests each",
    "each goal's share of 100 such episodes",
    "| episodes of the task that MAESN has adapted to | 0 | 20 | 40 | 100 | 200 |",
    "(3 × 300 units, 256 transitions per task, contexts of 1000, a learning rate of 0.0003)",
    "an iteration of 1,000 gradient steps costs 4 to 9 minutes of a core, for 100 of them 6 to 15 hours",
    "(contexts of 256 and of 1000, weighed or not",
    "finds 0.85 of the goals after ten episodes",
    "until July 2019",
    "313 meta-iterations, 5 million real steps",
    "20 episodes per inner step",
    "A stage is one episode of PEARL and 20 of MAESN",
    "7 s an iteration make an hour",
]
