"""What TRPO, PPO and ACKTR share: real episodes with the current policy, and adaptation.

1: for n_iterations                                                                            `OnPolicy.step`
2:     real episodes, each of its own task                                                     `collect`
3:     what the algorithm learns from them                                                     `OnPolicy._update`
4: a new ψ: stage 0 is the policy as it is; each stage lines 2-3 for ψ alone                   `OnPolicy.adapt`
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
from jaxtyping import Array, Float

from onebody.algorithms.adaptation import task_by_task
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
    transitions = rollout(simulator, for_each(policy, len(tasks)), tasks, key, episodes=episodes)
    return transitions, {"real/return": float(first_episode_return(transitions.reward, transitions.done).mean())}


@dataclass(frozen=True)
class OnPolicy(ABC):
    """An algorithm whose state has a `policy`, and whose configuration has `episodes` and `refine_episodes`."""

    family: TaskFamily
    config: Any
    simulator: Simulator
    task_is_known: ClassVar[bool] = False

    @abstractmethod
    def _update(self, state: Any, transitions: Transitions, key: Key) -> tuple[Any, dict[str, Array]]:
        """Line 3, from `[task, time, episode]` transitions."""

    def step(self, state: Any, key: Key) -> tuple[Any, Metrics]:
        task_key, key = jax.random.split(key)
        return self._iteration(state, self.family.space.sample(task_key, self.config.episodes), 1, key)

    def adapt(self, state: Any, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        def adapted(states: Sequence[Any]) -> Adapted:
            return Adapted(stacked(own.policy for own in states))

        def stage(own: Any, task: Float[Array, "1 feature"], key: Key) -> Any:
            return self._iteration(own, task, self.config.refine_episodes, key)[0]

        return task_by_task([state] * len(tasks), tasks, key, adapted, stage)

    def _iteration(self, state: Any, tasks: Array, episodes: int, key: Key) -> tuple[Any, Metrics]:
        """Lines 2-3."""
        collect_key, update_key = jax.random.split(key)
        transitions, metrics = collect(self.simulator, state.policy, tasks, episodes, collect_key)
        state, updated = self._update(state, transitions, update_key)
        return state, metrics | {name: float(value) for name, value in updated.items()}
