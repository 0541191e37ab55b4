"""What an exported policy does on some inputs, by which another computer checks that it acts the same."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from onebody.learning.policies import Policy, Remembering, for_each
from onebody.tasks.body import GymnasiumBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.space import Box
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

TASKS = 4
"""number of tasks beside the default one and the corners of a box, for a policy for any task"""
STEPS = 25
"""real steps per task"""
EXTREMES = 12
"""observations far from those of real steps"""
DEVIATIONS = 5.0
"""distance of an extreme number from the mean of real steps, in standard deviations"""


class Parity(NamedTuple):
    """Inputs of a policy and what JAX computes from them: the float32 arrays of a model's inputs and outputs."""

    inputs: dict[str, Float[np.ndarray, "row number"]]
    outputs: dict[str, Float[np.ndarray, "row number"]]

    @property
    def arrays(self) -> dict[str, Float[np.ndarray, "row number"]]:
        """All arrays, as they are named in parity.npz."""
        return {
            f"{kind}_{name}": each
            for kind, part in (("input", self.inputs), ("output", self.outputs))
            for name, each in part.items()
        }

    def text(self, tolerance: float) -> str:
        """All arrays in a form that any language reads number by number (`deployment/cpp/main.cpp`)."""
        lines = [f"rows {len(self.inputs['observation'])}", f"tolerance {tolerance:g}"]
        for name, each in self.arrays.items():
            kind, _, plain = name.partition("_")
            lines.append(f"{kind} {plain} {each.shape[1]}")
            lines += [" ".join(f"{x:.9g}" for x in row) for row in each]
        return "\n".join(lines) + "\n"


Arrays = Mapping[str, np.ndarray]


class Seen(NamedTuple):
    """Steps on each of several tasks."""

    observation: Float[np.ndarray, "task time observation"]
    reward: Float[np.ndarray, "task time"]
    done: Bool[np.ndarray, "task time"]


def memoryless(
    family: TaskFamily, policies: Policy, arrays: Arrays, task: Float[Array, " feature"], any_task: bool
) -> Parity:
    """Of the first of stacked policies: steps of the family, and extremes.

    Args:
        arrays: of the policy.
        task: the default task.
        any_task: whether the task is an input of the policy; then with several tasks.
    """
    policy, tasks = jax.tree.map(lambda x: x[0], policies), np.asarray(task)[None]
    if any_task:
        tasks = np.concatenate([tasks, np.asarray(family.space.held_out(TASKS)), _corners(family)])
    seen = _steps(family, for_each(policy, len(tasks)), arrays, tasks, STEPS).observation
    rows = np.concatenate([seen.reshape(-1, seen.shape[-1]), _extremes(seen)])
    of_rows = np.concatenate([np.repeat(tasks, seen.shape[1], axis=0), np.resize(tasks, (EXTREMES, tasks.shape[1]))])
    with jax.default_matmul_precision("highest"):  # GPUs would round factors
        action = np.asarray(_actions(policy, *jax.device_put((rows, of_rows))))
    inputs = {"observation": rows} | ({"task": of_rows} if any_task else {})
    return Parity(inputs, {"action": np.clip(action, -1, 1)})


def remembering(family: TaskFamily, policies: Remembering, arrays: Arrays, task: Float[Array, " feature"]) -> Parity:
    """Of the first of stacked policies with a GRU's memory: consecutive steps of one trial, with ends of episodes, and
    then extremes. `state` of a row is `next_state` of the row before."""
    policy = jax.tree.map(lambda x: x[0], policies)
    seen, reward, done = (x[0] for x in _steps(family, policies, arrays, np.asarray(task)[None], 2 * STEPS))
    observation, begin = np.concatenate([seen, _extremes(seen[None])]), policy.memory(())
    reward, ended = (
        np.append(first, np.resize(after, len(observation) - 1)).astype(np.float32)
        for first, after in ((begin.reward, reward), (begin.ended, done))
    )
    ended[STEPS // 2] = 1.0
    with jax.default_matmul_precision("highest"):
        rows = jax.device_put((observation, reward, ended))
        state, action, after = map(np.asarray, _trial(policy, task, begin, rows))
    inputs = {"observation": observation, "state": state, "reward": reward[:, None], "ended": ended[:, None]}
    return Parity(inputs, {"action": np.clip(action, -1, 1), "next_state": after})


@eqx.filter_jit
def _actions(policy: Policy, observations: Array, tasks: Array) -> Array:
    """Row by row, as networks may halve the precision of batches."""
    n = len(observations)
    return jax.vmap(policy)(observations, tasks, policy.memory((n,)), jnp.zeros((n, policy.noise_size)))[0]


@eqx.filter_jit
def _trial(policy: Remembering, task: Array, begin: Any, rows: tuple[Array, Array, Array]) -> tuple[Array, ...]:
    """States before each step, actions, and states after it; rows: observations, rewards and ends of steps before."""

    def step(memory: Any, row: tuple[Array, Array, Array]) -> tuple[Any, tuple[Array, ...]]:
        observation, reward, ended = row
        memory = policy.remember(memory, reward, ended > 0)
        action, after = policy(observation, task, memory, jnp.zeros(policy.noise_size))
        return after, (_state(memory), action, _state(after))

    return jax.lax.scan(step, begin, rows)[1]


def _state(memory: Any) -> Array:
    """The numbers of a GRU's memory that it gives from one step to the next (`onnx_file`)."""
    return jnp.concatenate([memory.hidden, memory.action])


def _steps(family: TaskFamily, policies: Policy, arrays: Arrays, tasks: np.ndarray, steps: int) -> Seen:
    """Real steps of deterministic policies, an episode after the other. A Gymnasium environment, which may be a robot,
    is not moved for this: its steps are drawn from the policy's normaliser."""
    if isinstance(family.body, GymnasiumBody):
        rng, shape = np.random.default_rng(0), (len(tasks), steps)
        n = family.body.observation_size
        mean, std = arrays.get("observation_mean", np.zeros(n)), arrays.get("observation_std", np.ones(n))
        spread = np.where(np.isfinite(std), std, 0.0)
        observation = mean + spread * rng.standard_normal((*shape, n))
        return Seen(observation.astype(np.float32), rng.standard_normal(shape), np.zeros(shape, bool))
    key, stacked = jax.random.key(0), jax.device_put(tasks)
    made = rollout(Simulator(family), policies, stacked, key, episodes=1, steps=steps, deterministic=True)
    return Seen(*(np.asarray(x)[:, :, 0] for x in (made.observation, made.reward, made.done)))


def _corners(family: TaskFamily) -> Float[np.ndarray, "task feature"]:
    """The lower and the upper corner of a box of tasks; none of another task space."""
    space = family.space
    return np.array([space.low, space.high] if isinstance(space, Box) else np.zeros((0, space.size)), np.float32)


def _extremes(seen: Float[np.ndarray, "task time observation"]) -> Float[np.ndarray, "row observation"]:
    """Observations whose every number is far from those that were seen, on either side."""
    signs = np.random.default_rng(0).choice([-DEVIATIONS, DEVIATIONS], (EXTREMES, seen.shape[-1]))
    return (seen.mean((0, 1)) + signs * seen.std((0, 1))).astype(np.float32)
