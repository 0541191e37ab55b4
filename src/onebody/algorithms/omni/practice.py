"""What happens inside an ensemble: a task-conditioned policy practises, and its returns are predicted.

Every REFRESH updates the policy is followed through whole imagined episodes, each in its own task, in one member. The
windows of the updates begin at states of these episodes, in their tasks; a share begins at p0, and a share at states of
the data, in tasks drawn afresh, which keeps the policy and its values from forgetting the rest of the world.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.algorithms.omni import first_order
from onebody.algorithms.omni.first_order import Agent, FirstOrderConfig, Windows
from onebody.core import random
from onebody.core.returns import first_episode_return
from onebody.core.types import Key
from onebody.learning.ensemble import Ensemble
from onebody.learning.policies import Policy
from onebody.learning.replay import Replay
from onebody.tasks.family import TaskFamily, never
from onebody.worlds.imagination import Imagination
from onebody.worlds.rollout import rollout

REFRESH = 50
"""updates between two times that the policy is followed"""
EPISODES = 64
"""imagined episodes in which it is followed"""


class Visited(NamedTuple):
    """States where the policy came, and the task it had there."""

    observation: Float[Array, "row observation"]
    task: Float[Array, "row feature"]
    counted: Float[Array, " row"]
    """how many rows up to this one belong to an episode; those after its end do not"""

    @staticmethod
    def along(seen: Windows, tasks: Float[Array, "row feature"]) -> "Visited":
        """States of imagined episodes, each in its own task."""
        time, episodes = seen.alive.shape
        rows = seen.observation, jnp.broadcast_to(tasks, (time, *tasks.shape)), seen.alive
        observation, task, alive = (x.reshape(time * episodes, *x.shape[2:]) for x in rows)
        return Visited(observation, task, jnp.cumsum(alive))

    def draw(self, key: Key, n: int) -> tuple[Float[Array, "n observation"], Float[Array, "n feature"]]:
        row = jnp.searchsorted(self.counted, self.counted[-1] * random.uniform(key, (n,)))
        return self.observation[row], self.task[row]


@functools.partial(jax.jit, static_argnames=("family", "config"))
def practise(
    agent: Agent,
    model: Ensemble,
    starts: Float[Array, "start observation"],
    data: Replay,
    tasks: Float[Array, "task feature"] | None,
    rates: Float[Array, " update"],
    key: Key,
    family: TaskFamily,
    config: FirstOrderConfig,
) -> tuple[Agent, dict[str, Float[Array, ""]]]:
    """Pathwise updates, each in a random member.

    Args:
        starts: draws from p0.
        tasks: those to practise; by default draws from p(ψ).
        rates: share of the learning rates of policy and values, an update each.
    """
    if family.terminal is never:
        config = dataclasses.replace(config, end_draws=0)
    n_start = round(config.from_start * config.batch)
    n_data = 0 if tasks is not None else min(round(config.from_data * config.batch), config.batch - n_start)

    def draw(key: Key, n: int) -> Array:
        return family.space.sample(key, n) if tasks is None else tasks[random.randint(key, (n,), 0, len(tasks))]

    def start(key: Key, n: int) -> Array:
        return starts[random.randint(key, (n,), 0, len(starts))]

    def follow(agent: Agent, key: Key) -> Visited:
        member_key, start_key, task_key, noise_key = jax.random.split(key, 4)
        task = draw(task_key, EPISODES)
        noise = random.normal(noise_key, (family.horizon, EPISODES, agent.policy.noise_size))
        member = model.random_member(member_key)
        begin = start(start_key, EPISODES)
        quiet = jnp.zeros((0, *begin.shape))
        seen = first_order.imagine(agent.policy, member, family.outcome, begin, task, noise, quiet, config)
        return Visited.along(seen, task)

    def improve(agent: Agent, visited: Visited, key: Key, rate: Array) -> tuple[Agent, dict[str, Array]]:
        member_key, visit_key, start_key, data_key, task_key, update_key = jax.random.split(key, 6)
        observation, own = visited.draw(visit_key, config.batch - n_start - n_data)
        seen = data.observation[random.randint(data_key, (n_data,), 0, data.size)]
        begin = jnp.concatenate([observation, start(start_key, n_start), seen])
        task = jnp.concatenate([own, draw(task_key, n_start + n_data)])
        return first_order.update(
            agent, model.random_member(member_key), family.outcome, begin, task, update_key, config, rate
        )

    def some(agent: Agent, rows: tuple[Array, Array]) -> tuple[Agent, dict[str, Array]]:
        visited = follow(agent, jax.random.fold_in(rows[0][0], REFRESH))  # no key of the update itself
        return jax.lax.scan(lambda agent, row: improve(agent, visited, *row), agent, rows)

    rows, metrics = (jax.random.split(key, len(rates)), rates), {}
    rounds, rest = divmod(len(rates), REFRESH)
    if rounds:
        whole = jax.tree.map(lambda x: x[: rounds * REFRESH].reshape(rounds, REFRESH, *x.shape[1:]), rows)
        agent, metrics = jax.lax.scan(some, agent, whole)
    if rest:
        agent, metrics = some(agent, jax.tree.map(lambda x: x[rounds * REFRESH :], rows))
    return agent, jax.tree.map(lambda x: x.reshape(-1)[-REFRESH:].mean(), metrics)


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
    """What each member says of policies, one a task: their mean returns over imagined episodes.

    Also how new the states are where they go: the members' disagreement there, over what is usual on the data.
    """
    rollout_key, row_key = jax.random.split(key)

    def imagined(index: Array) -> tuple[Array, Array]:
        world = Imagination(family, model.member(index), starts)
        seen = rollout(world, policies, tasks, rollout_key, episodes=episodes, deterministic=deterministic)
        away = model.disagreement(seen.observation, seen.action).mean(axis=(1, 2))
        return first_episode_return(seen.reward, seen.done).mean(-1), away

    returns, away = jax.lax.map(imagined, jnp.arange(model.size))
    rows = random.randint(row_key, (1024,), 0, jnp.maximum(data.size, 1))
    usual = model.disagreement(data.observation[rows], data.action[rows]).mean()
    return returns, away.mean(0) / usual
