"""How algorithms collect in a world: whole episodes, of many tasks at once."""

from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from onebody.core import random
from onebody.core.types import Key, Keys, Transitions
from onebody.learning.policies import Policy, Remembering
from onebody.tasks.family import TaskFamily


@runtime_checkable
class World(Protocol):
    """Something that can be stepped: the `Simulator` or the `Imagination`."""

    family: TaskFamily

    def reset(self, tasks: Array, episodes: int, keys: Keys) -> tuple[Any, Any]: ...

    def step(self, state: Any, observation: Any, action: Any, /) -> tuple[Any, Any, Transitions]: ...

    def scan(self, step: Any, carry: Any, noise: Array, rewarded: bool = False) -> tuple[Any, Transitions]:
        """`lax.scan`; `rewarded`: a step needs the reward of the one before it."""
        ...


def rollout(
    world: World,
    policies: Policy,
    tasks: Float[Array, "task feature"],
    key: Key,
    *,
    episodes: int,
    steps: int | None = None,
    deterministic: bool = False,
    shared: bool = False,
) -> Transitions:
    """Act in a world: `episodes` episodes at once of each task, each task with its own policy.

    Args:
        policies: one policy a task, stacked along the leading axis of its arrays.
        key: a task's initial states and noise follow from it and from the task's place, whatever tasks come after.
        steps: control steps of each slot, by default one horizon; an episode that ends early is followed by another.
        deterministic: act with the mean action.
        shared: `policies` is one policy for all tasks, not stacked, which is quicker than many copies of it.

    Returns:
        Transitions `[task, time, episode, ...]`; the last step of every slot ends its episode (`truncated`).
    """
    begun, how = policies.memory((len(tasks), episodes)), (steps, deterministic, shared)
    return continued(world, policies, begun, tasks, key, episodes, *how)[0]


def continued(
    world: World,
    policies: Policy,
    memory: Any,
    tasks: Float[Array, "task feature"],
    key: Key,
    episodes: int,
    steps: int | None = None,
    deterministic: bool = False,
    shared: bool = False,
) -> tuple[Transitions, Any]:
    """`rollout` with each episode begun with a memory `[task, episode, ...]`, or the first one alone where policies
    remember over the ends of episodes; also their memory after the last step."""
    steps = world.family.horizon if steps is None else steps
    start_key, noise_key = (jax.random.split(k, len(tasks)) for k in jax.random.split(key))  # a task's own
    state, observation = world.reset(tasks, episodes, start_key)
    shape = (steps, episodes, policies.noise_size)
    noise = jax.vmap(lambda k: jnp.zeros(shape) if deterministic else random.normal(k, shape), out_axes=1)(noise_key)
    remembers = isinstance(policies, Remembering)
    remember = policies.remember if remembers else partial(_anew, memory)

    def step(carry: Any, noise: Any) -> tuple[Any, Transitions]:
        state, observation, memory, left = carry
        action, memory = _act(policies, observation, tasks, memory, noise, shared)
        state, observation, transitions = world.step(state, observation, action)
        ended = transitions.terminated | transitions.truncated | (left == 1)
        return (state, observation, remember(memory, transitions.reward, ended), left - 1), transitions

    carry = state, observation, memory, np.int32(steps)
    (_, _, memory, _), transitions = world.scan(step, carry, noise, remembers)
    transitions = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), transitions)
    last_ended = transitions.truncated.at[:, -1].set(~transitions.terminated[:, -1])
    return transitions._replace(truncated=last_ended), jax.tree.map(jnp.asarray, memory)


@partial(jax.jit, static_argnames="shared")
def _act(policies: Policy, observation: Any, tasks: Array, memory: Any, noise: Any, shared: bool) -> tuple[Array, Any]:
    act = jax.vmap(lambda policy, *inputs: policy(*inputs), in_axes=(None if shared else 0, 0, 0, 0, 0))
    return act(policies, observation, tasks, memory, noise)


def _anew(begun: Any, memory: Any, reward: Any, ended: Any) -> Any:
    """Memory, as it was at the beginning where an episode has ended."""
    axes = lambda x: ended.reshape(*ended.shape, *[1] * (x.ndim - ended.ndim))  # noqa: E731
    return jax.tree.map(lambda now, then: jnp.where(axes(now), then, now), memory, begun)
