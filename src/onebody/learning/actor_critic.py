"""A policy and a value function: TRPO with generalised advantages, and the value fitted to the returns they estimate.

Schulman et al. 2015 and 2016.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from onebody.core.errors import at_least, positive
from onebody.core.nets import MLP, Normalizer, normalized_columns, renormalized
from onebody.core.returns import gae
from onebody.core.types import Key, Transitions
from onebody.learning import trpo
from onebody.learning.policies import GaussianPolicy
from onebody.learning.train_state import TrainState
from onebody.learning.trpo import TRPOConfig


@dataclass(frozen=True)
class ValueConfig:
    """How V is built and fitted. SLBO's released code."""

    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer of the value network"""
    epochs: int = 5
    """Passes over a batch of rollouts per fit of the value network"""
    batch: int = 64
    """States per gradient step of the value network"""
    learning_rate: float = 1e-3
    """Adam's learning rate for the value network"""

    def __post_init__(self) -> None:
        at_least(1, self, "hidden", "epochs", "batch")
        positive(self, "learning_rate")


@runtime_checkable
class ActorCriticConfig(Protocol):
    """Settings of a policy and its value function."""

    @property
    def hidden(self) -> tuple[int, ...]:
        """Units of each hidden layer of the policy"""
        ...

    @property
    def discount(self) -> float:
        """Discount factor γ"""
        ...

    @property
    def trace(self) -> float:
        """Trace decay λ of the generalised advantages"""
        ...

    @property
    def value(self) -> ValueConfig: ...

    @property
    def trpo(self) -> TRPOConfig: ...


class ValueFunction(eqx.Module):
    """V: normalised observation -> expected discounted return."""

    net: MLP
    observation: Normalizer

    def __init__(
        self,
        key: Key,
        hidden: tuple[int, ...],
        observation: Normalizer,
        activation: Callable[[Array], Array] = jnp.tanh,
    ):
        sizes = (observation.mean.shape[-1], *hidden, 1)
        self.net = MLP(key, sizes, activation, [normalized_columns(1.0)] * (len(sizes) - 1))
        self.observation = observation

    def __call__(self, observation: Float[Array, "*axes observation"]) -> Float[Array, "*axes"]:
        return self.net(self.observation(observation))[..., 0]


class ActorCritic(eqx.Module):
    """A policy, and its value function with its optimiser; those of several tasks are stacked along a leading axis."""

    policy: GaussianPolicy
    value: TrainState[ValueFunction]

    def renormalized(self, observation: Normalizer) -> "ActorCritic":
        """The same actions and values, with other statistics of observations."""
        value = self.value.with_module(renormalized(self.value.module, observation))
        return ActorCritic(renormalized(self.policy, observation), value)


def new_actor_critic(
    key: Key, kind: Callable[..., GaussianPolicy], observation: Normalizer, action_size: int, config: ActorCriticConfig
) -> ActorCritic:
    """Untrained; the policy is `kind(key, hidden, observation, action_size)`."""
    policy_key, value_key = jax.random.split(key)
    value = ValueFunction(value_key, config.value.hidden, observation)
    policy = kind(policy_key, config.hidden, observation, action_size)
    return ActorCritic(policy, TrainState.create(value, optax.adam(config.value.learning_rate)))


def trpo_and_value_update(
    agent: ActorCritic, transitions: Transitions, key: Key, config: ActorCriticConfig
) -> tuple[ActorCritic, dict[str, Array]]:
    """One TRPO step and a fit of V to the returns, on `[time, episode]` transitions of this very policy."""
    value = agent.value.module(transitions.observation)
    next_value = agent.value.module(transitions.next_observation)
    advantage = gae(transitions, value, next_value, config.discount, config.trace)
    observation, action, target = (
        x.reshape(-1, *x.shape[2:]) for x in (transitions.observation, transitions.action, advantage + value)
    )
    policy, metrics = trpo.update(agent.policy, observation, action, advantage.reshape(-1), config.trpo)
    return ActorCritic(policy, fit_value(agent.value, observation, target, key, config.value)), metrics


def fit_value(
    value: TrainState[ValueFunction],
    observation: Float[Array, "row observation"],
    target: Float[Array, " row"],
    key: Key,
    config: ValueConfig,
) -> TrainState[ValueFunction]:
    """Epochs of Adam on the squared error to `target`; a last partial batch is left out."""
    inputs, n_rows = value.module.observation(observation), len(target)
    n_batches = max(n_rows // config.batch, 1)

    def step(value: TrainState[ValueFunction], rows: Array) -> tuple[TrainState[ValueFunction], None]:
        def error(value: ValueFunction) -> tuple[Array, None]:
            return jnp.mean((value.net(inputs[rows])[..., 0] - target[rows]) ** 2), None

        return value.minimize(error, optax.adam(config.learning_rate))

    orders = jax.vmap(lambda k: jax.random.permutation(k, n_rows))(jax.random.split(key, config.epochs))
    rows = orders[:, : n_batches * config.batch].reshape(config.epochs * n_batches, -1)
    return jax.lax.scan(step, value, rows)[0]
