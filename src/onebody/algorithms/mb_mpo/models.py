"""The world model of MB-MPO, ME-TRPO and MB-MPC: real data of one task, and an ensemble that is fitted to them."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.algorithms.mb_mpo import early_stopping
from onebody.algorithms.mb_mpo.early_stopping import EarlyStoppedEnsemble, EarlyStoppingConfig
from onebody.algorithms.protocol import Metrics
from onebody.core import random
from onebody.core.errors import OnebodyError
from onebody.core.returns import first_episode_return
from onebody.core.types import Key, Transitions
from onebody.learning import dynamics
from onebody.learning.dynamics import Dynamics, Model, merge_statistics
from onebody.learning.policies import Policy, UniformPolicy, for_each
from onebody.learning.replay import Replay
from onebody.tasks.family import TaskFamily
from onebody.tasks.limits import LimitedBody
from onebody.worlds.imagination import Imagination
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

LAPTOP_MODELS = EarlyStoppingConfig(hidden=(256, 256))
SMOKE_MODELS = EarlyStoppingConfig(members=2, hidden=(32, 32), batch=32, epochs=5)
NOVELTY_EPISODES, NOVELTY_ROWS = 10, 1024
"""imagined episodes and rows of the data that novelty is a ratio of"""


class Models(eqx.Module):
    """Models, the data they are fitted to, and the one task."""

    ensemble: EarlyStoppedEnsemble
    data: Replay
    starts: Float[Array, "start observation"]
    """Initial states: draws from p0, or those of logged episodes"""
    task: Float[Array, "1 feature"]

    @property
    def members(self) -> Dynamics:
        """The models, stacked."""
        return self.ensemble.members()


class RandomMember(eqx.Module):
    """A model that predicts each step of each row with a random member, all members equally often.

    Each of n successive rows has another of the n members, by one draw for all of them.
    """

    members: Dynamics

    def __call__(
        self, key: Key, observation: Float[Array, "*axes observation"], action: Float[Array, "*axes action"]
    ) -> Float[Array, "*axes observation"]:
        n, size = len(self.members.net.biases[0]), observation.shape[-1]
        rows, acts = observation.reshape(-1, size), action.reshape(-1, action.shape[-1])
        groups = jnp.arange(-(-len(rows) // n))
        turn_key, *member_keys = jax.random.split(key, n + 1)
        turn = random.randint(turn_key, groups.shape, 0, n)
        own = (groups * n + (jnp.arange(n)[:, None] - turn) % n) % len(rows)  # the last group wraps around
        each = self.members, jnp.stack(member_keys), own
        predicted = jax.vmap(lambda member, key, at: member(key, rows[at], acts[at]))(*each)
        group, place = jnp.divmod(jnp.arange(len(rows)), n)
        return predicted[(place + turn[group]) % n, group].reshape(observation.shape)


def needs_data(real_episodes: int, logged_transitions: int) -> None:
    """Raises OnebodyError for settings without real episodes and without logs."""
    if not (real_episodes or logged_transitions):
        raise OnebodyError("real-episodes must be at least 1 where there are no logs to learn from (train --data)")


def new_models(
    simulator: Simulator, key: Key, config: EarlyStoppingConfig, task: tuple[float, ...] | None, logged: int = 0
) -> Models:
    """Before any data, with room for `logged` transitions besides the real ones; the task is drawn from p(ψ) where none
    is given.

    Raises:
        OnebodyError: dynamics vary with the task, or it is outside the family's space.
    """
    family = simulator.family
    family.needs_one_model()
    task_key, model_key, start_key = jax.random.split(key, 3)
    chosen = family.given_or_drawn(task, task_key)
    sizes = family.body.observation_size, family.body.action_size
    ensemble = _untrained(model_key, *sizes, config, family.limited)
    return Models(ensemble, Replay.empty(logged + config.capacity, *sizes), simulator.starts(start_key), chosen)


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _untrained(
    key: Key, observations: int, actions: int, config: EarlyStoppingConfig, limited: LimitedBody | None
) -> EarlyStoppedEnsemble:
    return EarlyStoppedEnsemble(key, observations, actions, config, limited)


def imagination(models: Models, model: Model, family: TaskFamily) -> Imagination:
    """The world of a model, from p0."""
    return Imagination(family, model, models.starts)


def collect(models: Models, simulator: Simulator, policies: Any, key: Key) -> tuple[Models, Metrics]:
    """A horizon of real steps with each of the stacked policies; with random actions where there are no data yet."""
    n = len(jax.tree.leaves(policies)[0])
    tasks = jnp.tile(models.task, (n, 1))
    if not models.data.size:
        policies = for_each(UniformPolicy(simulator.family.body.action_size), n)
    transitions = rollout(simulator, policies, tasks, key, episodes=1)
    returns = first_episode_return(transitions.reward, transitions.done)
    return extended(models, transitions), {"real/return": float(returns.mean())}


def extended(models: Models, transitions: Transitions) -> Models:
    """Transitions added to data and normalisers."""
    where = lambda m: (m.data, m.ensemble)  # noqa: E731
    new = models.data.add(transitions), merge_statistics(models.ensemble, transitions)
    return eqx.tree_at(where, models, new)


def with_logs(models: Models, transitions: Transitions, starts: Float[Array, "start observation"]) -> Models:
    """Logged transitions added, and initial states from the logs; see `LearnsFromLogs`."""
    return eqx.tree_at(lambda m: m.starts, extended(models, transitions), starts)


@partial(jax.jit, static_argnames=("config",))
def fit(models: Models, key: Key, config: EarlyStoppingConfig) -> tuple[Models, dict[str, Array]]:
    """Each model on its own split of the data until its validation loss no longer falls."""
    ensemble, metrics = early_stopping.fit(models.ensemble, models.data, key, config)
    return eqx.tree_at(lambda m: m.ensemble, models, ensemble), {name: x.mean() for name, x in metrics.items()}


def disagreement(
    models: Models, members: Dynamics, observation: Float[Array, "*axes observation"], action: Array
) -> Float[Array, "*axes"]:
    """How far the models' predictions are apart; see `dynamics.disagreement`."""
    predicted = jax.lax.map(lambda member: member.predict(observation, action), members)
    return dynamics.disagreement(predicted, models.ensemble.difference, models.ensemble.limited)


def penalised(imagined: Transitions, models: Models, members: Dynamics, penalty: float) -> Transitions:
    """Imagined transitions whose rewards are less by `penalty` times the models' disagreement."""
    if not penalty:
        return imagined
    apart = disagreement(models, members, imagined.observation, imagined.action)
    return imagined._replace(reward=imagined.reward - penalty * apart)


@partial(jax.jit, static_argnames=("family", "episodes", "penalty"))
def returns_by_model(
    policy: Policy,
    models: Models,
    members: Dynamics,
    key: Key,
    family: TaskFamily,
    episodes: int,
    penalty: float = 0.0,
) -> Float[Array, " member"]:
    """The return that each model predicts of a deterministic policy, in the same episodes, after `penalised`."""

    def one(member: Dynamics) -> Array:
        world, policies = imagination(models, member, family), jax.tree.map(lambda x: x[None], policy)
        imagined = rollout(world, policies, models.task, key, episodes=episodes, deterministic=True)
        imagined = penalised(imagined, models, members, penalty)
        return first_episode_return(imagined.reward, imagined.done).mean()

    return jax.lax.map(one, members)


@partial(jax.jit, static_argnames="family")
def novelty(policy: Policy, models: Models, key: Key, family: TaskFamily) -> Float[Array, ""]:
    """The models' disagreement along a deterministic policy's imagined episodes, relative to that on the data."""
    members, (rollout_key, row_key) = models.members, jax.random.split(key)
    world, policies = imagination(models, RandomMember(members), family), jax.tree.map(lambda x: x[None], policy)
    imagined = rollout(world, policies, models.task, rollout_key, episodes=NOVELTY_EPISODES, deterministic=True)
    rows = random.randint(row_key, (NOVELTY_ROWS,), 0, jnp.maximum(models.data.size, 1))
    pairs = (imagined.observation, imagined.action), (models.data.observation[rows], models.data.action[rows])
    along, on_data = (disagreement(models, members, *pair).mean() for pair in pairs)
    return along / jnp.maximum(on_data, jnp.finfo(jnp.float32).tiny)  # 0 where there is one model
