"""A policy whose memory outlasts episodes: a GRU (Cho et al. 2014) that sees actions and rewards."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from onebody.core.gaussian import Gaussian
from onebody.core.nets import MLP, Normalizer, normalized_columns, xavier
from onebody.core.types import Key
from onebody.learning.policies import DeployedGRU

KEPT = 10
"""steps between memories that are kept for the gradient; those between are recomputed in the backward pass"""


class Memory(NamedTuple):
    """What the policy knows besides an observation: the GRU's state, and how the last step went."""

    hidden: Float[Array, "*axes unit"]
    action: Float[Array, "*axes action"]
    reward: Float[Array, "*axes"]
    ended: Bool[Array, "*axes"]
    """whether the last step ended its episode"""

    @property
    def state(self) -> Float[Array, "*axes number"]:
        """All that an exported policy gives from one step to the next, as one vector."""
        return jnp.concatenate([self.hidden, self.action], axis=-1)

    @classmethod
    def fresh(cls, axes: tuple[int, ...], units: int, actions: int) -> "Memory":
        """Nothing has happened yet."""
        hidden, action, scalar = (jnp.zeros((*axes, *size)) for size in ((units,), (actions,), ()))
        return cls(hidden, action, scalar, scalar > 0)


class RecurrentNet(eqx.Module):
    """A Gaussian of the actions whose mean is linear in the state of a GRU, and whose deviation is a parameter."""

    inputs: MLP
    """one layer, to update gates, reset gates and candidates"""
    recurrent: Float[Array, "unit gate"]
    """to the same, of the state"""
    observation: Normalizer
    readout: Float[Array, "unit action"]
    offset: Float[Array, " action"]
    log_std: Float[Array, " action"]

    def __init__(self, key: Key, observation_size: int, action_size: int, units: int):
        """Xavier's weights of inputs and orthogonal ones of the state (Duan et al. 2016), actions near zero."""
        *keys, input_key, mean_key = jax.random.split(key, 5)
        sizes = observation_size + action_size + 2, 3 * units
        self.inputs = MLP(input_key, sizes, jnp.tanh, [xavier()])
        self.recurrent = jnp.concatenate([jax.nn.initializers.orthogonal()(k, (units, units)) for k in keys], axis=1)
        self.observation = Normalizer(observation_size)
        self.readout, self.offset = normalized_columns(0.01)(mean_key, (units, action_size)), jnp.zeros(action_size)
        self.log_std = jnp.zeros(action_size)

    def inputs_of(
        self,
        observation: Float[Array, "*axes observation"],
        action: Float[Array, "*axes action"],
        reward: Float[Array, "*axes"],
        ended: Bool[Array, "*axes"],
    ) -> Float[Array, "*axes in"]:
        """The inputs of a step: an observation, and how the step before it went."""
        last = action, reward[..., None], ended[..., None]
        return jnp.concatenate([self.observation(observation), *last], axis=-1)

    def step(self, inputs: Float[Array, "*axes in"], hidden: Float[Array, "*axes unit"]) -> Float[Array, "*axes unit"]:
        """The next state."""
        units = len(self.recurrent)
        entering = self.inputs(inputs)
        gates = jax.nn.sigmoid(entering[..., : 2 * units] + hidden @ self.recurrent[:, : 2 * units])
        kept, reset = jnp.split(gates, 2, axis=-1)
        candidate = jnp.tanh(entering[..., 2 * units :] + (reset * hidden) @ self.recurrent[:, 2 * units :])
        return kept * hidden + (1 - kept) * candidate

    def distribution(self, hidden: Float[Array, "*axes unit"]) -> Gaussian:
        return Gaussian(hidden @ self.readout + self.offset, self.log_std)

    def trial(self, inputs: Float[Array, "time trial in"]) -> Gaussian:
        """Of the actions of whole trials, whose memory is fresh at first."""
        steps, trials, _ = inputs.shape
        padded = jnp.pad(inputs, ((0, -steps % KEPT), (0, 0), (0, 0))).reshape(-1, KEPT, *inputs.shape[1:])

        def step(hidden: Array, inputs: Array) -> tuple[Array, Array]:
            hidden = self.step(inputs, hidden)
            return hidden, hidden

        @jax.checkpoint
        def some(hidden: Array, inputs: Array) -> tuple[Array, Array]:
            return jax.lax.scan(step, hidden, inputs)

        _, hidden = jax.lax.scan(some, jnp.zeros((trials, len(self.recurrent))), padded)
        return self.distribution(hidden.reshape(-1, *hidden.shape[2:])[:steps])


class RecurrentPolicy(eqx.Module):
    """The network with the memory that its rollouts begin with."""

    net: RecurrentNet
    start: Memory

    @property
    def noise_size(self) -> int:
        return self.net.log_std.shape[-1]

    def memory(self, axes: tuple[int, ...]) -> Memory:
        """Leading axes of stacked policies are the first ones of `axes`."""

        def spread(x: Array, features: int) -> Array:
            own, size = x.shape[: x.ndim - features], x.shape[x.ndim - features :]
            return jnp.broadcast_to(x.reshape(*own, *[1] * (len(axes) - len(own)), *size), (*axes, *size))

        return Memory(*map(spread, self.start, (1, 1, 0, 0)))

    def remember(self, memory: Memory, reward: Any, ended: Any) -> Memory:
        return memory._replace(reward=reward, ended=ended)

    def __call__(self, observation: Array, task: Array, memory: Any, noise: Array) -> tuple[Array, Any]:
        hidden = self.net.step(
            self.net.inputs_of(observation, memory.action, memory.reward, memory.ended), memory.hidden
        )
        action = self.net.distribution(hidden).sample(noise)
        return action, memory._replace(hidden=hidden, action=action)

    def deployed(self, task: Array) -> DeployedGRU:
        net, statistics = self.net, self.net.observation
        (weight,), (bias,), n = net.inputs.weights, net.inputs.biases, len(statistics.mean)
        bias = bias - (statistics.mean / statistics.scale) @ weight[:n]
        weight = weight.at[:n].divide(statistics.scale[:, None])
        return DeployedGRU(weight, net.recurrent, bias, net.readout, net.offset, *self.start)
