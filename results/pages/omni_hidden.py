"""The numbers of results/omni-hidden."""

from collections.abc import Iterator

import numpy as np

from results import raw
from results.pages.pearl_sparse_point import draws

FAMILIES = {"cheetah-vel": (100_000, 1), "cheetah-dir": (100_000, 0), "sparse-point": (4_000, 1)}
"""real samples of training, and digits of returns"""


def told(family: str, what: str = "returns") -> np.ndarray:
    """Of the policies that are told the task, [seed, task]."""
    return np.array([raw.read(run / "told.json")[what] for run in raw.runs(f"pearl-{family}/omni-hidden-s*")])


def found(pattern: str, stage: int) -> np.ndarray:
    """Share of episodes with a reward, [seed]."""
    return np.array([np.mean(np.array(each["returns"]) > 0) for each in raw.stages(pattern, stage=stage)])


def figures() -> Iterator[str]:
    for family, (samples, digits) in FAMILIES.items():
        pattern = f"pearl-{family}/omni-hidden-s*"
        cells = [raw.by_seed(raw.scores(pattern, stage=k), digits) for k in range(4)]
        yield raw.row(f"`pearl/{family}`", raw.number(samples), *cells, raw.by_seed(told(family), digits))

    sparse = "pearl-sparse-point/omni-hidden-s*"
    shares = [raw.numbers(found(sparse, k), 2) for k in range(4)]
    yield f"find {shares[0]} of the held-out goals in the first episode, {shares[1]} in the second, {shares[2]} in the third"
    yield f"{shares[3]} in the fourth"
    theirs = raw.numbers([np.mean(draws(f"pearl-s{seed}/draws.json")["5 exploring"][:, 5] > 0) for seed in range(3)], 2)
    yield f"PEARL's three seeds find {theirs} after five episodes"

    vel, known = raw.scores("pearl-cheetah-vel/omni-hidden-s*", stage=1), told("cheetah-vel")
    apart = 100 * np.abs(vel.mean(1) / known.mean(1) - 1)
    yield f"{raw.to(apart)}% apart from the same policies told ψ"
    yield f"Their mean is {raw.mean(vel, 1)}"
    theirs = raw.published("pearl/cheetah-vel")["third_episode"]
    yield f"PEARL's published {theirs['1000000']} after 1,000,000 samples"
    yield f"{theirs['250000']} after 250,000"
    dirs = told("cheetah-dir")
    yield f"the models predicted {raw.number(told('cheetah-dir', 'predicted').mean())} where {raw.mean(dirs)} came"
    yield f"PEARL's published {raw.published('pearl/cheetah-dir')['third_episode']['1000000']} after 1,000,000 samples"


GIVEN = [
    "ten real episodes each",
    "a goal is found if an episode has any reward",
    "4,000 real samples of training, where PEARL has 5 million",
    "within 10%",
    "0.9 of the goals within 4 episodes",
    "with at most 100,000 samples",
    "12 to 18 minutes on the half-cheetah and 5 on the point",
]
