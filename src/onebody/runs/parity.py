"""What an exported policy does on some inputs, by which another computer checks that it acts the same."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from onebody.learning.policies import Policy, Remembering, for_each
from onebody.runs.policy_arrays import BELIEF, belief_sizes
from onebody.tasks.body import GymnasiumBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.limits import LimitedBody, bare
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


class Rows(NamedTuple):
    """Steps that follow each other, as a policy is told of them."""

    observation: Float[Any, "row observation"]
    """of the body itself, without commands"""
    task: Float[Any, "row feature"]
    reward: Float[Any, " row"]
    """of the step before"""
    ended: Float[Any, " row"]
    """1 where the step before ended an episode, otherwise 0"""
    noise: Float[Any, "row number"]
    """of the policy"""


class Seen(NamedTuple):
    """Steps on each of several tasks."""

    observation: Float[np.ndarray, "task time observation"]
    """of the body itself, without commands"""
    reward: Float[np.ndarray, "task time"]
    done: Bool[np.ndarray, "task time"]


def memoryless(
    family: TaskFamily, policies: Policy, arrays: Arrays, task: Float[Array, " feature"], any_task: bool
) -> Parity:
    """Of the first of stacked policies: steps of the family, and extremes.

    Where a policy keeps limits that depend on past commands, `state` of a row is `next_state` of the row before, or, at
    the start of an episode, the commands at rest.

    Args:
        arrays: of the policy.
        task: the default task.
        any_task: whether the task is an input of the policy; then with several tasks.
    """
    policy, tasks = jax.tree.map(lambda x: x[0], policies), np.asarray(task)[None]
    if any_task:
        tasks = np.concatenate([tasks, np.asarray(family.space.held_out(TASKS)), _corners(family)])
    seen = _steps(family, for_each(policy, len(tasks)), arrays, tasks, STEPS)
    observation = np.concatenate([seen.observation.reshape(-1, seen.observation.shape[-1]), _extremes(seen)])
    of_rows = np.concatenate([np.repeat(tasks, STEPS, axis=0), np.resize(tasks, (EXTREMES, tasks.shape[1]))])
    begins = np.append(np.roll(seen.done, 1, axis=1), np.zeros(EXTREMES)).astype(np.float32)
    begins[: len(tasks) * STEPS : STEPS] = 1.0
    rows = Rows(observation, of_rows, np.zeros_like(begins), begins, _silence(policy, len(begins)))
    state, action, after = _in_order(policy, family.limited, policy.memory(()), rows)
    kept = state.shape[1] > 0
    inputs = {"observation": observation} | ({"task": of_rows} if any_task else {}) | ({"state": state} if kept else {})
    return Parity(inputs, {"action": action} | ({"next_state": after} if kept else {}))


def remembering(family: TaskFamily, policies: Remembering, arrays: Arrays, task: Float[Array, " feature"]) -> Parity:
    """Of the first of stacked policies that infer the task with their memory: consecutive steps of one trial, with ends
    of episodes, and then extremes. `state` of a row is `next_state` of the row before. A policy with a belief is given
    noise and short episodes, so that many of them begin with a z from the belief."""
    policy = jax.tree.map(lambda x: x[0], policies)
    steps = _steps(family, policies, arrays, np.asarray(task)[None], 2 * STEPS)
    observation, begin = np.concatenate([steps.observation[0], _extremes(steps)]), policy.memory(())
    n = len(observation)
    reward, ended = (
        np.append(first, np.resize(after[0], n - 1)).astype(np.float32)
        for first, after in ((begin.reward, steps.reward), (begin.ended, steps.done))
    )
    ended[STEPS // 2] = 1.0
    noise, drawn = _silence(policy, n), {}
    if BELIEF in arrays:
        ended[STEPS::2] = 1.0
        noise = np.random.default_rng(0).standard_normal((n, belief_sizes(arrays)[0])).astype(np.float32)
        drawn = {"noise": noise}
    rows = Rows(observation, np.tile(np.asarray(task), (n, 1)), reward, ended, noise)
    state, action, after = _in_order(policy, family.limited, begin, rows)
    inputs = {"observation": observation, "state": state, "reward": reward[:, None], "ended": ended[:, None]} | drawn
    return Parity(inputs, {"action": action, "next_state": after})


def _in_order(policy: Policy, body: LimitedBody | None, begin: Any, rows: Rows) -> tuple[np.ndarray, ...]:
    """States of the exported policy before each of steps that follow each other, actions within the limits of the body,
    if it has any, and states after the steps. `begin`: the policy's memory at first."""
    rest = np.zeros(0, np.float32) if body is None else body.rest
    with jax.default_matmul_precision("highest"):  # GPUs would round factors
        state, action, after = _scanned(policy, body, begin, *jax.device_put((rest, rows)))
    return np.asarray(state), np.clip(action, -1, 1), np.asarray(after)


@eqx.filter_jit
def _scanned(policy: Policy, body: LimitedBody | None, begin: Any, rest: Array, rows: Rows) -> tuple[Array, ...]:
    """Row by row, as networks may halve the precision of batches; `rest`: commands at the start of an episode."""

    def step(carry: tuple[Any, Array], row: Rows) -> tuple[tuple[Any, Array], tuple[Array, ...]]:
        memory, before = carry
        commands = jnp.where(row.ended > 0, rest, before)
        if isinstance(policy, Remembering):
            memory = policy.remember(memory, row.reward, row.ended > 0)
            state = _state(memory, before)  # the exported policy is told the end
        else:
            state = commands
        observation = jnp.concatenate([row.observation, commands])
        action, memory = policy(observation, row.task, memory, row.noise)
        if body is not None:
            applied, commands = body.command(observation, action)
            action = commands[-body.action_size :] if len(rest) else applied
        after = _state(memory, commands) if isinstance(policy, Remembering) else commands
        return (memory, commands), (state, action, after)

    return jax.lax.scan(step, (begin, rest), rows)[1]


def _state(memory: Any, commands: Array) -> Array:
    """The numbers that a policy with a memory of its own gives from one step to the next (`onnx_file`)."""
    return jnp.concatenate([memory.state, commands])


def _silence(policy: Policy, n: int) -> Float[np.ndarray, "row number"]:
    """The noise of n deterministic actions."""
    return np.zeros((n, policy.noise_size), np.float32)


def _steps(family: TaskFamily, policies: Policy, arrays: Arrays, tasks: np.ndarray, steps: int) -> Seen:
    """Real steps of deterministic policies, an episode after the other. A Gymnasium environment, which may be a robot,
    is not moved for this: its steps are drawn from the policy's normaliser."""
    n = bare(family.body).observation_size
    if isinstance(bare(family.body), GymnasiumBody):
        rng, shape = np.random.default_rng(0), (len(tasks), steps)
        mean, std = arrays.get("observation_mean", np.zeros(n))[:n], arrays.get("observation_std", np.ones(n))[:n]
        spread = np.where(np.isfinite(std), std, 0.0)
        observation = mean + spread * rng.standard_normal((*shape, n))
        return Seen(observation.astype(np.float32), rng.standard_normal(shape), np.zeros(shape, bool))
    key, stacked = jax.random.key(0), jax.device_put(tasks)
    made = rollout(Simulator(family), policies, stacked, key, episodes=1, steps=steps, deterministic=True)
    observation = made.observation[..., :n]
    return Seen(*(np.asarray(x)[:, :, 0] for x in (observation, made.reward, made.done)))


def _corners(family: TaskFamily) -> Float[np.ndarray, "task feature"]:
    """The lower and the upper corner of a box of tasks; none of another task space."""
    space = family.space
    return np.array([space.low, space.high] if isinstance(space, Box) else np.zeros((0, space.size)), np.float32)


def _extremes(seen: Seen) -> Float[np.ndarray, "row observation"]:
    """Observations whose every number is far from those that were seen, on either side."""
    rows = seen.observation
    signs = np.random.default_rng(0).choice([-DEVIATIONS, DEVIATIONS], (EXTREMES, rows.shape[-1]))
    return (rows.mean((0, 1)) + signs * rows.std((0, 1))).astype(np.float32)
