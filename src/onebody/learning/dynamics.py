"""Dynamics models: the interface of all of them, and SLBO's, a deterministic network fitted to a multi-step loss.

Every model is called as `model(key, observation, action) -> next observation`, with any leading axes; deterministic
ones ignore the key.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from onebody.core.errors import at_least, positive
from onebody.core.nets import MLP, Normalizer, trainable, truncated_normal
from onebody.core.types import Key, Transitions
from onebody.learning.replay import Replay
from onebody.learning.train_state import TrainState
from onebody.tasks.family import TaskFamily
from onebody.tasks.limits import LimitedBody


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


@runtime_checkable
class Model(Protocol):
    """A dynamics model M̂."""

    def __call__(
        self, key: Key, observation: Float[Array, "*axes observation"], action: Float[Array, "*axes action"]
    ) -> Float[Array, "*axes observation"]:
        """The next observation; its randomness, if it has any, follows from the key."""
        ...


class InBodies(eqx.Module):
    """A model that is told each task, where the dynamics vary with it (`TaskFamily.model_action`)."""

    model: Model
    family: TaskFamily = eqx.field(static=True)
    tasks: Float[Array, "*#axes feature"]

    def __call__(
        self, key: Key, observation: Float[Array, "*axes observation"], action: Float[Array, "*axes action"]
    ) -> Float[Array, "*axes observation"]:
        return self.model(key, observation, self.family.model_action(action, self.tasks))


class Dynamics(eqx.Module):
    """M̂_φ: a deterministic network that predicts the normalised difference to the next observation."""

    net: MLP
    observation: Normalizer
    difference: Normalizer
    limited: LimitedBody | None = eqx.field(static=True, default=None, kw_only=True)
    """the body, if it has limits: the network is given the action that it receives, and predicts its own part of the
    observation; the commands are computed"""

    def __call__(
        self, key: Key, observation: Float[Array, "*axes observation"], action: Float[Array, "*axes action"]
    ) -> Float[Array, "*axes observation"]:
        return self.predict(observation, action)

    def predict(
        self, observation: Float[Array, "*axes observation"], action: Float[Array, "*axes action"]
    ) -> Float[Array, "*axes observation"]:
        """The next observation; the action is clipped to [-1, 1]."""
        inputs = network_inputs(self.observation, observation, action, self.limited)
        return self.after(observation, action, self.net(inputs))

    def after(
        self,
        observation: Float[Array, "*axes observation"],
        action: Float[Array, "*axes action"],
        difference: Float[Array, "*axes sensed"],
    ) -> Float[Array, "*axes observation"]:
        """The observation after a step with this normalised difference, clipped to 100 standard deviations."""
        difference = padded(difference, observation.shape[-1])
        predicted = within(observation + self.difference.inverse(difference), self.observation)
        return self.with_commands(observation, action, predicted)

    def with_commands(
        self,
        observation: Float[Array, "*axes observation"],
        action: Float[Array, "*axes action"],
        predicted: Float[Array, "*axes observation"],
    ) -> Float[Array, "*axes observation"]:
        """The predicted observation, with the commands of a body with limits computed."""
        if self.limited is None:
            return predicted
        _, commands = self.limited.command(observation, action[..., : self.limited.action_size])
        return jnp.concatenate([self.limited.sensed(predicted), commands], axis=-1)


def new_dynamics(
    key: Key, observation_size: int, action_size: int, config: DynamicsConfig, limited: LimitedBody | None = None
) -> Dynamics:
    """SLBO's untrained model: all weights are near zero (std 1e-5), so that it predicts the mean difference."""
    sensed = observation_size if limited is None else limited.n_sensed
    sizes = (sensed + action_size, *config.hidden, sensed)
    net = MLP(key, sizes, jax.nn.relu, [truncated_normal(1e-5)] * (len(sizes) - 1))
    return Dynamics(net, Normalizer(observation_size), Normalizer(observation_size), limited=limited)


def network_inputs(
    statistics: Normalizer,
    observation: Float[Array, "*axes observation"],
    action: Float[Array, "*axes action"],
    limited: LimitedBody | None = None,
) -> Float[Array, "*axes input"]:
    """Inputs of every model's network: the normalised observation, and the action clipped to [-1, 1]. Of a body with
    limits: its own part of the observation, and the action that it receives."""
    normalized, clipped = statistics(observation), jnp.clip(action, -1.0, 1.0)
    if limited is not None:
        size = limited.action_size  # a task may follow the action
        applied, _ = limited.command(observation, clipped[..., :size])
        normalized, clipped = limited.sensed(normalized), jnp.concatenate([applied, clipped[..., size:]], axis=-1)
    return jnp.concatenate([normalized, clipped], axis=-1)


def padded(predicted: Float[Array, "*axes sensed"], size: int) -> Float[Array, "*axes observation"]:
    """Predictions of a body's own part of the observation, followed by zeros for the rest of `size` numbers."""
    rest = size - predicted.shape[-1]
    return jnp.pad(predicted, [(0, 0)] * (predicted.ndim - 1) + [(0, rest)]) if rest else predicted


FURTHEST = 100.0
"""Largest distance of a prediction from the mean of observations, in their standard deviations"""


def within(predicted: Float[Array, "*axes observation"], statistics: Normalizer) -> Float[Array, "*axes observation"]:
    """Predictions clipped to FURTHEST standard deviations from the mean observation, which keeps imagined episodes
    finite."""
    limit = FURTHEST * statistics.std
    return jnp.clip(predicted, statistics.mean - limit, statistics.mean + limit)


M = TypeVar("M", bound=eqx.Module)


def merge_statistics(model: M, transitions: Transitions) -> M:
    """A model, of any kind, with the statistics of new transitions merged into its normalisers `observation` and
    `difference`. This changes what the model predicts; `nets.renormalized` does not.

    The standard deviation of an observation's feature is at least half that of its differences, because some features
    change only in the last observation of an episode.
    """
    where = lambda m: (m.observation, m.difference)  # noqa: E731
    observation, difference = where(model)
    steps = transitions.next_observation - transitions.observation
    observation, difference = observation.update(transitions.observation), difference.update(steps)
    spread = jnp.maximum(observation.std, difference.std / 2)
    return eqx.tree_at(where, model, (eqx.tree_at(lambda s: s.std, observation, spread), difference))


def disagreement(
    predicted: Float[Array, "member *axes observation"], difference: Normalizer, limited: LimitedBody | None = None
) -> Float[Array, "*axes"]:
    """Epistemic uncertainty of an ensemble: root mean square over features of the standard deviation of its members'
    predictions, in standard deviations of differences. The commands of a body with limits, which are computed, do not
    count."""
    spread = predicted.std(axis=0) / difference.scale
    spread = spread if limited is None else limited.sensed(spread)
    return jnp.sqrt(jnp.mean(spread**2, axis=-1))


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
        next_predicted = model.predict(predicted, action)
        return next_predicted, error(model, next_predicted - predicted, next_observation - observation)

    restarts = jnp.concatenate([jnp.ones_like(dones[:1]), dones[:-1]])
    _, errors = jax.lax.scan(step, observations[0], (observations, actions, next_observations, restarts), unroll=True)
    return errors.mean()


def optimizer(config: DynamicsConfig) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optax.adam(config.learning_rate))


def fit(
    model: TrainState[Dynamics], data: Replay, key: Key, steps: int, config: DynamicsConfig
) -> tuple[TrainState[Dynamics], Float[Array, ""]]:
    """`steps` gradient steps, each on fresh random windows of the data; also their mean loss."""

    def step(model: TrainState[Dynamics], key: Key) -> tuple[TrainState[Dynamics], Array]:
        windows = data.windows(key, config.batch, config.window)

        def regularized(model: Dynamics) -> tuple[Array, Array]:
            value, parameters = loss(model, windows), eqx.filter(model, trainable(model))
            return value + config.weight_decay * 0.5 * optax.tree.norm(parameters, squared=True), value

        return model.minimize(regularized, optimizer(config))

    model, losses = jax.lax.scan(step, model, jax.random.split(key, steps))
    return model, losses.mean()
