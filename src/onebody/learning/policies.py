"""Policies."""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from onebody.core.gaussian import Gaussian, log_tanh_slope
from onebody.core.nets import MLP, Normalizer, fan_in, normalized_columns, normed_silu
from onebody.core.types import Key


class Deployed(NamedTuple):
    """A memoryless policy for one task, without noise, as data.

    `limit(last layer(… activation(first layer(normalised observation))))`
    """

    weights: list[Float[Array, "in out"]]
    biases: list[Float[Array, " out"]]
    observation: Normalizer
    activation: str
    """name of the function between layers"""
    limit: str
    """name of the function that keeps actions in [-1, 1]"""


class DeployedGRU(NamedTuple):
    """A recurrent policy without noise, and its initial memory, as data (`context/recurrent.py`)."""

    inputs: Float[Array, "in gate"]
    recurrent: Float[Array, "unit gate"]
    bias: Float[Array, " gate"]
    readout: Float[Array, "unit action"]
    offset: Float[Array, " action"]
    hidden: Float[Array, " unit"]
    action: Float[Array, " action"]
    reward: Float[Array, ""]
    ended: Bool[Array, ""]


class DeployedBelief(NamedTuple):
    """What a policy with a belief about its task (`context/belief.py`) has besides its network, as data."""

    encoder_weights: list[Float[Array, "in out"]]
    encoder_biases: list[Float[Array, " out"]]
    """of a transition -> mean of its factor, and what softplus makes its variance; ReLU between layers"""
    exploration_episodes: Float[Array, ""]
    """number of episodes with z ~ N(0, I)"""


@runtime_checkable
class Policy(Protocol):
    """π: a pytree that acts. Its memory is reset with each episode; memoryless policies have `()`."""

    @property
    def noise_size(self) -> int:
        """Number of standard normal numbers that it needs per step; all zero for its deterministic action"""
        ...

    def memory(self, axes: tuple[int, ...]) -> PyTree[Array]:
        """The memory at the beginning of an episode, with these leading axes"""
        ...

    def __call__(self, observation: Array, task: Array, memory: Any, noise: Array) -> tuple[Array, Any]:
        """Action and memory; observation, memory and noise share leading axes, the task has none"""
        ...


@runtime_checkable
class Remembering(Policy, Protocol):
    """A policy that sees rewards, and whose memory goes on over the ends of episodes."""

    def remember(self, memory: Any, reward: Any, ended: Any) -> Any:
        """the memory after a step, told its reward and whether it ended its episode; all have the same leading axes"""
        ...


@runtime_checkable
class Inferring(Remembering, Protocol):
    """A policy that infers its task while it acts: its memory contains a belief."""

    def believed(self, memory: Any) -> Gaussian:
        """mean and standard deviation of the belief over the numbers of the task, [*axes, feature]"""
        ...


P = TypeVar("P", bound=eqx.Module)
T = TypeVar("T")


@functools.partial(jax.jit, static_argnames="n")
def for_each(policy: P, n: int) -> P:
    """The same policy for each of n tasks, stacked, as a rollout takes them."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (n, *x.shape)), policy)


def sees_task(policies: Policy) -> bool:
    """Whether one policy acts on any task that it is given; others were made for one task."""
    return isinstance(policies, ConditionedPolicy | ConditionedGaussian)


def stacked(policies: Iterable[P]) -> P:
    """Policies of one task each, as a rollout takes them."""
    return _stacked(tuple(policies))


@jax.jit
def _stacked(policies: tuple[P, ...]) -> P:
    return jax.tree.map(lambda *x: jnp.stack(x), *policies)


def joined(parts: Sequence[T]) -> T:
    """Stacked policies, or results of adaptation, of several groups of tasks, concatenated along the task axis."""
    return parts[0] if len(parts) == 1 else _joined(tuple(parts))


@jax.jit
def _joined(parts: tuple[T, ...]) -> T:
    return jax.tree.map(lambda *x: jnp.concatenate(x), *parts)


Activation = Literal["tanh", "relu"]
_ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}


class GaussianPolicy(eqx.Module):
    """A Gaussian whose mean is a network of the normalised observation; it does not see the task."""

    net: MLP
    log_std: Float[Array, " action"]
    observation: Normalizer
    activation: Activation = eqx.field(static=True)
    action_scale: float = eqx.field(static=True)
    """what the mean from the network, and the standard deviation, are multiplied by"""

    def __init__(
        self,
        key: Key,
        hidden: tuple[int, ...],
        observation: Normalizer,
        action_size: int,
        activation: Activation = "tanh",
        action_scale: float = 1.0,
    ):
        """normc weights, those of the last layer with gain 0.01; standard deviation 1 before scaling (SLBO)."""
        sizes = (observation.mean.shape[-1], *hidden, action_size)
        gains = [1.0] * len(hidden) + [0.01]
        self.net = MLP(key, sizes, _ACTIVATIONS[activation], [normalized_columns(gain) for gain in gains])
        self.log_std = jnp.zeros(action_size)
        self.observation = observation
        self.activation, self.action_scale = activation, action_scale

    @property
    def noise_size(self) -> int:
        return self.log_std.shape[-1]

    def memory(self, axes: tuple[int, ...]) -> tuple[()]:
        return ()

    def distribution(self, observation: Float[Array, "*axes observation"]) -> Gaussian:
        mean = self.action_scale * self.net(self.observation(observation))
        return Gaussian(mean, self.log_std + math.log(self.action_scale))

    def __call__(self, observation: Array, task: Array, memory: Any, noise: Array) -> tuple[Array, Any]:
        return self.distribution(observation).sample(noise), memory

    def deployed(self, task: Array) -> Deployed:
        return self._deployed(self.net.weights, self.net.biases, self.observation)

    def _deployed(self, weights: list[Array], biases: list[Array], observation: Normalizer) -> Deployed:
        weights, biases = ([*x[:-1], self.action_scale * x[-1]] for x in (weights, biases))
        return Deployed(weights, biases, observation, self.activation, "clip")


class DeterministicPolicy(eqx.Module):
    """tanh of a network with `normed_tanh`, of the normalised observation; it does not see the task."""

    net: MLP
    observation: Normalizer

    @property
    def noise_size(self) -> int:
        return 0

    def memory(self, axes: tuple[int, ...]) -> tuple[()]:
        return ()

    def __call__(self, observation: Array, task: Array, memory: Any, noise: Array) -> tuple[Array, Any]:
        return jnp.tanh(self.net(self.observation(observation))), memory

    def deployed(self, task: Array) -> Deployed:
        return Deployed(self.net.weights, self.net.biases, self.observation, "normed_tanh", "tanh")


class UniformPolicy(eqx.Module):
    """Actions that are uniform in [-1, 1], whatever is observed."""

    scale: Float[Array, " action"]

    def __init__(self, action_size: int):
        self.scale = jnp.ones(action_size)

    @property
    def noise_size(self) -> int:
        return self.scale.shape[-1]

    def memory(self, axes: tuple[int, ...]) -> tuple[()]:
        return ()

    def __call__(self, observation: Array, task: Array, memory: Any, noise: Array) -> tuple[Array, Any]:
        return self.scale * (2 * jax.scipy.stats.norm.cdf(noise) - 1), memory


class ConditionedGaussian(GaussianPolicy):
    """The same, of observation and task as one vector; so is its normaliser."""

    def __call__(self, observation: Array, task: Array, memory: Any, noise: Array) -> tuple[Array, Any]:
        return super().__call__(with_task(observation, task), task, memory, noise)

    def deployed(self, task: Float[Array, " feature"]) -> Deployed:
        n, both = self.observation.mean.shape[-1] - len(task), self.observation
        own = eqx.tree_at(lambda s: (s.count, s.mean, s.std), Normalizer(n), (both.count, both.mean[:n], both.std[:n]))
        weights, biases = fold(self.net, (task - both.mean[n:]) / both.scale[n:])
        return self._deployed(weights, biases, own)

    def for_any_task(self) -> Deployed:
        """A policy of observation and task as one vector."""
        return self._deployed(self.net.weights, self.net.biases, self.observation)


class LatentGaussian(eqx.Module):
    """A Gaussian policy of the observation and a latent z = μ + σ ε that stays for an episode.

    Its memory is ε: zeros, hence z = μ, unless a rollout begins its episodes with standard normal numbers.
    """

    policy: ConditionedGaussian
    """of observation and z"""
    latent: Gaussian
    """N(μ, σ²), of each task where policies are stacked"""

    @property
    def noise_size(self) -> int:
        return self.policy.noise_size

    def memory(self, axes: tuple[int, ...]) -> Float[Array, "*axes latent"]:
        return jnp.zeros((*axes, self.latent.mean.shape[-1]))

    def distribution(self, inputs: Float[Array, "*axes both"]) -> Gaussian:
        """Of actions, given observation and ε as one vector."""
        n = self.latent.mean.shape[-1]
        z = self.latent.sample(inputs[..., -n:])
        return self.policy.distribution(with_task(inputs[..., :-n], z))

    def __call__(self, observation: Array, task: Array, memory: Any, noise: Array) -> tuple[Array, Any]:
        return self.distribution(with_task(observation, memory)).sample(noise), memory

    def deployed(self, task: Array) -> Deployed:
        """With z = μ."""
        return self.policy.deployed(self.latent.mean)


def with_task(
    observation: Float[Array, "*axes observation"], task: Float[Array, "*#axes feature"]
) -> Float[Array, "*axes both"]:
    return jnp.concatenate([observation, jnp.broadcast_to(task, (*observation.shape[:-1], task.shape[-1]))], axis=-1)


def fold(net: MLP, constant: Float[Array, " constant"]) -> tuple[list[Array], list[Array]]:
    """Weights and biases of the same network of its first inputs alone: the last ones never change, so that they are
    part of the first layer's bias."""
    n = len(net.weights[0]) - len(constant)
    first, bias = net.weights[0][:n], net.biases[0] + constant @ net.weights[0][n:]
    return [first, *net.weights[1:]], [bias, *net.biases[1:]]


def deployed_mean(net: MLP, constant: Array, observation: Normalizer, activation: str) -> Deployed:
    """tanh of the first half of the outputs: the mean of a squashed Gaussian; `constant` as in `fold`."""
    weights, biases = fold(net, constant)
    actions = biases[-1].shape[-1] // 2
    weights[-1], biases[-1] = weights[-1][:, :actions], biases[-1][:actions]
    return Deployed(weights, biases, observation, activation, "tanh")


class ConditionedPolicy(eqx.Module):
    """A squashed Gaussian that sees the task: tanh of a Gaussian whose mean and deviation are a network's."""

    net: MLP
    observation: Normalizer
    task: Normalizer

    def __init__(self, key: Key, hidden: tuple[int, ...], observation: Normalizer, task: Normalizer, action_size: int):
        sizes = (observation.mean.shape[-1] + task.mean.shape[-1], *hidden, 2 * action_size)
        self.net = MLP(key, sizes, normed_silu, [fan_in(1.0)] * len(hidden) + [fan_in(0.01)])
        self.observation, self.task = observation, task

    @property
    def noise_size(self) -> int:
        return self.net.biases[-1].shape[-1] // 2

    def memory(self, axes: tuple[int, ...]) -> tuple[()]:
        return ()

    def distribution(
        self, observation: Float[Array, "*axes observation"], task: Float[Array, "*#axes feature"]
    ) -> Gaussian:
        """Before the tanh; the deviation lies between e^-3 and e."""
        mean, raw = jnp.split(self.net(with_task(self.observation(observation), self.task(task))), 2, axis=-1)
        return Gaussian(mean, -1.0 + 2.0 * jnp.tanh(raw))

    def sample(self, observation: Array, task: Array, noise: Array) -> tuple[Array, Array]:
        """An action, and minus its log-density: one sample of the entropy."""
        before = self.distribution(observation, task)
        x = before.sample(noise)
        return jnp.tanh(x), log_tanh_slope(x) - before.log_prob(x)

    def __call__(self, observation: Array, task: Array, memory: Any, noise: Array) -> tuple[Array, Any]:
        return jnp.tanh(self.distribution(observation, task).sample(noise)), memory

    def deployed(self, task: Float[Array, " feature"]) -> Deployed:
        return deployed_mean(self.net, self.task(task), self.observation, "normed_silu")

    def for_any_task(self) -> Deployed:
        """A policy of observation and task as one vector."""
        parts = self.observation, self.task
        mean, std = (jnp.concatenate([getattr(part, name) for part in parts]) for name in ("mean", "std"))
        both = eqx.tree_at(lambda s: (s.count, s.mean, s.std), Normalizer(len(mean)), (parts[0].count, mean, std))
        return deployed_mean(self.net, jnp.zeros(0), both, "normed_silu")


PULL, SPREAD = 0.15, 0.3
"""Of the Ornstein-Uhlenbeck process: share of it that decays per step, and standard deviation of its increments"""


class Exploring(eqx.Module):
    """A policy's sampled actions plus an Ornstein-Uhlenbeck process that starts at zero in each episode (SLBO)."""

    policy: Any
    noise_scale: Float[Array, "*tasks"]
    """Factor on all noise, the policy's own and the process: 1 explores, 0 is the deterministic policy"""

    @property
    def noise_size(self) -> int:
        return 2 * self.policy.noise_size

    def memory(self, axes: tuple[int, ...]) -> PyTree[Array]:
        return self.policy.memory(axes), jnp.zeros((*axes, self.policy.noise_size))

    def __call__(self, observation: Array, task: Array, memory: Any, noise: Array) -> tuple[Array, Any]:
        own, increment = jnp.split(self.noise_scale * noise, 2, axis=-1)
        inner, disturbance = memory
        action, inner = self.policy(observation, task, inner, own)
        disturbance = disturbance - PULL * disturbance + SPREAD * increment
        return action + disturbance, (inner, disturbance)
