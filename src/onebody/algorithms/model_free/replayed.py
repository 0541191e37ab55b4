"""What SAC and DDPG share: real episodes for a replay buffer of all tasks as one, and adaptation.

1: real episodes into rows of replay                                                          `collect`
2: a new ψ: stage 0 is the policy as it is; each stage real episodes of ψ alone into a replay
   of its own, and learning from that                                                         `adaptation`
"""

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.algorithms.adaptation import task_by_task
from onebody.algorithms.protocol import Adapted, Metrics
from onebody.core.returns import first_episode_return
from onebody.core.types import Key
from onebody.learning.policies import Policy, stacked
from onebody.learning.task_replay import Rows, TaskReplay
from onebody.tasks.family import TaskFamily
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

KEPT_STAGES = 100
"""Newest stages of adaptation whose samples are learned from"""

Learner = TypeVar("Learner")


def new_replay(family: TaskFamily, episodes: int, visits: int, initial: int = 0) -> TaskReplay:
    """An empty replay buffer for all tasks as one, for `initial` episodes and then visits of `episodes` each."""
    body, length = family.body, episodes * family.horizon
    begun = initial * family.horizon
    return TaskReplay.empty(1, visits, begun, length, length, body.observation_size, body.action_size)


def collect(
    simulator: Simulator, policies: Policy, tasks: Float[Array, "task feature"], episodes: int, key: Key
) -> tuple[Rows, Metrics]:
    """Line 1, as [1, row, ...]; one policy per task."""
    transitions = rollout(simulator, policies, tasks, key, episodes=episodes)
    flat = lambda x: x.reshape(1, -1, *x.shape[3:])  # noqa: E731
    observation, action, reward, next_observation, terminated, _ = map(flat, transitions)
    rows = Rows(observation, action, reward, reward, next_observation, terminated.astype(jnp.float32))
    return rows, {"real/return": float(first_episode_return(transitions.reward, transitions.done).mean())}


@jax.jit
def with_rows(replay: TaskReplay, rows: Rows) -> TaskReplay:
    """The replay with rows [1, row, ...] more."""
    return replay.visit(jnp.zeros(1, jnp.int32), rows)


def adaptation(
    learner: Learner,
    empty: TaskReplay,
    tasks: Float[Array, "task feature"],
    key: Key,
    policy: Callable[[Learner], Any],
    collect: Callable[[Learner, Array, Key], Rows],
    learn: Callable[[Learner, Rows, TaskReplay, Key], Learner],
) -> Iterator[Adapted]:
    """Line 2.

    Args:
        empty: a replay with room for `KEPT_STAGES` visits.
        collect: real episodes of one task [1, feature].
        learn: from the newest rows, and from the replay with them.
    """

    def adapted(learners: Sequence[tuple[Learner, tuple[Rows, ...]]]) -> Adapted:
        return Adapted(stacked(policy(learner) for learner, _ in learners))

    def stage(own: tuple[Learner, tuple[Rows, ...]], task: Array, key: Key) -> tuple[Learner, tuple[Rows, ...]]:
        learner, past = own
        episode_key, learn_key = jax.random.split(key)
        rows = collect(learner, task, episode_key)
        kept = (*past, rows)[-empty.visits.shape[1] :]
        return learn(learner, rows, reduce(with_rows, kept, empty), learn_key), kept

    return task_by_task([(learner, ())] * len(tasks), tasks, key, adapted, stage)
