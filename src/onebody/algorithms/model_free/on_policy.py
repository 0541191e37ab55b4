"""What TRPO, PPO and ACKTR do around their learning: real episodes with the policy as it is, and adaptation.

1: for n_iterations                                                                            `OnPolicy.step`
2:     real episodes, each of its own task                                                     `collect`
3:     what the algorithm learns from them                                                     `OnPolicy._improve`
4: a new ψ: stage 0 is the policy as it is; each stage lines 2-3 for ψ alone                   `OnPolicy.adapt`
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
from jaxtyping import Array, Float

from onebody.algorithms.protocol import Adapted, Metrics
from onebody.core.returns import first_episode_return
from onebody.core.types import Key, Transitions
from onebody.learning.policies import GaussianPolicy, for_each, stacked
from onebody.tasks.family import TaskFamily
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator


def collect(
    simulator: Simulator, policy: GaussianPolicy, tasks: Float[Array, "task feature"], episodes: int, key: Key
) -> tuple[Transitions, Metrics]:
    """Line 2."""
    seen = rollout(simulator, for_each(policy, len(tasks)), tasks, key, episodes=episodes)
    return seen, {"real/return": float(first_episode_return(seen.reward, seen.done).mean())}


@dataclass(frozen=True)
class OnPolicy(ABC):
    """An algorithm whose state has a `policy`, and whose configuration has `episodes` and `refine_episodes`."""

    family: TaskFamily
    config: Any
    simulator: Simulator
    task_is_known: ClassVar[bool] = False

    @abstractmethod
    def _improve(self, state: Any, seen: Transitions, key: Key) -> tuple[Any, dict[str, Array]]:
        """Line 3, from `[task, time, episode]` transitions."""

    def step(self, state: Any, key: Key) -> tuple[Any, Metrics]:
        task_key, key = jax.random.split(key)
        return self._iteration(state, self.family.space.sample(task_key, self.config.episodes), 1, key)

    def adapt(self, state: Any, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        states, keys = [state] * len(tasks), jax.random.split(key, len(tasks))
        for stage in itertools.count():
            yield Adapted(stacked(own.policy for own in states))
            states = [
                self._iteration(own, task[None], self.config.refine_episodes, jax.random.fold_in(k, stage))[0]
                for own, task, k in zip(states, tasks, keys, strict=True)
            ]

    def _iteration(self, state: Any, tasks: Array, episodes: int, key: Key) -> tuple[Any, Metrics]:
        """Lines 2-3."""
        collect_key, improve_key = jax.random.split(key)
        seen, metrics = collect(self.simulator, state.policy, tasks, episodes, collect_key)
        state, found = self._improve(state, seen, improve_key)
        return state, metrics | {name: float(value) for name, value in found.items()}
