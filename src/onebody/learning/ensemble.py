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
from jaxtyping import Array, Float, Int

from onebody.core import random
from onebody.core.errors import at_least, positive
from onebody.core.gaussian import Gaussian
from onebody.core.nets import MLP, Normalizer, fan_in
from onebody.core.types import Key
from onebody.learning import dynamics
from onebody.learning.dynamics import Dynamics, network_inputs, padded
from onebody.learning.replay import Replay
from onebody.learning.train_state import TrainState
from onebody.tasks.limits import LimitedBody

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


class ProbabilisticNet(eqx.Module):
    """Mean and log standard deviation of normalised differences, both linear in the same last hidden layer."""

    mean: MLP
    deviation_weight: Float[Array, "unit observation"]
    deviation_bias: Float[Array, " observation"]

    def __init__(self, key: Key, sizes: tuple[int, ...]):
        """`sizes`: inputs, each hidden layer, features of the observation."""
        *layers, size = sizes
        both = MLP(key, (*layers, 2 * size), jax.nn.silu, [fan_in(1.0)] * (len(layers) - 1) + [fan_in(0.01)])
        weight, bias = both.weights[-1], both.biases[-1]
        last = lambda net: (net.weights[-1], net.biases[-1])  # noqa: E731
        self.mean = eqx.tree_at(last, both, (weight[:, :size], bias[:size]))
        self.deviation_weight, self.deviation_bias = weight[:, size:], bias[size:]

    def __call__(self, inputs: Float[Array, "*axes input"]) -> Prediction:
        """The log standard deviation, within LOG_STD, has no gradient into the hidden layers."""
        features, low, high = self.mean.features(inputs), *LOG_STD
        raw = jax.lax.stop_gradient(features) @ self.deviation_weight + self.deviation_bias
        raw = high - jax.nn.softplus(high - raw)
        mean = features @ self.mean.weights[-1] + self.mean.biases[-1]
        return Prediction(mean, low + jax.nn.softplus(raw - low))


class Member(eqx.Module):
    """A member of an ensemble as a random model: next observations are drawn from its normal distribution.

    Its mean alone drifts to gaits that no robot can keep: nothing disturbs them there.
    """

    net: ProbabilisticNet
    mean: Dynamics
    """the same member without randomness"""
    input_noise: Float[Array, " observation"]
    """standard deviation of the noise on the inputs that it was fitted on, in standard deviations of differences; it is
    part of the errors that the network has learned to expect, and not of those that are drawn"""

    def __call__(
        self, key: Key, observation: Float[Array, "*axes observation"], action: Float[Array, "*axes action"]
    ) -> Float[Array, "*axes observation"]:
        mean, log_std = self.net(network_inputs(self.mean.observation, observation, action, self.mean.limited))
        variance = jnp.exp(2 * log_std)
        std = jnp.sqrt(jnp.maximum(variance - self.input_noise**2, variance / 4))
        return self.mean.after(observation, action, mean + std * random.normal(key, mean.shape))


class Ensemble(eqx.Module):
    """M̂_φ. All functions take any leading axes."""

    nets: ProbabilisticNet
    """stacked along a leading axis of members"""
    observation: Normalizer
    difference: Normalizer
    input_noise: float = eqx.field(static=True)
    """as of `EnsembleConfig`"""
    limited: LimitedBody | None = eqx.field(static=True)
    """as of `Dynamics`"""

    def __init__(
        self,
        key: Key,
        observation_size: int,
        action_size: int,
        config: EnsembleConfig,
        limited: LimitedBody | None = None,
    ):
        sensed = observation_size if limited is None else limited.n_sensed
        sizes = (sensed + action_size, *config.hidden, sensed)
        self.nets = jax.vmap(lambda key: ProbabilisticNet(key, sizes))(jax.random.split(key, config.members))
        self.observation, self.difference = Normalizer(observation_size), Normalizer(observation_size)
        self.input_noise, self.limited = config.input_noise, limited

    @property
    def input_deviation(self) -> Float[Array, " observation"]:
        """Standard deviation of the noise on the observations that the networks are fitted on."""
        return jnp.minimum(self.input_noise * self.observation.spread, self.difference.spread)

    @property
    def size(self) -> int:
        """Number of members."""
        return len(self.nets.deviation_bias)

    def member(self, index: int | Int[Array, ""]) -> Member:
        """One member, as a random model."""
        net = jax.tree.map(lambda x: x[index], self.nets)
        noise = self.input_deviation / self.difference.scale
        return Member(net, self._model(net.mean), noise if self.limited is None else self.limited.sensed(noise))

    def random_member(self, key: Key) -> Member:
        """A member drawn at random."""
        return self.member(random.randint(key, (), 0, self.size))

    def predict(
        self, observation: Float[Array, "*axes observation"], action: Float[Array, "*axes action"]
    ) -> Float[Array, "member *axes observation"]:
        """The mean next observation of each member."""
        return jax.vmap(lambda net: self._model(net).predict(observation, action))(self.nets.mean)

    def _model(self, net: MLP) -> Dynamics:
        return Dynamics(net, self.observation, self.difference, limited=self.limited)

    def differences(
        self, observation: Float[Array, "*axes observation"], action: Float[Array, "*axes action"]
    ) -> Gaussian:
        """Distribution of the normalised difference to the next observation: the members' mean, and the sum of their
        mean variance and the variance of their means. Of commands, which are computed: a standard normal one."""
        inputs = network_inputs(self.observation, observation, action, self.limited)
        mean, log_std = jax.vmap(lambda net: net(inputs))(self.nets)
        log_std = 0.5 * jnp.log(jnp.exp(2 * log_std).mean(0) + mean.var(0))
        return Gaussian(*(padded(each, observation.shape[-1]) for each in (mean.mean(0), log_std)))

    def disagreement(
        self, observation: Float[Array, "*axes observation"], action: Float[Array, "*axes action"]
    ) -> Float[Array, "*axes"]:
        """Epistemic uncertainty, of the mean predictions; see `dynamics.disagreement`."""
        return dynamics.disagreement(self.predict(observation, action), self.difference, self.limited)


def loss(
    net: ProbabilisticNet, inputs: Float[Array, "row input"], difference: Float[Array, "row observation"]
) -> Float[Array, ""]:
    """Half the squared error of the mean over its predicted standard deviation (β-NLL, Seitzer et al. 2022, with
    β = 1/2), plus the negative log-likelihood of that error.

    Squared errors alone (β = 1) would leave the small differences of slow states to chance, since those of fast states
    are many times as large; the likelihood (β = 0) would give up on contacts.
    """
    mean, log_std = net(inputs)
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
    model: TrainState[Ensemble], data: Replay, key: Key, steps: int, config: EnsembleConfig
) -> tuple[TrainState[Ensemble], Float[Array, ""]]:
    """`steps` gradient steps, each member on its own random transitions; also the members' mean loss."""

    def step(model: TrainState[Ensemble], inputs: tuple[Key, Array]) -> tuple[TrainState[Ensemble], Array]:
        (row_key, noise_key), rate = jax.random.split(inputs[0]), inputs[1]
        size, difference, limited = model.module.size, model.module.difference, model.module.limited
        rows = random.randint(row_key, (size, config.batch), 0, data.size)
        observation = data.observation[rows]
        noise = random.normal(noise_key, (observation.size,)).reshape(observation.shape)
        noise = noise if limited is None else padded(limited.sensed(noise), noise.shape[-1])  # commands are exact
        observation += model.module.input_deviation * noise
        target = difference(data.next_observation[rows] - observation)
        target = target if limited is None else limited.sensed(target)

        def total_loss(model: Ensemble) -> tuple[Array, Array]:
            inputs = network_inputs(model.observation, observation, data.action[rows], limited)
            total = jax.vmap(loss)(model.nets, inputs, target).sum()
            return total, total / size

        return model.minimize(total_loss, optimizer(config), rate)

    model, losses = jax.lax.scan(step, model, (jax.random.split(key, steps), falling(steps)))
    return model, losses.mean()
