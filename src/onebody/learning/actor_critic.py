"""A policy and a value of states: TRPO along generalised advantages, and the value fitted to what they add up to.

Schulman et al. 2015 and 2016.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from onebody.core.errors import at_least, positive
from onebody.core.nets import MLP, Normalizer, normalized_columns, renormalized, trainable
from onebody.core.returns import gae
from onebody.core.types import Key, Transitions
from onebody.learning import trpo
from onebody.learning.policies import GaussianPolicy
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
class AgentConfig(Protocol):
    """What a configuration says of an agent."""

    @property
    def hidden(self) -> tuple[int, ...]:
        """units of each hidden layer of the policy"""
        ...

    @property
    def discount(self) -> float:
        """γ"""
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


class Agent(eqx.Module):
    """A policy, its value and what its optimiser remembers; those of several tasks are stacked along a leading axis."""

    policy: GaussianPolicy
    value: ValueFunction
    optimizer: PyTree

    def renormalized(self, observation: Normalizer) -> "Agent":
        """The agent with other statistics of what it sees, and the same actions and values."""
        return Agent(renormalized(self.policy, observation), renormalized(self.value, observation), self.optimizer)


def new_agent(
    key: Key, kind: Callable[..., GaussianPolicy], observation: Normalizer, action_size: int, config: AgentConfig
) -> Agent:
    """An untrained agent, whose policy is `kind(key, hidden, observation, action_size)`."""
    policy_key, value_key = jax.random.split(key)
    value = ValueFunction(value_key, config.value.hidden, observation)
    optimizer = optax.adam(config.value.learning_rate).init(eqx.filter(value.net, trainable(value.net)))
    return Agent(kind(policy_key, config.hidden, observation, action_size), value, optimizer)


def improve(agent: Agent, seen: Transitions, key: Key, config: AgentConfig) -> tuple[Agent, dict[str, Array]]:
    """A step of TRPO and a fit of V, on `[time, episode]` transitions that the agent took itself."""
    value = agent.value(seen.observation)
    advantage = gae(seen, value, agent.value(seen.next_observation), config.discount, config.trace)
    observation, action, target = (
        x.reshape(-1, *x.shape[2:]) for x in (seen.observation, seen.action, advantage + value)
    )
    policy, metrics = trpo.update(agent.policy, observation, action, advantage.reshape(-1), config.trpo)
    return Agent(policy, *fit_value(agent.value, agent.optimizer, observation, target, key, config.value)), metrics


def fit_value(
    value: ValueFunction,
    state: PyTree,
    observation: Float[Array, "row observation"],
    target: Float[Array, " row"],
    key: Key,
    config: ValueConfig,
) -> tuple[ValueFunction, PyTree]:
    """Epochs of Adam on the squared error to `target`; a last partial batch is left out."""
    parameters, fixed = eqx.partition(value.net, trainable(value.net))
    inputs, rows = value.observation(observation), len(target)
    batches = max(rows // config.batch, 1)

    def step(carry: PyTree, index: Array) -> tuple[PyTree, None]:
        parameters, state = carry

        def objective(parameters: PyTree) -> Array:
            prediction = eqx.combine(parameters, fixed)(inputs[index])[..., 0]
            return jnp.mean((prediction - target[index]) ** 2)

        updates, state = optax.adam(config.learning_rate).update(jax.grad(objective)(parameters), state)
        return (optax.apply_updates(parameters, updates), state), None

    orders = jax.vmap(lambda k: jax.random.permutation(k, rows))(jax.random.split(key, config.epochs))
    index = orders[:, : batches * config.batch].reshape(config.epochs * batches, -1)
    (parameters, state), _ = jax.lax.scan(step, (parameters, state), index)
    return eqx.tree_at(lambda v: v.net, value, eqx.combine(parameters, fixed)), state
