"""ACKTR: actor-critic by Kronecker-factored trust regions (Wu, Mansimov, Grosse, Liao, Ba 2017).

https://arxiv.org/abs/1708.05144, for one task or the mean of all.

    1: initialise the policy and its value, and the Kronecker factors of their Fisher matrices
    2: for n_iterations                                                                    `step`
    3:     real episodes, each of its own task                                             `on_policy.collect`
    4:     generalised advantages, from the value as it is                                 `update`
    5:     n_value times: factors of the value's matrix, as the mean of N(V(s), 1); a step
           of its natural gradient towards V(s) + Â                                        `update_value`
    6:     factors of the policy's matrix; a step of its natural gradient up A log π(a|s)  `update_policy`
    7:     η_max of the policy by 1.5 down if that moved it by more than twice the target
           KL, up if by less than half                                                     `adjusted`
    8: a new ψ: stage 0 is the policy as it is; each stage lines 3-7 for ψ alone           `OnPolicy.adapt`

The policy does not see ψ: untrained (`--samples 0`) and adapted in stages it is the usual single-task baseline. Its
standard deviation does not depend on the state, and its part of the matrix, 2 I, is known.

Differences: line 7 is that of the code released with the paper, and so are the settings. There the factors are inverted
by their eigenvalues, now and then and in parallel, and here at each step by a solution of linear equations; networks
see the last observation, too, and the value the distribution of actions and the time; the value is fitted to discounted
rewards; weights decay; the first steps are plain gradients. Damping is shared between factors (there on their product).
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.algorithms.model_free import kfac
from onebody.algorithms.model_free.kfac import Factors, KFACConfig
from onebody.algorithms.model_free.on_policy import OnPolicy
from onebody.algorithms.protocol import AlgorithmSpec
from onebody.core import random
from onebody.core.errors import at_least, at_most, positive
from onebody.core.nets import MLP, Normalizer, renormalized
from onebody.core.returns import gae
from onebody.core.types import Key, Transitions
from onebody.learning.actor_critic import ValueFunction
from onebody.learning.policies import GaussianPolicy
from onebody.tasks import mbmpo

RATE_FACTOR = 1.5
"""Factor by which η_max is raised or lowered"""
RATE_LIMITS = (1e-8, 1.0)
"""Limits of η_max"""
LAST_LAYER_FACTOR = 10.0
"""Factor of the usual initial weights in the policy's last layer, as in the released code"""


@dataclass(frozen=True)
class Config:
    """As in the released code, with 5,000 steps per iteration as in MB-MPO's comparison (Clavera et al. 2018)."""

    n_iterations: int = 2000
    """Iterations of training"""
    episodes: int = 25
    """Real episodes per iteration, each of its own task"""
    refine_episodes: int = 25
    """Real episodes per task and stage of adaptation"""
    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer of the policy"""
    value_hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer of the value network"""
    n_value: int = 25
    """K-FAC steps of the value network per iteration"""
    kl: float = 0.002
    """Mean KL(old ‖ new) of a policy step that its largest learning rate is adapted to, in nats"""
    discount: float = 0.99
    """Discount factor γ"""
    trace: float = 0.97
    """Trace decay λ of the generalised advantages"""
    policy: KFACConfig = KFACConfig(rate=0.03, radius=0.005, damping=0.01, decay=0.99)
    """K-FAC of the policy; its learning rate is the initial η_max"""
    value: KFACConfig = KFACConfig(rate=5e-4, radius=0.0375, damping=0.025, decay=0.95)
    """K-FAC of the value network"""

    def __post_init__(self) -> None:
        at_least(1, self, "n_iterations", "episodes", "refine_episodes", "hidden", "value_hidden", "n_value")
        at_least(0, self, "discount", "trace")
        at_most(1, self, "discount", "trace")
        positive(self, "kl")


class PolicyParameters(NamedTuple):
    """What is learned of the policy."""

    net: MLP
    log_std: Float[Array, " action"]


class State(eqx.Module):
    """State of a training run."""

    policy: GaussianPolicy
    value: ValueFunction
    policy_factors: Factors
    value_factors: Factors
    policy_velocity: PolicyParameters
    """Last step of the policy's parameters"""
    value_velocity: MLP
    """Last step of the value network"""
    rate: Float[Array, ""]
    """Largest learning rate η_max of the policy"""


def value_loss(net: MLP, inputs: Float[Array, "row in"], target: Float[Array, " row"]) -> Float[Array, ""]:
    """-log N(target; V(s), 1), without its constant."""
    return 0.5 * jnp.mean((net(inputs)[:, 0] - target) ** 2)


def policy_loss(policy: GaussianPolicy, observation: Array, action: Array, advantage: Array) -> Float[Array, ""]:
    """-A log π(a|s), whose gradient is the policy gradient."""
    return -jnp.mean(advantage * policy.distribution(observation).log_prob(action))


def update_value(state: State, observation: Array, target: Array, key: Key, config: Config) -> State:
    """Line 5."""
    inputs = state.value.observation(observation)

    def step(carry: tuple[MLP, Factors, MLP], key: Key) -> tuple[tuple[MLP, Factors, MLP], None]:
        net, factors, velocity = carry
        factors = factors.updated(net, inputs, random.normal(key, (len(inputs), 1)), config.value.decay)
        gradient = jax.grad(value_loss)(net, inputs, target)
        direction = kfac.natural(gradient, factors, config.value.damping)
        net, velocity = kfac.step(net, gradient, direction, velocity, config.value.rate, config.value)
        return (net, factors, velocity), None

    start = state.value.net, state.value_factors, state.value_velocity
    (net, factors, velocity), _ = jax.lax.scan(step, start, jax.random.split(key, config.n_value))
    value = eqx.tree_at(lambda v: v.net, state.value, net)
    return replace(state, value=value, value_factors=factors, value_velocity=velocity)


def update_policy(
    state: State, observation: Array, action: Array, advantage: Float[Array, " row"], key: Key, config: Config
) -> State:
    """Line 6."""
    old, damping = state.policy, config.policy.damping
    noise, inputs = random.normal(key, action.shape), old.observation(observation)
    slope = noise * jnp.exp(-old.log_std)  # of the log-density of sampled actions, with respect to the mean
    factors = state.policy_factors.updated(old.net, inputs, slope, config.policy.decay)

    def loss(parameters: PolicyParameters) -> Array:
        return policy_loss(_with_parameters(old, parameters), observation, action, advantage)

    parameters = PolicyParameters(old.net, old.log_std)
    gradient = jax.grad(loss)(parameters)
    net_direction = kfac.natural(gradient.net, factors, damping)
    direction = PolicyParameters(net_direction, gradient.log_std / (2 + damping))
    parameters, velocity = kfac.step(parameters, gradient, direction, state.policy_velocity, state.rate, config.policy)
    policy = _with_parameters(old, parameters)
    return replace(state, policy=policy, policy_factors=factors, policy_velocity=velocity)


def _with_parameters(policy: GaussianPolicy, parameters: PolicyParameters) -> GaussianPolicy:
    return eqx.tree_at(lambda p: (p.net, p.log_std), policy, tuple(parameters))


def adjusted(rate: Float[Array, ""], kl: Float[Array, ""], target: float) -> Float[Array, ""]:
    """Line 7."""
    factor = jnp.where(kl > 2 * target, 1 / RATE_FACTOR, jnp.where(kl < target / 2, RATE_FACTOR, 1.0))
    return jnp.clip(rate * factor, *RATE_LIMITS)


@partial(jax.jit, static_argnames=("config",))
def update(state: State, transitions: Transitions, key: Key, config: Config) -> tuple[State, dict[str, Array]]:
    """Lines 4-7, of `[task, time, episode]` transitions."""
    transitions = transitions.by_time
    statistics = state.policy.observation.update(transitions.observation)
    policy, value = (renormalized(each, statistics) for each in (state.policy, state.value))
    state, (value_key, policy_key) = replace(state, policy=policy, value=value), jax.random.split(key)
    before, after = value(transitions.observation), value(transitions.next_observation)
    advantage = gae(transitions, before, after, config.discount, config.trace)
    observation, action, target, advantage = (
        x.reshape(-1, *x.shape[2:])
        for x in (transitions.observation, transitions.action, advantage + before, advantage)
    )
    error = jnp.sqrt(jnp.mean((before.reshape(-1) - target) ** 2))
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    old = policy.distribution(observation)
    state = update_value(state, observation, target, value_key, config)
    state = update_policy(state, observation, action, advantage, policy_key, config)
    kl = old.kl(state.policy.distribution(observation)).mean()
    metrics = {"policy/kl": kl, "policy/learning_rate": state.rate, "value/error": error}
    return replace(state, rate=adjusted(state.rate, kl, config.kl)), metrics


@partial(jax.jit, static_argnames=("observations", "actions", "config"))
def new_state(key: Key, observations: int, actions: int, config: Config) -> State:
    """An untrained policy and its value function, for observations and actions of these sizes."""
    policy_key, value_key = jax.random.split(key)
    observation = Normalizer(observations)
    policy = GaussianPolicy(policy_key, config.hidden, observation, actions)
    policy = eqx.tree_at(lambda p: p.net.weights[-1], policy, replace_fn=lambda weight: LAST_LAYER_FACTOR * weight)
    value = ValueFunction(value_key, config.value_hidden, observation, jax.nn.elu)
    zeros = partial(jax.tree.map, jnp.zeros_like)
    return State(
        policy,
        value,
        Factors.empty(policy.net),
        Factors.empty(value.net),
        zeros(PolicyParameters(policy.net, policy.log_std)),
        zeros(value.net),
        jnp.array(config.policy.rate, jnp.float32),
    )


@dataclass(frozen=True)
class ACKTR(OnPolicy):
    """Actor-critic by Kronecker-factored trust regions."""

    config: Config

    def init(self, key: Key) -> State:
        return new_state(key, self.family.body.observation_size, self.family.body.action_size, self.config)

    def _update(self, state: State, transitions: Transitions, key: Key) -> tuple[State, dict[str, Array]]:
        return update(state, transitions, key, self.config)


SPEC = AlgorithmSpec(
    ACKTR,
    presets={
        "paper": Config(),
        "laptop": Config(
            n_iterations=200,
            policy=KFACConfig(rate=0.03, radius=0.005, damping=0.01, decay=0.8),
            value=KFACConfig(rate=0.01, radius=0.0375, damping=0.025, decay=0.95),
        ),
        "smoke": Config(
            n_iterations=2, episodes=4, refine_episodes=2, hidden=(16, 16), value_hidden=(16, 16), n_value=3
        ),
    },
    family_settings={("paper", family.id): {"hidden": (32, 32)} for family in mbmpo.FAMILIES},
)
