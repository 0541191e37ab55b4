"""The learned dynamics of SLBO: one deterministic network that predicts normalised state differences."""

from dataclasses import dataclass
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from onebody.core.errors import at_least, positive
from onebody.core.nets import MLP, Normalizer, trainable, truncated_normal
from onebody.core.types import Key, Transitions
from onebody.learning.replay import Replay


@dataclass(frozen=True)
class DynamicsConfig:
    """How the model is built and fitted. Luo et al. 2019 (SLBO), Appendix F, and its released code."""

    hidden: tuple[int, ...] = (500, 500)
    """Units of each hidden layer of the dynamics model; SLBO has 2 × 500"""
    window: int = 2
    """Steps of the multi-step loss, H of SLBO's Eq. 6.1"""
    batch: int = 128
    """Windows of H steps per gradient step of the model; SLBO has 256 / H"""
    learning_rate: float = 1e-3
    """Adam's learning rate for the dynamics model"""
    weight_decay: float = 1e-5
    """Coefficient of half the squared norm of the model's parameters in its loss"""
    clip_norm: float = 2.0
    """Largest global norm of the model's gradient; a larger one is scaled down to it"""

    def __post_init__(self) -> None:
        at_least(1, self, "hidden", "window", "batch")
        at_least(0, self, "weight_decay")
        positive(self, "learning_rate", "clip_norm")


class Dynamics(eqx.Module):
    """M̂_φ: (observation, action) -> next observation."""

    net: MLP
    observation: Normalizer
    difference: Normalizer

    def __init__(self, key: Key, observation_size: int, action_size: int, config: DynamicsConfig):
        """All weights start near zero (std 1e-5): the untrained model predicts the mean difference."""
        sizes = (observation_size + action_size, *config.hidden, observation_size)
        self.net = MLP(key, sizes, jax.nn.relu, [truncated_normal(1e-5)] * (len(sizes) - 1))
        self.observation = Normalizer(observation_size)
        self.difference = Normalizer(observation_size)

    def __call__(
        self, observation: Float[Array, "*axes observation"], action: Float[Array, "*axes action"]
    ) -> Float[Array, "*axes observation"]:
        """The predicted next observation, kept within 100 standard deviations; the action is clipped to [-1, 1]."""
        inputs = jnp.concatenate([self.observation(observation), jnp.clip(action, -1.0, 1.0)], axis=-1)
        return within(observation + self.difference.inverse(self.net(inputs)), self.observation)


FURTHEST = 100.0
"""standard deviations of observations that a prediction may be away from their mean"""


def within(predicted: Float[Array, "*axes observation"], seen: Normalizer) -> Float[Array, "*axes observation"]:
    """Kept within FURTHEST of what was seen, so that imagined episodes stay finite."""
    limit = FURTHEST * seen.std
    return jnp.clip(predicted, seen.mean - limit, seen.mean + limit)


M = TypeVar("M", bound=eqx.Module)


def renormalize(model: M, transitions: Transitions) -> M:
    """Any model with the statistics of new transitions merged into its normalisers `observation` and `difference`.

    The difference of two equally spread observations deviates at most twice as much as they do. Where it deviates more,
    as where a feature moves in last observations alone, half its deviation is the observation's.
    """
    where = lambda m: (m.observation, m.difference)  # noqa: E731
    observation, difference = where(model)
    steps = transitions.next_observation - transitions.observation
    observation, difference = observation.update(transitions.observation), difference.update(steps)
    spread = jnp.maximum(observation.std, difference.std / 2)
    return eqx.tree_at(where, model, (eqx.tree_at(lambda s: s.std, observation, spread), difference))


def error(
    model: Dynamics, difference: Float[Array, "*axes observation"], true: Float[Array, "*axes observation"]
) -> Float[Array, "*axes"]:
    """Root mean square over features of (predicted - true) difference, in standard deviations of differences."""
    normalized = (difference - true) / model.difference.scale
    return jnp.sqrt(jnp.mean(normalized**2, axis=-1) + 1e-12)


def loss(model: Dynamics, windows: tuple[Array, Array, Array, Array]) -> Float[Array, ""]:
    """SLBO's multi-step loss (Eq. 6.1): unsquared norms of errors of increments, along the model's own predictions.

    After the end of an episode inside a window the prediction restarts at the true state.
    """
    observations, actions, next_observations, dones = windows

    def step(predicted: Array, row: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        observation, action, next_observation, restart = row
        predicted = jnp.where(restart[:, None], observation, predicted)
        following = model(predicted, action)
        return following, error(model, following - predicted, next_observation - observation)

    restarts = jnp.concatenate([jnp.ones_like(dones[:1]), dones[:-1]])
    _, errors = jax.lax.scan(step, observations[0], (observations, actions, next_observations, restarts), unroll=True)
    return errors.mean()


def optimizer(config: DynamicsConfig) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optax.adam(config.learning_rate))


def fit(
    model: Dynamics, state: PyTree, data: Replay, key: Key, steps: int, config: DynamicsConfig
) -> tuple[Dynamics, PyTree, Float[Array, ""]]:
    """`steps` gradient steps on fresh random windows of the data; the model, the optimiser's state, the mean loss."""
    parameters, fixed = eqx.partition(model, trainable(model))
    update = optimizer(config).update

    def objective(parameters: PyTree, windows: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        value = loss(eqx.combine(parameters, fixed), windows)
        return value + config.weight_decay * 0.5 * optax.tree.norm(parameters, squared=True), value

    def step(carry: PyTree, key: Key) -> tuple[PyTree, Array]:
        parameters, state = carry
        windows = data.windows(key, config.batch, config.window)
        gradient, value = jax.grad(objective, has_aux=True)(parameters, windows)
        updates, state = update(gradient, state)
        return (optax.apply_updates(parameters, updates), state), value

    (parameters, state), losses = jax.lax.scan(step, (parameters, state), jax.random.split(key, steps))
    return eqx.combine(parameters, fixed), state, losses.mean()
