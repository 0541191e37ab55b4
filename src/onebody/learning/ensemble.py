"""An ensemble of probabilistic networks that predict normalised state differences (Chua et al. 2018, PETS).

The members differ by their first weights and by the batches that they see. Where they disagree the data say little
(epistemic uncertainty); the variance that each predicts is of the body itself (aleatoric).
"""

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from onebody.core import random
from onebody.core.errors import at_least, positive
from onebody.core.nets import MLP, Normalizer, fan_in, trainable
from onebody.core.types import Key
from onebody.learning.dynamics import within
from onebody.learning.replay import Replay

LOG_STD = (-5.0, 0.5)
"""bounds of the logarithm of a predicted standard deviation, in standard deviations of differences"""

LAST_RATE = 0.1
"""share of a learning rate at the end"""


@dataclass(frozen=True)
class EnsembleConfig:
    """How the ensemble is built and fitted."""

    members: int = 5
    """Number of models in the ensemble"""
    hidden: tuple[int, ...] = (256, 256)
    """Units of each hidden layer of each model"""
    batch: int = 256
    """Transitions per gradient step and model"""
    learning_rate: float = 1e-3
    """AdamW's learning rate for the models"""
    weight_decay: float = 1e-4
    """AdamW's weight decay for the models"""
    input_noise: float = 0.01
    """Standard deviation of the noise added to the observations that the networks are fitted on, in standard deviations
    of observations, and at most one of differences (Sanchez-Gonzalez et al. 2020). It teaches them to return to states
    like those of the data, such as sines and cosines of one angle, when an imagined episode has drifted from them"""

    def __post_init__(self) -> None:
        at_least(1, self, "members", "hidden", "batch")
        at_least(0, self, "weight_decay", "input_noise")
        positive(self, "learning_rate")


class Prediction(NamedTuple):
    """Of the difference to the next observation, in standard deviations of differences."""

    mean: Float[Array, "*axes observation"]
    log_std: Float[Array, "*axes observation"]


class Ensemble(eqx.Module):
    """M̂_φ. All functions take any leading axes."""

    nets: MLP
    """stacked along a leading axis of members"""
    observation: Normalizer
    difference: Normalizer

    def __init__(self, key: Key, observation_size: int, action_size: int, config: EnsembleConfig):
        sizes = (observation_size + action_size, *config.hidden, 2 * observation_size)

        def net(key: Key) -> MLP:
            return MLP(key, sizes, jax.nn.silu, [fan_in(1.0)] * len(config.hidden) + [fan_in(0.01)])

        self.nets = jax.vmap(net)(jax.random.split(key, config.members))
        self.observation, self.difference = Normalizer(observation_size), Normalizer(observation_size)

    @property
    def size(self) -> int:
        return len(self.nets.biases[0])

    def member(self, index: int | Int[Array, ""]) -> "Member":
        """One network as a model: (observation, action) -> mean next observation."""
        return Member(jax.tree.map(lambda x: x[index], self.nets), self.observation, self.difference)

    def random_member(self, key: Key) -> "Member":
        return self.member(random.randint(key, (), 0, self.size))

    def predict(
        self, observation: Float[Array, "*axes observation"], action: Float[Array, "*axes action"]
    ) -> Float[Array, "member *axes observation"]:
        """The mean next observation of each member."""
        return jax.vmap(lambda net: Member(net, self.observation, self.difference)(observation, action))(self.nets)

    def disagreement(
        self, observation: Float[Array, "*axes observation"], action: Float[Array, "*axes action"]
    ) -> Float[Array, "*axes"]:
        """Epistemic uncertainty: root mean square over features of the members' standard deviation of mean
        differences, in standard deviations of differences."""
        spread = self.predict(observation, action).std(axis=0) / self.difference.scale
        return jnp.sqrt(jnp.mean(spread**2, axis=-1))


class Member(eqx.Module):
    """One network of an ensemble."""

    net: MLP
    observation: Normalizer
    difference: Normalizer

    def __call__(
        self, observation: Float[Array, "*axes observation"], action: Float[Array, "*axes action"]
    ) -> Float[Array, "*axes observation"]:
        """The mean next observation, kept within 100 standard deviations; the action is clipped to [-1, 1]."""
        n = observation.shape[-1]
        weights, biases = [*self.net.weights[:-1], self.net.weights[-1][:, :n]], [*self.net.biases[:-1]]
        mean_only = eqx.tree_at(
            lambda m: (m.weights, m.biases), self.net, (weights, [*biases, self.net.biases[-1][:n]])
        )
        inputs = jnp.concatenate([self.observation(observation), jnp.clip(action, -1.0, 1.0)], axis=-1)
        return within(observation + self.difference.inverse(mean_only(inputs)), self.observation)


def key_of(key: Key, observation: Array) -> Key:
    """A key for what is observed: randomness of a model that is called with nothing else that changes."""
    return jax.random.fold_in(key, jax.lax.bitcast_convert_type(observation.sum(), jnp.uint32))


def _distribution(net: MLP, observation: Array, action: Array) -> Prediction:
    """The deviation is read off the features of the mean, which it does not shape."""
    inputs = jnp.concatenate([observation, jnp.clip(action, -1.0, 1.0)], axis=-1)
    n, features, weight, bias = observation.shape[-1], net.features(inputs), net.weights[-1], net.biases[-1]
    mean = features @ weight[:, :n] + bias[:n]
    raw = jax.lax.stop_gradient(features) @ weight[:, n:] + bias[n:]
    low, high = LOG_STD
    raw = high - jax.nn.softplus(high - raw)
    return Prediction(mean, low + jax.nn.softplus(raw - low))


def loss(net: MLP, observation: Array, action: Array, difference: Array) -> Float[Array, ""]:
    """Half the squared error of the mean over its predicted standard deviation (β-NLL, Seitzer et al. 2022, with
    β = 1/2), plus the negative log-likelihood of that error.

    Squared errors alone (β = 1) would leave the small differences of slow states to chance, since those of fast states
    are many times as large; the likelihood (β = 0) would give up on contacts.
    """
    mean, log_std = _distribution(net, observation, action)
    error = difference - mean
    weight = jnp.exp(-jax.lax.stop_gradient(log_std))
    unlikely = 0.5 * jnp.square(jax.lax.stop_gradient(error) * jnp.exp(-log_std)) + log_std
    return jnp.mean(0.5 * weight * error**2 + unlikely)


def falling(steps: int) -> Float[Array, " step"]:
    """Shares of a learning rate, which falls linearly, so that what is learned settles."""
    return jnp.linspace(1.0, LAST_RATE, steps)


def optimizer(config: EnsembleConfig) -> optax.GradientTransformation:
    return optax.adamw(config.learning_rate, weight_decay=config.weight_decay)


def fit(
    model: Ensemble, state: PyTree, data: Replay, key: Key, steps: int, config: EnsembleConfig
) -> tuple[Ensemble, PyTree, Float[Array, ""]]:
    """`steps` gradient steps, each member on its own random transitions; the model, optimiser's state, mean loss."""
    parameters, fixed = eqx.partition(model.nets, trainable(model.nets))
    update = optimizer(config).update

    def objective(parameters: PyTree, rows: Int[Array, "member batch"], key: Key) -> Float[Array, ""]:
        observation = data.observation[rows]
        noise = random.normal(key, (observation.size,)).reshape(observation.shape)
        observation += jnp.minimum(config.input_noise * model.observation.spread, model.difference.spread) * noise
        difference = model.difference(data.next_observation[rows] - observation)
        nets = eqx.combine(parameters, fixed)
        losses = jax.vmap(loss)(nets, model.observation(observation), data.action[rows], difference)
        return losses.sum()

    def step(carry: PyTree, row: tuple[Key, Array]) -> tuple[PyTree, Array]:
        parameters, state = carry
        (row_key, noise_key), rate = jax.random.split(row[0]), row[1]
        rows = random.randint(row_key, (model.size, config.batch), 0, data.size)
        value, gradient = jax.value_and_grad(objective)(parameters, rows, noise_key)
        updates, state = update(gradient, state, parameters)
        updates = jax.tree.map(lambda x: rate * x, updates)
        return (optax.apply_updates(parameters, updates), state), value / model.size

    rates = falling(steps)
    (parameters, state), losses = jax.lax.scan(step, (parameters, state), (jax.random.split(key, steps), rates))
    return eqx.tree_at(lambda m: m.nets, model, eqx.combine(parameters, fixed)), state, losses.mean()
