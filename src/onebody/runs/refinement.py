"""Policy optimisation for one task inside a trained model, for the family's reward or another one."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from jaxtyping import Array

from onebody.algorithms.protocol import Adapted, Refining
from onebody.core.types import Key
from onebody.tasks import limited
from onebody.tasks.family import Reward, TaskFamily
from onebody.worlds.check import check


class Refined(NamedTuple):
    """A policy that was optimised for one task inside the model."""

    before: Adapted
    after: Adapted
    updates: int
    """number of policy updates between the two"""
    family: TaskFamily
    """with the reward that the policy was optimised for"""


def with_reward(family: TaskFamily, reward: Reward) -> TaskFamily:
    """The family with another reward.

    Raises:
        OnebodyError: the reward is invalid; says why.
    """
    changed = limited.with_reward(family, reward, id=f"{family.id}-rewarded", test=None)
    check(changed)
    return changed


def refine(
    algorithm: Refining,
    state: Any,
    task: Array,
    key: Key,
    seconds: float,
    stopped: Callable[[], bool] = lambda: False,
) -> Refined:
    """Optimise a policy for one task for some seconds, or until `stopped`.

    The time starts after the first round of updates, which includes compilation.
    """
    policies = algorithm.refine(state, task, key)
    before, after = next(policies), next(policies)
    began, rounds = time.monotonic(), 1
    while time.monotonic() - began < seconds and not stopped():
        after, rounds = next(policies), rounds + 1
    return Refined(before, after, rounds * algorithm.refine_updates, algorithm.family)


def warnings(updates: int, before: float, after: float, unrefined: bool) -> Iterator[str]:
    """`before`, `after`: predicted returns; `unrefined`: a reward was given, but no time to optimise for it."""
    if unrefined:
        yield "this is the policy for the task, not optimised for the reward: optimise it with --refine SECONDS"
    if updates and not after > before:
        yield (
            f"{updates:,} updates did not raise the predicted return, so this is the policy as it was before them: "
            "optimise for more seconds (--refine), or, if the reward has steps or is constant along the policy's "
            "trajectory, make it smooth"
        )
