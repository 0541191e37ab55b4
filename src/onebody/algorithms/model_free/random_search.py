"""Random search for a linear policy (Mania, Guy, Recht 2018, Algorithm 1: ARS V1 with all directions).

1: directions δ_i ~ N(0, I), each with a task of its own; a real episode with θ + ν δ_i, one with θ - ν δ_i    `step`
2: θ ← θ + α / (N σ) Σ_i (R_i⁺ - R_i⁻) δ_i, σ the deviation of the 2 N returns
3: a new ψ: the policy as it is, at every stage                                                               `adapt`

Differences: θ begins with small random weights and has a bias (there: zeros, none); actions are clipped to [-1, 1].
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics
from onebody.core import random
from onebody.core.errors import positive
from onebody.core.nets import Normalizer
from onebody.core.returns import first_episode_return
from onebody.core.types import Key
from onebody.learning.policies import GaussianPolicy, for_each
from onebody.tasks.family import TaskFamily
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator


@dataclass(frozen=True)
class Config:
    """The settings of Mania et al. for the half-cheetah; the number of iterations is ours."""

    n_iterations: int = 200
    """Updates of the policy's weights θ"""
    directions: int = 32
    """Number of random directions per update, N"""
    deviation: float = 0.03
    """Standard deviation ν of a candidate's weights around θ"""
    rate: float = 0.02
    """Step size α of an update"""

    def __post_init__(self) -> None:
        positive(self, "n_iterations", "directions", "deviation", "rate")


@dataclass(frozen=True)
class RandomSearch:
    """Augmented random search."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = False

    def init(self, key: Key) -> GaussianPolicy:
        return GaussianPolicy(key, (), Normalizer(self.family.body.observation_size), self.family.body.action_size)

    def step(self, state: GaussianPolicy, key: Key) -> tuple[GaussianPolicy, Metrics]:
        task_key, direction_key, episode_key = jax.random.split(key, 3)
        tasks = jnp.tile(self.family.space.sample(task_key, self.config.directions), (2, 1))
        parameters, unravel = ravel_pytree(state.net)
        directions = random.normal(direction_key, (self.config.directions, len(parameters)))
        steps = self.config.deviation * jnp.concatenate([directions, -directions])
        candidates = eqx.tree_at(lambda p: p.net, for_each(state, len(steps)), jax.vmap(unravel)(parameters + steps))
        transitions = rollout(self.simulator, candidates, tasks, episode_key, episodes=1, deterministic=True)
        returns = first_episode_return(transitions.reward, transitions.done)[:, 0]
        slope = jnp.subtract(*jnp.split(returns, 2)) @ directions / len(directions) / (returns.std() + 1e-8)
        moved = eqx.tree_at(lambda p: p.net, state, unravel(parameters + self.config.rate * slope))
        return moved, {"real/return": float(returns.mean())}

    def adapt(self, state: GaussianPolicy, tasks: Array, key: Key) -> Iterator[Adapted]:
        return itertools.repeat(Adapted(for_each(state, len(tasks))))


SPEC = AlgorithmSpec(
    RandomSearch,
    presets={"paper": Config(), "laptop": Config(), "smoke": Config(n_iterations=2, directions=4)},
)
