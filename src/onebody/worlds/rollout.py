"""Collects transitions in a world: episodes of many tasks at once."""

from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from onebody.core import random
from onebody.core.errors import EmergencyStop, OnebodyError
from onebody.core.types import Key, Keys, Transitions
from onebody.learning.policies import Policy, Remembering
from onebody.tasks.family import TaskFamily
from onebody.worlds import robot
from onebody.worlds.simulator import Simulator

MAX_STOPS = 10
"""number of emergency stops in an episode that tests a policy, after which it is not repeated"""


@runtime_checkable
class World(Protocol):
    """Something that can be stepped: the `Simulator` or the `Imagination`."""

    family: TaskFamily

    @property
    def in_use(self) -> AbstractContextManager[Any]:
        """Held during a rollout: of several threads, one at a time steps the world"""
        ...

    def reset(self, tasks: Array, episodes: int, keys: Keys) -> tuple[Any, Any]: ...

    def step(self, state: Any, observation: Any, action: Any, /) -> tuple[Any, Any, Transitions]: ...

    def scan(self, step: Any, carry: Any, noise: Array, needs_reward: bool = False) -> tuple[Any, Transitions]:
        """As `lax.scan`. `needs_reward`: a step needs the reward of the previous one."""
        ...


class Carry(NamedTuple):
    """What a step of a rollout begins with."""

    state: Any
    """of the world"""
    observation: Any
    memory: Any
    """of the policies, `[task, episode, ...]`"""
    remaining: Any
    """number of steps until the end of the rollout"""


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
    """Act in a world, in `episodes` parallel slots per task, each task with its own policy.

    Args:
        policies: one policy per task, stacked along the leading axis of its arrays.
        key: determines initial states and noise; those of a task depend on its index, but not on later tasks.
        episodes: number of parallel slots per task.
        steps: control steps per slot, by default one horizon; an episode that ends early is followed by another one.
        deterministic: act with the mean action.
        shared: `policies` is a single policy for all tasks, not stacked; this is faster than copies of it.

    Returns:
        Transitions `[task, time, episode, ...]`; the last step of every slot ends its episode (`truncated`).
    """
    memory = policies.memory((len(tasks), episodes))
    return continued(world, policies, memory, tasks, key, episodes, steps, deterministic, shared)[0]


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
    """As `rollout`, but with a given initial memory `[task, episode, ...]` of the policies.

    Each episode starts with it; only the first one does if the policies keep their memory over the ends of episodes.

    Returns:
        The transitions as from `rollout`, and the memory after the last step.
    """
    steps = world.family.horizon if steps is None else steps
    start_key, noise = _draws(key, len(tasks), (steps, episodes, policies.noise_size), deterministic)
    if not isinstance(world, Simulator):
        return _at_once(world, policies, memory, tasks, start_key, noise, shared)
    with world.in_use:
        if world.robot is not None:
            return _one_by_one(world, policies, memory, tasks, start_key, noise, shared)
        n = world.tasks_at_once(len(tasks), episodes)
        if n == len(tasks):
            return _at_once(world, policies, memory, tasks, start_key, noise, shared)
        parts = []
        for i in range(0, len(tasks), n):
            rows = lambda x, i=i: x[i : i + n]  # noqa: E731
            own = policies if shared else jax.tree.map(rows, policies)
            of_block = (jax.tree.map(rows, memory), rows(tasks), rows(start_key), noise[:, i : i + n])
            parts.append(_at_once(world, own, *of_block, shared))
    return jax.tree.map(lambda *x: jnp.concatenate(x), *parts)


def _at_once(
    world: World, policies: Policy, memory: Any, tasks: Array, keys: Keys, noise: Any, shared: bool
) -> tuple[Transitions, Any]:
    """All slots [task, episode] in parallel."""
    steps, _, episodes = noise.shape[:3]
    remembers = isinstance(policies, Remembering)
    remember = policies.remember if remembers else partial(_reset_memory, memory)

    def step(carry: Carry, noise: Any) -> tuple[Carry, Transitions]:
        state, observation, memory, remaining = carry
        action, memory = _act(policies, observation, tasks, memory, noise, shared)
        state, observation, transitions = world.step(state, observation, action)
        ended = transitions.terminated | transitions.truncated | (remaining == 1)
        return Carry(state, observation, remember(memory, transitions.reward, ended), remaining - 1), transitions

    with world.in_use:
        carry = Carry(*world.reset(tasks, episodes, keys), memory, np.int32(steps))
        (_, _, memory, _), transitions = world.scan(step, carry, noise, remembers)
    return _by_task(transitions), jax.tree.map(lambda x: jax.device_put(x) if isinstance(x, np.ndarray) else x, memory)


def _one_by_one(
    world: Simulator, policies: Policy, memory: Any, tasks: Array, keys: Keys, noise: Any, shared: bool
) -> tuple[Transitions, Any]:
    """The slots [task, episode] one after the other, where there is only one environment, such as a robot."""
    episodes = noise.shape[2]
    is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)  # noqa: E731
    policies, memory, tasks, noise = jax.tree.map(
        lambda x: x if is_key(x) else np.asarray(x), (policies, memory, tasks, noise)
    )
    slots = []
    for i, key in enumerate(keys):
        own = policies if shared else jax.tree.map(lambda x, i=i: x[i : i + 1], policies)
        own, task = jax.device_put((own, tasks[i : i + 1]))
        for j in range(episodes):
            of_slot = jax.device_put(jax.tree.map(lambda x, i=i, j=j: x[i : i + 1, j : j + 1], memory))
            start_key = (jax.random.fold_in(key, j) if j else key)[None]
            with robot.undisturbed():
                slots.append(_slot(world, own, of_slot, task, start_key, noise[:, i, j], shared))
    transitions, memories = zip(*slots, strict=True)
    by_slot = lambda *x: jnp.concatenate(x).reshape(len(tasks), episodes, *x[0].shape[2:])  # noqa: E731
    rows = jax.tree.map(lambda *x: np.stack(x).reshape(len(tasks), episodes, *x[0].shape), *transitions)
    return _by_task(jax.tree.map(lambda x: np.moveaxis(x, 2, 0), rows)), jax.tree.map(by_slot, *memories)


def _slot(
    world: Simulator, policy: Policy, memory: Any, task: Array, key: Keys, noise: np.ndarray, shared: bool
) -> tuple[Transitions, Any]:
    """Transitions [time, ...] of one slot, and its memory after the last step.

    An emergency stop ends the episode with the step before it; the slot goes on with another episode. The environment
    is not reset after the last step.
    """
    assert world.robot is not None
    remember = policy.remember if isinstance(policy, Remembering) else partial(_reset_memory, memory)
    zero, end = np.zeros((1, 1, world.family.body.observation_size), np.float32), np.ones((1, 1), bool)
    _, acted = _act(policy, zero, task, memory, noise[0, None, None], shared)  # compiled before the robot moves
    remember(acted, np.zeros((1, 1), np.float32), end)
    age, observation = world.reset(task, 1, key)
    rows: list[Transitions] = []
    initial = last = memory  # last: from the action of the last row
    stops = 0
    while len(rows) < len(noise):
        action, acted = _act(policy, observation, task, memory, noise[len(rows), None, None], shared)
        try:
            age, row = world.advance(age, observation, action)
        except EmergencyStop:
            if world.robot.whole and not any(map(_done, rows)):
                stops += not world.robot.repeats
                if stops == MAX_STOPS:
                    raise OnebodyError(
                        f"family {world.family.id}: an episode that tests the policy was stopped {stops} times; start "
                        "the same command again once it can be tested, or test no episodes"
                    ) from None
                rows, memory = [], initial
                age, observation = world.reset(task, 1, key)
                continue
            if age.item():
                rows[-1] = rows[-1]._replace(truncated=end)
                memory = remember(last, rows[-1].reward, end)
            age, observation = np.zeros_like(age), world.restart(end)
            continue
        rows.append(row)
        last, done = acted, _done(row)
        memory = remember(acted, row.reward, done | (len(rows) == len(noise)))
        observation = np.asarray(row.next_observation)
        if done.item() and len(rows) < len(noise):
            age, observation = np.zeros_like(age), world.restart(done)
    return jax.tree.map(lambda *x: np.stack(x)[:, 0, 0], *rows), memory


def _done(row: Transitions) -> np.ndarray:
    return np.asarray(row.terminated | row.truncated)


@partial(jax.jit, static_argnames=("n", "shape", "deterministic"))
def _draws(key: Key, n: int, shape: tuple[int, ...], deterministic: bool) -> tuple[Keys, Float[Array, "time n ..."]]:
    """For each of n tasks, a key for its initial states, and noise of this shape."""
    start_key, noise_key = (jax.random.split(k, n) for k in jax.random.split(key))
    noise = lambda k: jnp.zeros(shape) if deterministic else random.normal(k, shape)  # noqa: E731
    return start_key, jax.vmap(noise, out_axes=1)(noise_key)


@jax.jit
def _by_task(transitions: Transitions) -> Transitions:
    """Transitions `[time, task, episode]` as `[task, time, episode]`; the last step of every slot ends its episode."""
    transitions = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), transitions)
    return transitions._replace(truncated=transitions.truncated.at[:, -1].set(~transitions.terminated[:, -1]))


@partial(jax.jit, static_argnames="shared")
def _act(policies: Policy, observation: Any, tasks: Array, memory: Any, noise: Any, shared: bool) -> tuple[Array, Any]:
    act = jax.vmap(lambda policy, *inputs: policy(*inputs), in_axes=(None if shared else 0, 0, 0, 0, 0))
    return act(policies, observation, tasks, memory, noise)


def _reset_memory(initial: Any, memory: Any, reward: Any, ended: Any) -> Any:
    """The memory, replaced by the initial one where an episode has ended."""
    mask = lambda x: ended.reshape(*ended.shape, *[1] * (x.ndim - ended.ndim))  # noqa: E731
    return jax.tree.map(lambda x, x0: jnp.where(mask(x), x0, x), memory, initial)
