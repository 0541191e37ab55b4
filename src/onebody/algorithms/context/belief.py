"""PEARL's belief as a memory: a policy that infers its task step by step, as `PEARL.adapt` does episode by episode."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from onebody.core.nets import MLP, Normalizer
from onebody.learning.policies import Deployed, DeployedBelief, deployed_mean
from onebody.learning.sac import LatentPolicy

MIN_VARIANCE = 1e-7
"""smallest variance of a factor"""


def factors(encoder: MLP, context: Float[Array, "*axes feature"]) -> tuple[Array, Array]:
    """Means and variances of the Gaussians over z whose product is the posterior, one for each transition."""
    mean, raw = jnp.split(encoder(context), 2, axis=-1)
    return mean, jnp.maximum(jax.nn.softplus(raw), MIN_VARIANCE)


class Belief(NamedTuple):
    """What the policy knows besides an observation."""

    mean: Float[Array, "*axes latent"]
    std: Float[Array, "*axes latent"]
    """of the product of all factors so far; 0 before the first one"""
    z: Float[Array, "*axes latent"]
    """that the policy acts with in this episode"""
    observation: Float[Array, "*axes observation"]
    action: Float[Array, "*axes action"]
    """of the last step, like the observation"""
    episodes: Float[Array, "*axes"]
    """number of episodes that have begun"""
    reward: Float[Array, "*axes"]
    ended: Bool[Array, "*axes"]
    """whether the last step ended its episode"""

    @property
    def state(self) -> Float[Array, "*axes number"]:
        """All that an exported policy gives from one step to the next, as one vector."""
        *vectors, episodes = self[:6]
        return jnp.concatenate([*vectors, episodes[..., None]], axis=-1)


class BeliefPolicy(eqx.Module):
    """PEARL's policy with a belief about its task that each transition narrows, and with a new z in each episode.

    In the first episodes, z ~ N(0, I), then z ~ q(z | all transitions so far). Its noise is that of z, which it uses at
    the start of an episode: zeros give the mean. Given z, its action is the deterministic one.

    Where the encoder sees next observations, the last transition of an episode is no part of the belief: the
    observation after it is not the next one that the policy is given.
    """

    encoder: MLP
    net: MLP
    """as of `LatentPolicy`"""
    exploration_episodes: int = eqx.field(static=True)
    """number of episodes with z ~ N(0, I)"""
    dynamics_vary: bool = eqx.field(static=True)
    """whether the encoder sees next observations"""

    @property
    def noise_size(self) -> int:
        return self.encoder.biases[-1].shape[-1] // 2

    def memory(self, axes: tuple[int, ...]) -> Belief:
        latent, actions = self.noise_size, self.net.biases[-1].shape[-1] // 2
        sizes = (latent,), (latent,), (latent,), (self.net.weights[0].shape[-2] - latent,), (actions,), (), ()
        return Belief(*(jnp.zeros((*axes, *size)) for size in sizes), ended=jnp.zeros(axes, bool))

    def remember(self, memory: Belief, reward: Any, ended: Any) -> Belief:
        return memory._replace(reward=reward, ended=ended)

    def __call__(self, observation: Array, task: Array, memory: Any, noise: Array) -> tuple[Array, Any]:
        first = memory.episodes == 0
        mean, std = self._updated(memory, observation, ~(first | (memory.ended & self.dynamics_vary))[..., None])
        unknown = (memory.episodes < self.exploration_episodes)[..., None] | (std == 0)
        begins = first | memory.ended
        z = jnp.where(begins[..., None], jnp.where(unknown, noise, mean + std * noise), memory.z)
        action = jnp.tanh(LatentPolicy(self.net, z).distribution(observation).mean)
        known = memory._replace(mean=mean, std=std, z=z, episodes=memory.episodes + begins)
        return action, known._replace(observation=observation, action=action)

    def _updated(self, memory: Belief, observation: Array, used: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the belief with the last transition as one more factor, where it is used."""
        last = memory.observation, memory.action, memory.reward[..., None]
        context = jnp.concatenate([*last, *([observation] if self.dynamics_vary else [])], axis=-1)
        mean, variance = factors(self.encoder, context)
        before = memory.std**2
        gain = jnp.where(before > 0, before / (before + variance), 1.0)
        changed = memory.mean + gain * (mean - memory.mean), jnp.sqrt(gain * variance)
        return jnp.where(used, changed[0], memory.mean), jnp.where(used, changed[1], memory.std)

    def for_any_task(self) -> Deployed:
        """A policy of observation and z as one vector."""
        return deployed_mean(self.net, jnp.zeros(0), Normalizer(len(self.net.weights[0])), "relu")

    def deployed(self, task: Array) -> DeployedBelief:
        return DeployedBelief(self.encoder.weights, self.encoder.biases, jnp.array(self.exploration_episodes, float))
