"""Adaptation to several tasks, on all cores: each goes on with a learner and with samples of its own."""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import jax
from jaxtyping import Array, Float

from onebody.algorithms.protocol import Adapted
from onebody.core.types import Key

Learner = TypeVar("Learner")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
"""cores that the process may use"""


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
        stage: a learner, its task and a key -> the learner after real samples of its task. Called in several threads.
    """
    keys = jax.random.split(key, len(tasks))
    for i in itertools.count():
        yield adapted(learners)

        def one(learner: Learner, task: Float[Array, " feature"], key: Key, i: int = i) -> Learner:
            return stage(learner, task[None], jax.random.fold_in(key, i))

        first, *others = zip(learners, tasks, keys, strict=True)
        learners = [one(*first)]  # compiles what the others use
        threads = ThreadPoolExecutor(CORES)
        try:
            learners += threads.map(lambda rows: one(*rows), others)
        except BaseException as error:  # a signal does not wait for the stages that have begun
            threads.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
            raise
        threads.shutdown()
