"""How algorithms collect in a world: whole episodes, of many tasks at once."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.core import random
from onebody.core.types import Key, Keys, Transitions
from onebody.learning.policies import Policy
from onebody.tasks.family import TaskFamily


@runtime_checkable
class World(Protocol):
    """Something that can be stepped: the `Simulator` or the `Imagination`."""

    family: TaskFamily

    def reset(self, tasks: Array, episodes: int, keys: Keys) -> tuple[Any, Any]: ...

    def step(self, state: Any, observation: Any, action: Any, /) -> tuple[Any, Any, Transitions]: ...

    def scan(self, step: Any, carry: Any, noise: Array) -> tuple[Any, Transitions]: ...


def rollout(
    world: World,
    policies: Policy,
    tasks: Float[Array, "task feature"],
    key: Key,
    *,
    episodes: int,
    steps: int | None = None,
    deterministic: bool = False,
    begun: Any | None = None,
) -> Transitions:
    """Act in a world: `episodes` episodes at once of each task, each task with its own policy.

    Args:
        policies: one policy a task, stacked along the leading axis of its arrays.
        key: a task's initial states and noise follow from it and from the task's place, whatever tasks come after.
        steps: control steps of each slot, by default one horizon; an episode that ends early is followed by another.
        deterministic: act with the mean action.
        begun: the policies' memory when an episode begins, [task, episode, ...], where it is not their own.

    Returns:
        Transitions `[task, time, episode, ...]`; the last step of every slot ends its episode (`truncated`).
    """
    steps = world.family.horizon if steps is None else steps
    start_key, noise_key = (jax.random.split(k, len(tasks)) for k in jax.random.split(key))  # a task's own
    state, observation = world.reset(tasks, episodes, start_key)
    shape = (steps, episodes, policies.noise_size)
    noise = jax.vmap(lambda k: jnp.zeros(shape) if deterministic else random.normal(k, shape), out_axes=1)(noise_key)
    begun = policies.memory((len(tasks), episodes)) if begun is None else begun

    def step(carry: Any, noise: Any) -> tuple[Any, Transitions]:
        state, observation, memory = carry
        action, memory = _act(policies, observation, tasks, memory, noise)
        state, observation, transitions = world.step(state, observation, action)
        ended = transitions.terminated | transitions.truncated
        return (state, observation, _anew(memory, begun, ended)), transitions

    _, transitions = world.scan(step, (state, observation, begun), noise)
    transitions = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), transitions)
    last_ended = transitions.truncated.at[:, -1].set(~transitions.terminated[:, -1])
    return transitions._replace(truncated=last_ended)


@jax.jit
def _act(policies: Policy, observation: Any, tasks: Array, memory: Any, noise: Any) -> tuple[Array, Any]:
    return jax.vmap(lambda policy, *inputs: policy(*inputs))(policies, observation, tasks, memory, noise)


def _anew(memory: Any, begun: Any, ended: Any) -> Any:
    """Memory, as it was at the beginning where an episode has ended."""
    axes = lambda x: ended.reshape(*ended.shape, *[1] * (x.ndim - ended.ndim))  # noqa: E731
    return jax.tree.map(lambda now, then: jnp.where(axes(now), then, now), memory, begun)
