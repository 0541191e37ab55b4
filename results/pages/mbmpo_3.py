"""The numbers of results/mbmpo-3: `maps.json` has what `plasticity.py` found in the states, which are not kept."""

from collections.abc import Iterator
from typing import Any

from results import raw

MAPS = {result["run"]: result for result in raw.read("mbmpo-3/maps.json")}


def correlations(result: dict[str, Any]) -> list[str]:
    own = f"{raw.number(result['pearson'], 2)} ({raw.number(result['spearman'], 2)})"
    return [own, *(raw.number(result[key], 2) for key in ("pearson_at_equal_distance", "pearson_control"))]


def figures() -> Iterator[str]:
    late, early, other = (MAPS[run] for run in ("mb-mpo-s1", "mb-mpo-early-s1", "mb-mpo-s0"))
    for result, title, digits in ((late, "seed 1, 30 iterations", 5), (early, "seed 1, 3 iterations", 6)):
        kl = [raw.number(result[key], digits) for key in ("mean_kl", "mean_kl_control")]
        yield raw.row(title, *correlations(result), *kl)
    own = f"{raw.number(other['pearson'], 2)} ({raw.number(other['spearman'], 2)})"
    yield raw.row("seed 0, 30 iterations, one draw", own, "", "", raw.number(other["mean_kl"], 5), "")
    above = [raw.number(result["pearson_above_control"], 2) for result in (late, early)]
    yield f"with the deviation is {above[0]}, after 3 iterations {above[1]}"


GIVEN = [
    "The 2-D point",
    "(40 imaginary tasks, 150 imagined and 10 real episodes, models of 2 × 128 units), 30 of its 50 iterations",
    "20 draws of their episodes",
    "mean over the five",
    "a gradient of 150 episodes",
    "3 iterations: the same with",
    "(now 0.8, fifteen times)",
]
