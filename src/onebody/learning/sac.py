"""Soft actor-critic: its networks, and its losses in two forms.

With a value function and a scaled reward in place of a temperature (Haarnoja et al. 2018a), as PEARL has it; with a
temperature that is learned (Haarnoja et al. 2018b), for single tasks.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.core.gaussian import Gaussian, log_tanh_slope
from onebody.core.nets import MLP, Initializer, Normalizer
from onebody.core.types import Key
from onebody.learning.policies import Deployed

HIDDEN_BIAS = 0.1
"""of every layer at the start"""


def uniform(limit: float | None = None) -> Initializer:
    """Weights within ± `limit`, by default 1/√outputs (the released PEARL takes a layer's outputs for its inputs)."""

    def initialize(key: Key, shape: tuple[int, int]) -> Array:
        bound = shape[1] ** -0.5 if limit is None else limit
        return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

    return initialize


def network(key: Key, sizes: tuple[int, ...], last: float = 3e-3) -> MLP:
    """ReLU layers; `sizes` counts the input, each hidden layer and the output, whose weights lie within ± `last`."""
    net = MLP(key, sizes, jax.nn.relu, [uniform()] * (len(sizes) - 2) + [uniform(last)])
    biases = [bias + HIDDEN_BIAS for bias in net.biases[:-1]] + net.biases[-1:]
    return eqx.tree_at(lambda n: n.biases, net, biases)


def value(net: MLP, *inputs: Float[Array, "*axes _"]) -> Float[Array, "*axes"]:
    """V or Q: one number of several inputs."""
    return net(jnp.concatenate(inputs, axis=-1))[..., 0]


class LatentPolicy(eqx.Module):
    """tanh of a Gaussian whose mean and deviation are a network's, of the observation and a latent that stays.

    The latent stands for what is believed of a hidden task; it has no features where nothing is hidden.
    """

    net: MLP
    latent: Float[Array, "*axes latent"]

    def __init__(self, key: Key, observation_size: int, latent_size: int, action_size: int, hidden: tuple[int, ...]):
        self.net = network(key, (observation_size + latent_size, *hidden, 2 * action_size), last=1e-3)
        self.latent = jnp.zeros(latent_size)

    @property
    def noise_size(self) -> int:
        return self.net.biases[-1].shape[-1] // 2

    def memory(self, axes: tuple[int, ...]) -> tuple[()]:
        return ()

    def distribution(self, observation: Float[Array, "*axes observation"]) -> Gaussian:
        """Before the tanh; the deviation lies between e^-20 and e²."""
        latent = jnp.broadcast_to(self.latent, (*observation.shape[:-1], self.latent.shape[-1]))
        mean, log_std = jnp.split(self.net(jnp.concatenate([observation, latent], axis=-1)), 2, axis=-1)
        return Gaussian(mean, jnp.clip(log_std, -20.0, 2.0))

    def sample(self, observation: Array, noise: Array) -> tuple[Array, Array, Gaussian]:
        """An action, its log-density, and the Gaussian that it is drawn from."""
        before = self.distribution(observation)
        x = before.sample(noise)
        return jnp.tanh(x), before.log_prob(x) - log_tanh_slope(x), before

    def __call__(self, observation: Array, task: Array, memory: Any, noise: Array) -> tuple[Array, Any]:
        return jnp.tanh(self.distribution(observation).sample(noise)), memory

    def deployed(self, task: Array) -> Deployed:
        """The latent becomes part of the first layer's bias."""
        n, actions = len(self.net.weights[0]) - self.latent.shape[-1], self.noise_size
        first, *weights = self.net.weights
        bias, *biases = self.net.biases
        weights = [first[:n], *weights[:-1], weights[-1][:, :actions]]
        biases = [bias + self.latent @ first[n:], *biases[:-1], biases[-1][:actions]]
        return Deployed(weights, biases, Normalizer(n), "relu", "tanh")
