"""Adaptation to several tasks, one after the other: each goes on with a learner and with samples of its own."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import jax
from jaxtyping import Array, Float

from onebody.algorithms.protocol import Adapted
from onebody.core.types import Key

Learner = TypeVar("Learner")


def task_by_task(
    learners: Sequence[Learner],
    tasks: Float[Array, "task feature"],
    key: Key,
    adapted: Callable[[Sequence[Learner]], Adapted],
    stage: Callable[[Learner, Float[Array, "1 feature"], Key], Learner],
) -> Iterator[Adapted]:
    """Stage 0 is what the learners, one per task, know already; each further stage is one more call of `stage` for all.

    Args:
        adapted: what the learners of all tasks have come to.
        stage: a learner, its task and a key -> the learner after real samples of its task.
    """
    keys = jax.random.split(key, len(tasks))
    for i in itertools.count():
        yield adapted(learners)
        learners = [
            stage(learner, task[None], jax.random.fold_in(k, i))
            for learner, task, k in zip(learners, tasks, keys, strict=True)
        ]
