"""What MB-MPO, ME-TRPO and MB-MPC know of the body: real data of one task, and the models that are fitted to them."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.algorithms.mb_mpo import validated
from onebody.algorithms.mb_mpo.validated import Validated, ValidatedConfig
from onebody.algorithms.protocol import Metrics
from onebody.core import random
from onebody.core.returns import first_episode_return
from onebody.core.types import Key
from onebody.learning.dynamics import renormalize
from onebody.learning.ensemble import Member, key_of
from onebody.learning.policies import Policy, UniformPolicy, for_each
from onebody.learning.replay import Replay
from onebody.tasks.family import TaskFamily
from onebody.worlds.imagination import Imagination
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

LAPTOP_MODELS = ValidatedConfig(hidden=(256, 256))
SMOKE_MODELS = ValidatedConfig(members=2, hidden=(32, 32), batch=32, epochs=5)


class Models(eqx.Module):
    """Models, the data they are fitted to, and the one task."""

    ensemble: Validated
    data: Replay
    starts: Float[Array, "start observation"]
    task: Float[Array, "1 feature"]

    @property
    def members(self) -> Member:
        """The models, stacked."""
        return self.ensemble.models()


class Mixed(eqx.Module):
    """A random member at each step of each row, in equal shares.

    Of n rows, one after the other, each has another of the n members: one draw for them all, made anew at each step. It
    follows from the key and from what is observed.
    """

    members: Member
    key: Key

    def __call__(self, observation: Array, action: Array) -> Array:
        n, size = len(self.members.net.biases[0]), observation.shape[-1]
        rows, acts = observation.reshape(-1, size), action.reshape(-1, action.shape[-1])
        groups = jnp.arange(-(-len(rows) // n))
        turn = random.randint(key_of(self.key, observation), groups.shape, 0, n)
        dealt = (groups * n + (jnp.arange(n)[:, None] - turn) % n) % len(rows)  # the last group begins anew
        found = jax.vmap(lambda member, at: member(rows[at], acts[at]))(self.members, dealt)
        group, place = jnp.divmod(jnp.arange(len(rows)), n)
        return found[(place + turn[group]) % n, group].reshape(observation.shape)


def new_models(simulator: Simulator, key: Key, config: ValidatedConfig, task: tuple[float, ...] | None) -> Models:
    """Before any data; the task is drawn from p(ψ) where none is given.

    Raises:
        OnebodyError: dynamics vary with the task, or it is outside the family's space.
    """
    family = simulator.family
    family.needs_one_model()
    task_key, model_key, start_key = jax.random.split(key, 3)
    chosen = family.given_or_drawn(task, task_key)
    sizes = family.body.observation_size, family.body.action_size
    ensemble = Validated(model_key, *sizes, config)
    return Models(ensemble, Replay.empty(config.capacity, *sizes), simulator.starts(start_key), chosen)


def imagination(models: Models, model: Any, family: TaskFamily) -> Imagination:
    """The world of a model, from p0."""
    return Imagination(family, model, models.starts)


def collect(models: Models, simulator: Simulator, policies: Any, key: Key) -> tuple[Models, Metrics]:
    """A horizon of real steps with each of the stacked policies; with random actions where there are no data yet."""
    n = len(jax.tree.leaves(policies)[0])
    tasks = jnp.tile(models.task, (n, 1))
    if not models.data.size:
        policies = for_each(UniformPolicy(simulator.family.body.action_size), n)
    seen = rollout(simulator, policies, tasks, key, episodes=1)
    where = lambda m: (m.data, m.ensemble)  # noqa: E731
    models = eqx.tree_at(where, models, (models.data.add(seen), renormalize(models.ensemble, seen)))
    return models, {"real/return": float(first_episode_return(seen.reward, seen.done).mean())}


@partial(jax.jit, static_argnames=("config",))
def fit(models: Models, key: Key, config: ValidatedConfig) -> tuple[Models, dict[str, Array]]:
    """Each model on its own split of the data until its validation loss no longer falls."""
    ensemble, metrics = validated.fit(models.ensemble, models.data, key, config)
    return eqx.tree_at(lambda m: m.ensemble, models, ensemble), {name: x.mean() for name, x in metrics.items()}


@partial(jax.jit, static_argnames=("family", "episodes"))
def returns_by_model(
    policy: Policy, models: Models, members: Member, key: Key, family: TaskFamily, episodes: int
) -> Float[Array, " member"]:
    """What each model says of a deterministic policy, in the same episodes."""

    def one(member: Member) -> Array:
        world, policies = imagination(models, member, family), jax.tree.map(lambda x: x[None], policy)
        seen = rollout(world, policies, models.task, key, episodes=episodes, deterministic=True)
        return first_episode_return(seen.reward, seen.done).mean()

    return jax.lax.map(one, members)
