"""What SAC and DDPG do around their learning: real episodes for a replay of all tasks as one, and adaptation.

1: real episodes into rows of replay                                                          `collect`
2: a new ψ: stage 0 is the policy as it is; each stage real episodes of ψ alone into a replay
   of its own, and learning from that                                                         `adaptation`
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.algorithms.protocol import Adapted, Metrics
from onebody.core.returns import first_episode_return
from onebody.core.types import Key
from onebody.learning.policies import Policy, stacked
from onebody.learning.task_replay import Rows, TaskReplay
from onebody.tasks.family import TaskFamily
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

REMEMBERED = 100
"""stages of adaptation, the latest ones, whose samples are learned from"""

Learner = TypeVar("Learner")


def new_replay(family: TaskFamily, episodes: int, visits: int, initial: int = 0) -> TaskReplay:
    """Of all tasks as one: room for `initial` episodes at the beginning and for visits of `episodes` each."""
    body, length = family.body, episodes * family.horizon
    begun = initial * family.horizon
    return TaskReplay.empty(1, visits, begun, length, length, body.observation_size, body.action_size)


def collect(
    simulator: Simulator, policies: Policy, tasks: Float[Array, "task feature"], episodes: int, key: Key
) -> tuple[Rows, Metrics]:
    """Line 1, as [1, row, ...]; a policy a task."""
    seen = rollout(simulator, policies, tasks, key, episodes=episodes)
    flat = lambda x: x.reshape(1, -1, *x.shape[3:])  # noqa: E731
    observation, action, reward, following, terminated, _ = map(flat, seen)
    rows = Rows(observation, action, reward, reward, following, terminated.astype(jnp.float32))
    return rows, {"real/return": float(first_episode_return(seen.reward, seen.done).mean())}


@jax.jit
def visited(replay: TaskReplay, rows: Rows) -> TaskReplay:
    """The replay with rows [1, row, ...] more."""
    return replay.visit(jnp.zeros(1, jnp.int32), rows)


def adaptation(
    learner: Learner,
    empty: TaskReplay,
    tasks: Float[Array, "task feature"],
    key: Key,
    policy: Callable[[Learner], Any],
    collect: Callable[[Learner, Array, Key], Rows],
    improve: Callable[[Learner, Rows, TaskReplay, Key], Learner],
) -> Iterator[Adapted]:
    """Line 2.

    Args:
        empty: a replay with room for `REMEMBERED` visits.
        collect: real episodes of one task.
        improve: what is learned from the newest rows, and from the replay with them.
    """
    learners = [learner] * len(tasks)
    seen: list[deque[Rows]] = [deque(maxlen=empty.visits.shape[1]) for _ in tasks]
    for stage in itertools.count():
        yield Adapted(stacked(policy(learner) for learner in learners))
        for i, task in enumerate(tasks):
            episode_key, learn_key = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, stage), i))
            rows = collect(learners[i], task, episode_key)
            seen[i].append(rows)
            learners[i] = improve(learners[i], rows, reduce(visited, seen[i], empty), learn_key)
