"""The numbers of results/omni-own-reward."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from results import raw

SEEDS = (0, 1, 2)
REWARDS = ("nose_down", "high_steps", "stand_still")
SECONDS = 60


def result(reward: str, seconds: int) -> list[dict[str, Any]]:
    """What `adapt` printed, for each seed."""
    return [raw.read(f"omni-own-reward/s{seed}/{reward}-{seconds}.json")[0] for seed in SEEDS]


def column(reward: str, seconds: int, name: str) -> np.ndarray:
    return np.array([each[name] for each in result(reward, seconds)], float)


def figures() -> Iterator[str]:
    better = inside = 0
    for reward in REWARDS:
        plain, practised = (column(reward, seconds, "real_return") for seconds in (0, SECONDS))
        low, high = np.moveaxis(column(reward, SECONDS, "predicted_interval"), -1, 0)
        better += int((practised > plain).sum())
        inside += int(((low <= practised) & (practised <= high)).sum())
        cells = [raw.numbers(each) for each in (plain, practised, column(reward, SECONDS, "predicted_return"))]
        updates = raw.numbers(column(reward, SECONDS, "refine_updates"))
        yield raw.row(f"`{reward}`", raw.numbers(column(reward, 0, "untrained_return")), *cells, updates)
    total = len(REWARDS) * len(SEEDS)
    yield f"better in {better} of {total} trainings"
    yield f"{inside} of {total} lie in the interval of their prediction"
    away = [column(reward, SECONDS, "real_return") - column(reward, SECONDS, "predicted_return") for reward in REWARDS]
    yield f"{raw.to(-np.array(away))} below their predictions"


GIVEN = ["40,000 samples for training", "run at 1 m/s with the nose down, run at 1 m/s", "optimises it there for 60 seconds", "many updates 60 seconds"]
