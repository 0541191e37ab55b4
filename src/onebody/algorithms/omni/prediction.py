"""What an ensemble of models predicts of policies: returns with an interval, and the novelty of the visited states."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.core import random
from onebody.core.returns import first_episode_return
from onebody.core.types import Key
from onebody.learning.dynamics import InBodies
from onebody.learning.ensemble import Ensemble
from onebody.learning.policies import Policy
from onebody.learning.replay import Replay
from onebody.tasks.family import TaskFamily
from onebody.worlds.imagination import Imagination
from onebody.worlds.rollout import rollout

COVERAGE = (0.05, 0.95)
"""Quantiles of the newest errors of predicted returns that an interval includes"""
FEWEST_ERRORS = 5
"""Errors of predicted returns that an interval needs: the members' agreement alone says too little"""
DEVIATIONS = 2.0
"""Standard deviations of the members' predicted returns that an interval includes"""


@functools.partial(jax.jit, static_argnames=("family", "episodes", "deterministic"))
def predict(
    policies: Policy,
    model: Ensemble,
    starts: Float[Array, "start observation"],
    data: Replay,
    tasks: Float[Array, "task feature"],
    key: Key,
    family: TaskFamily,
    episodes: int,
    deterministic: bool = True,
) -> tuple[Float[Array, "member task"], Float[Array, " task"]]:
    """Predicted returns of policies, one per task: each member's mean over imagined episodes.

    Also the novelty of the states that they visit: the members' disagreement there, relative to that on the data.
    """
    rollout_key, row_key = jax.random.split(key)

    def imagined(index: Array) -> tuple[Array, Array]:
        world = Imagination(family, InBodies(model.member(index), family, tasks[:, None]), starts)
        transitions = rollout(world, policies, tasks, rollout_key, episodes=episodes, deterministic=deterministic)
        inputs = family.model_action(transitions.action, tasks[:, None, None])
        disagreement = model.disagreement(transitions.observation, inputs).mean(axis=(1, 2))
        return first_episode_return(transitions.reward, transitions.done).mean(-1), disagreement

    returns, disagreement = jax.lax.map(imagined, jnp.arange(model.size))
    rows = random.randint(row_key, (1024,), 0, jnp.maximum(data.size, 1))
    on_data = model.disagreement(data.observation[rows], data.action[rows]).mean()
    return returns, disagreement.mean(0) / on_data


@jax.jit
def interval(returns: Float[Array, "member task"], errors: Float[Array, " episode"]) -> Float[Array, "task 2"]:
    """Where real returns are expected: around the median prediction, by recent errors and the members' disagreement.

    Args:
        errors: real minus predicted return of the newest real episodes; zeros before the first.

    Returns:
        Lower and upper bounds; NaN with fewer than `FEWEST_ERRORS` errors.
    """
    known = errors != 0
    quantiles = jnp.nanquantile(jnp.where(known, errors, jnp.nan), jnp.array(COVERAGE))
    low, high = jnp.where(known.sum() < FEWEST_ERRORS, jnp.nan, quantiles)
    middle, spread = jnp.median(returns, axis=0), DEVIATIONS * returns.std(0)
    below, above = jnp.hypot(jnp.minimum(low, 0.0), spread), jnp.hypot(jnp.maximum(high, 0.0), spread)
    return jnp.stack([middle - below, middle + above], axis=1)
