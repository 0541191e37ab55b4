"""The parts of soft actor-critic (Haarnoja et al. 2018) that its forms share: networks and policy.

`context/pearl.py` has the first form (a value function, a scaled reward in place of a temperature),
`model_free/sac.py` the second (a temperature that is learned).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.core.gaussian import Gaussian, log_tanh_slope
from onebody.core.nets import MLP, Normalizer, uniform
from onebody.core.types import Key
from onebody.learning.policies import Deployed, deployed_mean

HIDDEN_BIAS = 0.1
"""of every hidden layer at the start"""


def network(key: Key, sizes: tuple[int, ...], last: float = 3e-3, half: bool = False) -> MLP:
    """ReLU layers; `sizes` counts the input, each hidden layer and the output, whose weights lie within ± `last`."""
    net = MLP(key, sizes, jax.nn.relu, [uniform()] * (len(sizes) - 2) + [uniform(last)], half)
    biases = [bias + HIDDEN_BIAS for bias in net.biases[:-1]] + net.biases[-1:]
    return eqx.tree_at(lambda n: n.biases, net, biases)


def policy_network(key: Key, inputs: int, action_size: int, hidden: tuple[int, ...], half: bool = False) -> MLP:
    """The network of a `LatentPolicy`: inputs -> mean and logarithmic standard deviation of the actions before tanh."""
    return network(key, (inputs, *hidden, 2 * action_size), last=1e-3, half=half)


class LatentPolicy(eqx.Module):
    """tanh of a Gaussian whose mean and standard deviation are a network's, of the observation and a fixed latent.

    The latent stands for a belief about a hidden task; it has no features where nothing is hidden.
    """

    net: MLP
    latent: Float[Array, "*axes latent"]

    @property
    def noise_size(self) -> int:
        return self.net.biases[-1].shape[-1] // 2

    def memory(self, axes: tuple[int, ...]) -> tuple[()]:
        return ()

    def distribution(self, observation: Float[Array, "*axes observation"]) -> Gaussian:
        """Before the tanh; the standard deviation lies between e^-20 and e²."""
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
        identity = Normalizer(len(self.net.weights[0]) - len(self.latent))
        return deployed_mean(self.net, self.latent, identity, "relu")
