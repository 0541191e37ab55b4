"""The oracle of MAML and SMT: one policy that sees ψ, trained by TRPO on the real simulator.

    1: as `trpo`, lines 1-4, each episode with its own task, which the policy sees
    2: a new ψ: a forward pass; there are no stages                                        `adapt`

It shows what a policy of this kind reaches with unlimited samples; none of its samples are of the new task.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
from jaxtyping import Array, Float

from onebody.algorithms.model_free.on_policy import collect
from onebody.algorithms.model_free.trpo import Training as Config
from onebody.algorithms.model_free.trpo import update
from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics
from onebody.core.nets import Normalizer
from onebody.core.types import Key
from onebody.learning.actor_critic import ActorCritic, new_actor_critic
from onebody.learning.policies import ConditionedGaussian, for_each, with_task
from onebody.learning.trpo import RLLAB_STEP
from onebody.tasks.family import TaskFamily
from onebody.worlds.simulator import Simulator


@dataclass(frozen=True)
class Oracle:
    """A task-conditioned policy by TRPO."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = True

    def init(self, key: Key) -> ActorCritic:
        body = self.family.body
        size = body.observation_size + self.family.space.size
        policy = partial(ConditionedGaussian, activation=self.config.activation)
        return new_actor_critic(key, policy, Normalizer(size), body.action_size, self.config)

    def step(self, state: ActorCritic, key: Key) -> tuple[ActorCritic, Metrics]:
        task_key, collect_key, update_key = jax.random.split(key, 3)
        tasks = self.family.space.sample(task_key, self.config.episodes)
        transitions, metrics = collect(self.simulator, state.policy, tasks, 1, collect_key)
        observation, next_observation = (
            with_task(x, tasks[:, None, None]) for x in (transitions.observation, transitions.next_observation)
        )
        transitions = transitions._replace(observation=observation, next_observation=next_observation)
        state, updated = update(state, transitions, update_key, self.config)
        return state, metrics | {name: float(value) for name, value in updated.items()}

    def adapt(self, state: ActorCritic, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        """The same policy at every stage: it does not learn from single tasks."""
        return itertools.repeat(Adapted(for_each(state.policy, len(tasks))))


_PUBLISHED = Config(
    n_iterations=975,
    hidden=(100, 100),
    activation="relu",
    normalize=False,
    baseline="linear",
    trace=1.0,
    trpo=RLLAB_STEP,
)

SPEC = AlgorithmSpec(
    Oracle,
    presets={
        "published": _PUBLISHED,
        "paper": _PUBLISHED,
        "tuned": Config(),
        "laptop": Config(n_iterations=200),
        "smoke": Config(n_iterations=2, episodes=4, hidden=(16, 16)),
    },
)
