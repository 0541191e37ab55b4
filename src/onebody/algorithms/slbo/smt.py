"""SMT: sequential multi-task training (Landolfi, Thomas, Ma 2019), Algorithm 1.

    1: initialise the model, D ← ∅
    2: for n_tasks training tasks                                     `step`
    3:     sample a task ψ from p(ψ)
    4:     initialise a policy at random
    5:     if D is not empty: n_warmup iterations of VirtualTraining  no real sample
    6:     for n_slbo stages of SLBO                                  D grows
    7:         collect real samples with exploration noise, D ← D ∪ them
    8:         n_inner iterations of VirtualTraining
    9: adapt to a new ψ (Eq. 6): lines 4-8 again                      `adapt`, yields after line 5 and each stage

With logged transitions, these are in D from the beginning, and n_slbo may be 0: the model is then learned from them
alone, while a policy for each training task is optimised in it.      `with_logs`

The model, its optimiser's state, the data and the normalisers are kept over tasks; policy and value are not.

Where the paper contradicts itself we take its appendix: policies of 2 x 32 units (§5.1 says 2 x 100 ReLU), as in
SLBO; n_inner, never stated, is SLBO's 20. Differences from the paper are those of SLBO (see `slbo`); and
new tasks that are adapted to together warm up in one model, fitted once for all of them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import equinox as eqx
import jax
from jaxtyping import Array, Float

from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics, iterations_held
from onebody.algorithms.slbo.slbo import (
    LAPTOP_STAGE,
    SMOKE_STAGE,
    Shared,
    StageConfig,
    adaptation,
    agent_of,
    extended,
    new_agents,
    new_shared,
    stage,
    virtual_training,
)
from onebody.core.errors import OnebodyError, at_least
from onebody.core.types import Key, Transitions
from onebody.learning.actor_critic import ActorCritic
from onebody.tasks.family import TaskFamily
from onebody.worlds.simulator import Simulator


@dataclass(frozen=True)
class Config:
    """SMT, appendix; its half-cheetah column."""

    n_tasks: int = 100
    """Number of training tasks, one after the other"""
    n_warmup: int = 40
    """Iterations of virtual training for a task before its first real sample"""
    n_slbo: int = 1
    """SLBO stages per training task, each with real samples; 0 needs logged transitions"""
    logged_transitions: int = 0
    """Largest number of transitions of logs (train --data) that are kept; a larger log is sampled by whole episodes"""
    slbo: StageConfig = field(default_factory=StageConfig)
    """Settings of virtual training and of an SLBO stage"""

    def __post_init__(self) -> None:
        at_least(1, self, "n_tasks")
        at_least(0, self, "n_warmup", "n_slbo", "logged_transitions")
        if not (self.n_slbo or self.logged_transitions):
            raise OnebodyError("n-slbo must be at least 1 where there are no logs to learn from (train --data)")
        if not (self.n_slbo or self.n_warmup):
            raise OnebodyError("n-warmup must be at least 1 where n-slbo is 0: nothing would be trained")

    @property
    def n_iterations(self) -> int:
        """Calls of `step` in a whole training run"""
        return self.n_tasks


@dataclass(frozen=True)
class SMT:
    """Sequential multi-task training."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = True
    logs_alone = MappingProxyType({"n_slbo": 0})

    def init(self, key: Key) -> Shared:
        return self.begin(key, more_episodes=0)

    def begin(self, key: Key, more_episodes: int) -> Shared:
        """Line 1, with room in D for `more_episodes` real episodes in addition to those of all tasks' stages."""
        self.family.needs_one_model()
        more_stages = math.ceil(more_episodes / self.config.slbo.real_episodes)
        stages = iterations_held(self.config.n_tasks) * self.config.n_slbo + more_stages
        return new_shared(self.simulator, self.config.slbo, stages, key, self.config.logged_transitions)

    def step(self, state: Shared, key: Key) -> tuple[Shared, Metrics]:
        task_key, warmup_key, slbo_key = jax.random.split(key, 3)
        task = self.family.space.sample(task_key, 1)
        shared, agents, metrics = self.warm_up(state, task, warmup_key)
        shared, _, of_stages = self.slbo(shared, agents, task, slbo_key)
        return shared, metrics | of_stages

    def with_logs(self, state: Shared, transitions: Transitions, starts: Float[Array, "start observation"]) -> Shared:
        """The state with logged transitions in D, and with initial states from the logs; see `LearnsFromLogs`."""
        return eqx.tree_at(lambda s: s.starts, extended(state, transitions), starts)

    def adapt(self, state: Shared, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        warmup_key, slbo_key = jax.random.split(key)
        shared, agents, _ = self.warm_up(state, tasks, warmup_key)
        agents = [agent_of(agents, i) for i in range(len(tasks))]
        return adaptation(shared, agents, tasks, slbo_key, self.simulator, self.config.slbo)

    def slbo(
        self,
        shared: Shared,
        agents: ActorCritic,
        task: Float[Array, "1 feature"],
        key: Key,
        transitions: Transitions | None = None,
    ) -> tuple[Shared, ActorCritic, Metrics]:
        """Lines 6-8.

        Args:
            transitions: real samples of the first stage; None: it collects its own, as later stages always do.
        """
        metrics: Metrics = {}
        for i, stage_key in enumerate(jax.random.split(key, self.config.n_slbo)):
            given = transitions if i == 0 else None
            shared, agents, _, metrics = stage(shared, agents, task, stage_key, self.simulator, self.config.slbo, given)
        return shared, agents, metrics | {f"task/{i}": x for i, x in enumerate(task[0].tolist(), 1)}

    def warm_up(
        self, state: Shared, tasks: Float[Array, "task feature"], key: Key
    ) -> tuple[Shared, ActorCritic, Metrics]:
        """Lines 4-5, for several tasks at once in one model."""
        policy_key, training_key = jax.random.split(key)
        size, config = self.family.body.action_size, self.config.slbo
        agents = new_agents(policy_key, len(tasks), state.model.module.observation, size, config)
        iterations = self.config.n_warmup if int(state.data.size) else 0
        return virtual_training(state, agents, tasks, iterations, training_key, self.family, config)


LAPTOP_TASK = replace(LAPTOP_STAGE, n_inner=2)
"""most of a task's virtual training comes before its samples"""
LAPTOP_SMT = Config(n_tasks=40, n_warmup=8, slbo=LAPTOP_TASK)
SMOKE_SMT = Config(n_tasks=3, n_warmup=2, slbo=SMOKE_STAGE)
EIGHT_THOUSAND = StageConfig(real_episodes=40, imagined_episodes=40)
"""samples per stage, real and imagined, of the paper's ants and humanoids"""
OF_EIGHT_THOUSAND = tuple(
    f"smt/{name}"
    for name in (
        *("ant-vel", "ant-vel-wide", "ant-vel-2d", "ant-pos-to-neg"),
        *("ant-dir", "ant-low-friction", "ant-crippled"),
        *("humanoid-vel", "humanoid-vel-wide"),
    )
)

SPEC = AlgorithmSpec(
    SMT,
    presets={
        "paper": Config(),
        "laptop": LAPTOP_SMT,
        "smoke": SMOKE_SMT,
        "demo": Config(n_tasks=16, n_warmup=8, slbo=LAPTOP_TASK),
    },
    family_settings={("paper", family): {"slbo": EIGHT_THOUSAND} for family in OF_EIGHT_THOUSAND},
)
