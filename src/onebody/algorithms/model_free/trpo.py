"""TRPO on the real simulator (Schulman, Levine, Abbeel, Jordan, Moritz 2015), for one task or for the mean of all.

    1: initialise the policy and its value
    2: for n_iterations                                                                    `step`
    3:     real episodes, each of its own task                                             `on_policy.collect`
    4:     one step of TRPO along generalised advantages, from a value network that is then
           fitted to them, or from a linear baseline that is fitted first                  `update`
    5: a new ψ: stage 0 is the policy as it is; each stage lines 3-4 for ψ alone           `OnPolicy.adapt`

The policy does not see ψ: untrained (`--samples 0`) and adapted in stages it is the usual single-task baseline. The
oracle (`oracle.py`) is the same with a policy that sees ψ.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax
from jaxtyping import Array

from onebody.algorithms.model_free.on_policy import OnPolicy
from onebody.algorithms.protocol import AlgorithmSpec
from onebody.core.errors import at_least, at_most
from onebody.core.nets import Normalizer
from onebody.core.types import Key, Transitions
from onebody.learning import actor_critic, linear_baseline, trpo
from onebody.learning.actor_critic import ActorCritic, ValueConfig, new_actor_critic
from onebody.learning.policies import Activation, GaussianPolicy
from onebody.learning.trpo import RLLAB_STEP, TRPOConfig
from onebody.tasks import mbmpo


@dataclass(frozen=True)
class Training:
    """Settings that TRPO and the oracle share. The defaults are ours, but for 100 episodes of 200 steps per
    iteration, as in MAML's experiments."""

    n_iterations: int = 1000
    """Iterations of training"""
    episodes: int = 100
    """Real episodes per iteration, each of its own task"""
    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer of the policy"""
    activation: Activation = "tanh"
    """Activation function of the policy's hidden layers"""
    normalize: bool = True
    """Normalise observations by their running mean and standard deviation"""
    baseline: Literal["network", "linear"] = "network"
    """Baseline of the advantages: a value network, fitted after each policy step, or a function linear in features of
    observation and time (Duan et al. 2016), fitted to the same episodes before it"""
    discount: float = 0.99
    """Discount factor γ"""
    trace: float = 0.95
    """Trace decay λ of the generalised advantages"""
    value: ValueConfig = field(default_factory=partial(ValueConfig, batch=256))
    """Settings of the value network, used only where the baseline is one"""
    trpo: TRPOConfig = field(default_factory=partial(TRPOConfig, entropy=0.0))
    """Settings of each TRPO step"""

    def __post_init__(self) -> None:
        at_least(1, self, "n_iterations", "episodes", "hidden")
        at_least(0, self, "discount", "trace")
        at_most(1, self, "discount", "trace")


@dataclass(frozen=True)
class Config(Training):
    """TRPO, which adapts."""

    refine_episodes: int = 20
    """Real episodes per task and stage of adaptation"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "refine_episodes")


@partial(jax.jit, static_argnames=("observations", "actions", "config"))
def new_agent(key: Key, observations: int, actions: int, config: Config) -> ActorCritic:
    """An untrained policy and its value function, for observations and actions of these sizes."""
    policy = partial(GaussianPolicy, activation=config.activation)
    return new_actor_critic(key, policy, Normalizer(observations), actions, config)


@partial(jax.jit, static_argnames=("config",))
def update(
    agent: ActorCritic, transitions: Transitions, key: Key, config: Training
) -> tuple[ActorCritic, dict[str, Array]]:
    """Line 4, of `[task, time, episode]` transitions whose observations are what the policy sees."""
    transitions = transitions.by_time
    if config.normalize:
        agent = agent.renormalized(agent.policy.observation.update(transitions.observation))
    if config.baseline == "linear":
        advantage = linear_baseline.advantages(transitions, config.discount, config.trace)
        observation, action = (x.reshape(-1, x.shape[-1]) for x in (transitions.observation, transitions.action))
        policy, metrics = trpo.update(agent.policy, observation, action, advantage.reshape(-1), config.trpo)
        return ActorCritic(policy, agent.value), metrics
    return actor_critic.trpo_and_value_update(agent, transitions, key, config)


@dataclass(frozen=True)
class TRPO(OnPolicy):
    """Trust region policy optimisation."""

    config: Config

    def init(self, key: Key) -> ActorCritic:
        return new_agent(key, self.family.body.observation_size, self.family.body.action_size, self.config)

    def _update(self, state: ActorCritic, transitions: Transitions, key: Key) -> tuple[ActorCritic, dict[str, Array]]:
        return update(state, transitions, key, self.config)


_MB_MPO: dict[str, Any] = {
    "episodes": 250,
    "hidden": (32, 32),
    "normalize": False,
    "baseline": "linear",
    "trace": 1.0,
    "trpo": RLLAB_STEP,
}
"""MB-MPO's comparison (Clavera et al. 2018)"""

SPEC = AlgorithmSpec(
    TRPO,
    presets={
        "paper": Config(),
        "laptop": Config(n_iterations=200),
        "smoke": Config(n_iterations=2, episodes=4, refine_episodes=2, hidden=(16, 16)),
    },
    family_settings={("paper", family.id): _MB_MPO for family in mbmpo.FAMILIES},
)
