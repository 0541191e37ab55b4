"""PPO: proximal policy optimisation on the real simulator (Schulman, Wolski, Dhariwal, Radford, Klimov 2017).

arXiv:1707.06347, Algorithm 1, for one task or for the mean of all.

    1: initialise the policy and its value
    2: for n_iterations                                                                          `step`
    3:     real episodes, each of its own task                                    `on_policy.collect`
    4:     generalised advantages Â (their Eq. 11), and V + Â, the value's target                `update`
    5:     n_epochs times, for each minibatch: a step of Adam up L^CLIP - c₁ L^VF (their Eq. 9)  `loss`
    6: a new ψ: stage 0 is the policy as it is; each stage lines 3-5 for ψ alone    `OnPolicy.adapt`

The policy does not see ψ: untrained (`--samples 0`) and adapted in stages it is the usual single-task baseline.

The settings are those of baselines' MuJoCo experiments: policy and value share no layer, advantages have mean 0 and
deviation 1 in each minibatch, V's change is clipped as the ratio is, gradients are scaled down to a norm of 0.5,
and observations and rewards are normalised, rewards by the running deviation of the discounted return so far.
Differences from there: the horizon's end is no termination, so V goes on beyond it; normalised numbers are not cut at
± 10; networks begin as SLBO's; a batch's observations enter the mean and deviation before it is learned from, and but
for the first batch, when there was none, that changes no action and no value.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from onebody.algorithms.model_free.on_policy import OnPolicy
from onebody.algorithms.protocol import AlgorithmSpec
from onebody.core.errors import at_least, at_most, positive
from onebody.core.nets import Normalizer, renormalized
from onebody.core.returns import gae, return_so_far
from onebody.core.types import Key, Transitions
from onebody.learning.actor_critic import ValueFunction
from onebody.learning.policies import GaussianPolicy
from onebody.learning.ppo import approximate_kl, clipped_surrogate, minibatches, minimize
from onebody.learning.train_state import TrainState


@dataclass(frozen=True)
class Config:
    """baselines' MuJoCo settings with the batches and networks of MB-MPO's comparison (Clavera et al. 2018)."""

    n_iterations: int = 1000
    """Iterations of training"""
    episodes: int = 250
    """Real episodes per iteration, each of its own task: 50,000 environment steps where an episode has 200"""
    n_epochs: int = 10
    """Passes over the batch of an iteration (K)"""
    n_minibatches: int = 25
    """Minibatches per pass, each for one step of Adam"""
    clip: float = 0.2
    """Clip range ε of the likelihood ratio, and of the change of the value"""
    learning_rate: float = 3e-4
    """Adam's learning rate for policy and value"""
    value_weight: float = 0.5
    """Coefficient c₁ of the value's loss, half its mean squared error"""
    max_norm: float = 0.5
    """Largest norm of a gradient; a larger one is scaled down to it"""
    hidden: tuple[int, ...] = (32, 32)
    """Units of each hidden tanh layer of the policy and of the value network"""
    discount: float = 0.99
    """Discount factor γ"""
    trace: float = 0.95
    """Trace decay λ of the generalised advantages"""
    refine_episodes: int = 20
    """Real episodes per task and stage of adaptation"""

    def __post_init__(self) -> None:
        at_least(1, self, "n_iterations", "episodes", "n_epochs", "n_minibatches", "hidden", "refine_episodes")
        at_least(0, self, "discount", "trace", "value_weight")
        at_most(1, self, "discount", "trace")
        positive(self, "clip", "learning_rate", "max_norm")

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(self.max_norm), optax.adam(self.learning_rate, eps=1e-5))


class PolicyAndValue(eqx.Module):
    """A policy and its value function, which one optimiser trains."""

    policy: GaussianPolicy
    value: ValueFunction


class State(eqx.Module):
    """State of a training run."""

    learned: TrainState[PolicyAndValue]
    returns: Normalizer
    """Of the discounted return so far, one feature: rewards are divided by its standard deviation"""

    @property
    def policy(self) -> GaussianPolicy:
        return self.learned.module.policy


class Batch(NamedTuple):
    """Steps of real episodes, with log-probabilities and values from when they were collected."""

    observation: Float[Array, "row observation"]
    action: Float[Array, "row action"]
    log_prob: Float[Array, " row"]
    advantage: Float[Array, " row"]
    value: Float[Array, " row"]


def loss(learned: PolicyAndValue, batch: Batch, config: Config) -> tuple[Array, dict[str, Array]]:
    """-L^CLIP + c₁ L^VF (Eq. 9 without its entropy bonus, which is 0 in the MuJoCo experiments)."""
    log_ratio = learned.policy.distribution(batch.observation).log_prob(batch.action) - batch.log_prob
    advantage = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std() + 1e-8)
    surrogate = clipped_surrogate(jnp.exp(log_ratio), advantage, config.clip)
    value, target = learned.value(batch.observation), batch.value + batch.advantage
    error = clipped_error(value, batch.value, target, config.clip)
    return -surrogate + config.value_weight * error / 2, {
        "policy/kl": approximate_kl(log_ratio),
        "policy/surrogate": surrogate,
        "value/error": jnp.sqrt(((value - target) ** 2).mean()),
    }


def clipped_error(
    value: Float[Array, " row"], before: Float[Array, " row"], target: Float[Array, " row"], clip: float
) -> Float[Array, ""]:
    """2 L^VF: mean squared error of V, or of V moved by no more than `clip`, whichever is larger, per row."""
    clipped = before + jnp.clip(value - before, -clip, clip)
    return jnp.maximum((value - target) ** 2, (clipped - target) ** 2).mean()


@partial(jax.jit, static_argnames=("observations", "actions", "config"))
def new_state(key: Key, observations: int, actions: int, config: Config) -> State:
    """An untrained policy and its value function, for observations and actions of these sizes."""
    policy_key, value_key = jax.random.split(key)
    observation = Normalizer(observations)
    policy = GaussianPolicy(policy_key, config.hidden, observation, actions)
    learned = PolicyAndValue(policy, ValueFunction(value_key, config.hidden, observation))
    return State(TrainState.create(learned, config.optimizer), Normalizer(1))


@partial(jax.jit, static_argnames=("config",))
def update(
    state: State, transitions: Transitions, rows: Int[Array, "step row"], config: Config
) -> tuple[State, dict[str, Array]]:
    """Lines 4-5, of `[task, time, episode]` transitions."""
    transitions, old = transitions.by_time, state.learned.module
    log_prob = old.policy.distribution(transitions.observation).log_prob(transitions.action)
    statistics = old.policy.observation.update(transitions.observation)
    policy, value = (renormalized(each, statistics) for each in (old.policy, old.value))
    returns = state.returns.update(return_so_far(transitions.reward, transitions.done, config.discount)[..., None])
    scaled = transitions._replace(reward=transitions.reward / returns.scale)
    before, after = value(transitions.observation), value(transitions.next_observation)
    advantage = gae(scaled, before, after, config.discount, config.trace)
    batch = Batch(transitions.observation, transitions.action, log_prob, advantage, before)
    batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
    learned = state.learned.with_module(PolicyAndValue(policy, value))
    learned, metrics = minimize(learned, partial(loss, config=config), batch, rows, config.optimizer)
    return State(learned, returns), metrics


@dataclass(frozen=True)
class PPO(OnPolicy):
    """Proximal policy optimisation."""

    config: Config

    def init(self, key: Key) -> State:
        return new_state(key, self.family.body.observation_size, self.family.body.action_size, self.config)

    def _update(self, state: State, transitions: Transitions, key: Key) -> tuple[State, dict[str, Array]]:
        rows = minibatches(key, transitions.reward.size, self.config.n_epochs, self.config.n_minibatches)
        return update(state, transitions, rows, self.config)


SPEC = AlgorithmSpec(
    PPO,
    presets={
        "paper": Config(),
        "laptop": Config(n_iterations=100, episodes=50, n_minibatches=50, hidden=(64, 64)),
        "smoke": Config(n_iterations=2, episodes=4, n_epochs=2, n_minibatches=4, refine_episodes=2, hidden=(16, 16)),
    },
)
