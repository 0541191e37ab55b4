"""OMNI's policy optimisation: pathwise updates of a task-conditioned policy inside an ensemble of models.

Every REFRESH updates, the policy is rolled out through whole imagined episodes, each in a task of its own, in one
member. The windows of these updates begin at states of these episodes, in their tasks; a share begins at p0, and a
share at states of the data, in newly drawn tasks, which keeps the policy and its values from forgetting the rest of the
state space.
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
from onebody.core.types import Key
from onebody.learning.dynamics import InBodies
from onebody.learning.ensemble import Ensemble
from onebody.learning.replay import Replay
from onebody.tasks.family import TaskFamily, never

REFRESH = 50
"""Updates between two times that the policy is rolled out"""
EPISODES = 64
"""Imagined episodes of each of these rollouts"""


class Visited(NamedTuple):
    """States that the policy has visited in the model, and its task there."""

    observation: Float[Array, "row observation"]
    task: Float[Array, "row feature"]
    n_valid: Float[Array, " row"]
    """Cumulative number of rows before the end of their episode, from which rows are drawn uniformly"""

    @staticmethod
    def along(windows: Windows, tasks: Float[Array, "row feature"]) -> "Visited":
        """States of imagined episodes, each in its own task."""
        time, episodes = windows.alive.shape
        rows = windows.observation, jnp.broadcast_to(tasks, (time, *tasks.shape)), windows.alive
        observation, task, alive = (x.reshape(time * episodes, *x.shape[2:]) for x in rows)
        return Visited(observation, task, jnp.cumsum(alive))

    def draw(self, key: Key, n: int) -> tuple[Float[Array, "n observation"], Float[Array, "n feature"]]:
        row = jnp.searchsorted(self.n_valid, self.n_valid[-1] * random.uniform(key, (n,)))
        return self.observation[row], self.task[row]


@functools.partial(jax.jit, static_argnames=("family", "config"))
def optimize(
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
    """Line 5 of OMNI: pathwise updates, each in a random member.

    Args:
        starts: draws from p0.
        tasks: those that the policy is optimised for; None: draws from p(ψ).
        rates: share of the learning rates of policy and values in each update.
    """
    if family.terminal is never:
        config = dataclasses.replace(config, end_draws=0)
    n_start = round(config.from_start * config.batch)
    n_data = 0 if tasks is not None else min(round(config.from_data * config.batch), config.batch - n_start)

    def draw(key: Key, n: int) -> Array:
        return family.space.sample(key, n) if tasks is None else tasks[random.randint(key, (n,), 0, len(tasks))]

    def start(key: Key, n: int) -> Array:
        return starts[random.randint(key, (n,), 0, len(starts))]

    def outcome(observation: Array, action: Array, next_observation: Array, task: Array) -> tuple[Array, Array]:
        reward, terminated = family.outcome(observation, action, next_observation, task)
        if config.disagreement_penalty:
            disagreement = model.disagreement(observation, family.model_action(action, task))
            reward -= config.disagreement_penalty * disagreement
        return reward, terminated

    def visit(agent: Agent, key: Key) -> Visited:
        member_key, start_key, task_key, noise_key = jax.random.split(key, 4)
        task = draw(task_key, EPISODES)
        policy, member = agent.policy.module, InBodies(model.random_member(member_key), family, task)
        noise = random.normal(noise_key, (family.horizon, EPISODES, policy.noise_size))
        begin = start(start_key, EPISODES)
        no_end_noise = jnp.zeros((0, *begin.shape))
        model_key = jax.random.fold_in(key, 4)
        windows = first_order.imagine(
            policy, member, family.outcome, begin, task, noise, no_end_noise, model_key, config, family.limited
        )
        return Visited.along(windows, task)

    def update(agent: Agent, visited: Visited, key: Key, rate: Array) -> tuple[Agent, dict[str, Array]]:
        member_key, visit_key, start_key, data_key, task_key, update_key = jax.random.split(key, 6)
        observation, visited_task = visited.draw(visit_key, config.batch - n_start - n_data)
        of_data = data.observation[random.randint(data_key, (n_data,), 0, data.size)]
        begin = jnp.concatenate([observation, start(start_key, n_start), of_data])
        task = jnp.concatenate([visited_task, draw(task_key, n_start + n_data)])
        member = InBodies(model.random_member(member_key), family, task)
        return first_order.update(agent, member, outcome, begin, task, update_key, config, rate, family.limited)

    def roll_out_and_update(agent: Agent, inputs: tuple[Array, Array]) -> tuple[Agent, dict[str, Array]]:
        visited = visit(agent, jax.random.fold_in(inputs[0][0], REFRESH))  # a key that no update derives
        return jax.lax.scan(lambda agent, own: update(agent, visited, *own), agent, inputs)

    keys_and_rates, metrics = (jax.random.split(key, len(rates)), rates), {}
    rounds, rest = divmod(len(rates), REFRESH)
    if rounds:
        whole = jax.tree.map(lambda x: x[: rounds * REFRESH].reshape(rounds, REFRESH, *x.shape[1:]), keys_and_rates)
        agent, metrics = jax.lax.scan(roll_out_and_update, agent, whole)
    if rest:
        agent, metrics = roll_out_and_update(agent, jax.tree.map(lambda x: x[rounds * REFRESH :], keys_and_rates))
    return agent, jax.tree.map(lambda x: x.reshape(-1)[-REFRESH:].mean(), metrics)
