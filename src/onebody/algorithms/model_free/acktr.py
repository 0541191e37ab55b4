"""ACKTR: actor-critic by Kronecker-factored trust regions (Wu, Mansimov, Grosse, Liao, Ba 2017,
https://arxiv.org/abs/1708.05144), for one task or the mean of all.

    1: initialise the policy and its value, and the Kronecker factors of their Fisher matrices
    2: for n_iterations                                                                    `step`
    3:     real episodes, each of its own task                                             `on_policy.collect`
    4:     generalised advantages, from the value as it is                                 `improve`
    5:     n_value times: factors of the value's matrix, as the mean of N(V(s), 1); a step
           of its natural gradient towards V(s) + Â                                        `fit_value`
    6:     factors of the policy's matrix; a step of its natural gradient up A log π(a|s)  `improve_policy`
    7:     η_max of the policy by 1.5 down if that moved it by more than twice the wanted
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

FACTOR, LEAST, MOST = 1.5, 1e-8, 1.0
"""by which η_max goes up or down, and its limits"""
LAST = 10.0
"""times the usual initial weights of the policy's last layer, as in the released code"""


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


class State(eqx.Module):
    """What learns, and what its optimisers remember."""

    policy: GaussianPolicy
    value: ValueFunction
    factors: tuple[Factors, Factors]
    """of policy and value"""
    velocities: tuple[tuple[MLP, Float[Array, " action"]], MLP]
    """last steps of the policy's network and log-deviation, and of the value's network"""
    rate: Float[Array, ""]
    """η_max of the policy"""


def value_loss(net: MLP, seen: Float[Array, "row seen"], target: Float[Array, " row"]) -> Float[Array, ""]:
    """-log N(target; V(s), 1), without its constant."""
    return 0.5 * jnp.mean((net(seen)[:, 0] - target) ** 2)


def policy_loss(policy: GaussianPolicy, observation: Array, action: Array, advantage: Array) -> Float[Array, ""]:
    """-A log π(a|s), whose gradient is the policy gradient."""
    return -jnp.mean(advantage * policy.distribution(observation).log_prob(action))


def fit_value(state: State, observation: Array, target: Array, key: Key, config: Config) -> State:
    """Line 5."""
    seen = state.value.observation(observation)

    def step(carry: tuple[MLP, Factors, MLP], key: Key) -> tuple[tuple[MLP, Factors, MLP], None]:
        net, factors, velocity = carry
        factors = factors.updated(net, seen, random.normal(key, (len(seen), 1)), config.value.decay)
        gradient = jax.grad(value_loss)(net, seen, target)
        direction = kfac.natural(gradient, factors, config.value.damping)
        net, velocity = kfac.step(net, gradient, direction, velocity, config.value.rate, config.value)
        return (net, factors, velocity), None

    start = state.value.net, state.factors[1], state.velocities[1]
    (net, factors, velocity), _ = jax.lax.scan(step, start, jax.random.split(key, config.n_value))
    value = eqx.tree_at(lambda v: v.net, state.value, net)
    return replace(state, value=value, factors=(state.factors[0], factors), velocities=(state.velocities[0], velocity))


def improve_policy(
    state: State, observation: Array, action: Array, advantage: Float[Array, " row"], key: Key, config: Config
) -> State:
    """Line 6."""
    old, where = state.policy, lambda p: (p.net, p.log_std)
    noise = random.normal(key, action.shape)
    seen, slope = old.observation(observation), noise * jnp.exp(-old.log_std)  # by the mean, of sampled actions
    factors = state.factors[0].updated(old.net, seen, slope, config.policy.decay)

    def loss(parameters: tuple[MLP, Array]) -> Array:
        return policy_loss(eqx.tree_at(where, old, parameters), observation, action, advantage)

    gradient = jax.grad(loss)(where(old))
    damping = config.policy.damping
    direction = kfac.natural(gradient[0], factors, damping), gradient[1] / (2 + damping)
    parameters, velocity = kfac.step(where(old), gradient, direction, state.velocities[0], state.rate, config.policy)
    policy = eqx.tree_at(where, old, parameters)
    return replace(
        state, policy=policy, factors=(factors, state.factors[1]), velocities=(velocity, state.velocities[1])
    )


def adjusted(rate: Float[Array, ""], kl: Float[Array, ""], wanted: float) -> Float[Array, ""]:
    """Line 7."""
    factor = jnp.where(kl > 2 * wanted, 1 / FACTOR, jnp.where(kl < wanted / 2, FACTOR, 1.0))
    return jnp.clip(rate * factor, LEAST, MOST)


@partial(jax.jit, static_argnames=("config",))
def improve(state: State, seen: Transitions, key: Key, config: Config) -> tuple[State, dict[str, Array]]:
    """Lines 4-7, of `[task, time, episode]` transitions."""
    seen = seen.by_time
    statistics = state.policy.observation.update(seen.observation)
    policy, value = (renormalized(each, statistics) for each in (state.policy, state.value))
    state, (value_key, policy_key) = replace(state, policy=policy, value=value), jax.random.split(key)
    value = state.value(seen.observation)
    advantage = gae(seen, value, state.value(seen.next_observation), config.discount, config.trace)
    observation, action, target, advantage = (
        x.reshape(-1, *x.shape[2:]) for x in (seen.observation, seen.action, advantage + value, advantage)
    )
    error = jnp.sqrt(jnp.mean((value.reshape(-1) - target) ** 2))
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    old = state.policy.distribution(observation)
    state = fit_value(state, observation, target, value_key, config)
    state = improve_policy(state, observation, action, advantage, policy_key, config)
    kl = old.kl(state.policy.distribution(observation)).mean()
    metrics = {"policy/kl": kl, "policy/rate": state.rate, "critic/error": error}
    return replace(state, rate=adjusted(state.rate, kl, config.kl)), metrics


@dataclass(frozen=True)
class ACKTR(OnPolicy):
    """Actor-critic by Kronecker-factored trust regions."""

    config: Config

    def init(self, key: Key) -> State:
        config, body = self.config, self.family.body
        policy_key, value_key = jax.random.split(key)
        observation = Normalizer(body.observation_size)
        policy = GaussianPolicy(policy_key, config.hidden, observation, body.action_size)
        policy = eqx.tree_at(lambda p: p.net.weights[-1], policy, replace_fn=lambda weight: LAST * weight)
        value = ValueFunction(value_key, config.value_hidden, observation, jax.nn.elu)
        still = jax.tree.map(jnp.zeros_like, ((policy.net, policy.log_std), value.net))
        factors = Factors.empty(policy.net), Factors.empty(value.net)
        return State(policy, value, factors, still, jnp.asarray(config.policy.rate, jnp.float32))

    def _improve(self, state: State, seen: Transitions, key: Key) -> tuple[State, dict[str, Array]]:
        return improve(state, seen, key, self.config)


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
