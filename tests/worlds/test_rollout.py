import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.core.nets import Normalizer
from onebody.learning.policies import Exploring, GaussianPolicy, for_each
from onebody.tasks import registry
from onebody.tasks.family import never
from onebody.worlds.imagination import Imagination, State
from onebody.worlds.rollout import continued, rollout
from onebody.worlds.simulator import Simulator


class Truth(eqx.Module):
    """The point robot's own formula in the place of a model."""

    def __call__(self, key, observation, action):
        return observation + 0.1 * jnp.clip(action, -1.0, 1.0)


reset, step = jax.jit(Imagination.reset, static_argnums=2), jax.jit(Imagination.step)


def policies(family, n):
    return untrained(family.body.observation_size, family.body.action_size, n)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def untrained(observations, actions, n):
    make = lambda key: GaussianPolicy(key, (8,), Normalizer(observations), actions)  # noqa: E731
    return jax.vmap(make)(jax.random.split(jax.random.key(0), n))


class Replayed(eqx.Module):
    """Transitions that have been seen in the place of a model."""

    next_observation: jax.Array

    def __call__(self, key, observation, action):
        return self.next_observation


@pytest.mark.parametrize("name", registry.families())
def test_one_definition_of_reward(name):
    """The simulator's reward on its own transitions is what the imagination says of them; both without compilation,
    which one family of each kind has below."""
    family, rng = registry.make(name), np.random.default_rng(0)
    simulator = Simulator(family)
    simulator._outcome = lambda *rows: family.outcome(*map(jax.device_put, rows))
    tasks = family.space.sample(jax.random.key(1), 2)
    zero = np.zeros((2, 12), np.int32)
    with jax.disable_jit():
        age, observation = simulator.reset(tasks, 12, jax.random.split(jax.random.key(0), 2))
        for _ in range(5):
            action = rng.uniform(-1.5, 1.5, (2, 12, family.body.action_size)).astype(np.float32)
            age, after, row = simulator.step(age, observation, action)
            row = jax.tree.map(jax.device_put, row)
            world = Imagination(family, Replayed(row.next_observation), row.observation[0])
            state = State(tasks, jax.device_put(zero), jax.device_put(zero), jax.random.key(0))
            _, _, imagined = world.step(state, row.observation, row.action)
            np.testing.assert_allclose(imagined.reward, row.reward, atol=1e-4)
            np.testing.assert_array_equal(imagined.terminated, row.terminated)
            observation = after


@pytest.mark.parametrize("name", ["point/goal", "mbmpo/hopper", "pearl/hopper-params", "smt/ant-vel"])
def test_one_definition_of_reward_over_whole_episodes(name):
    """Where no episode can end early, and the rewards of a rollout are computed at once; where one does; where the
    dynamics vary."""
    family = registry.make(name)
    tasks = family.space.sample(jax.random.key(1), 2)
    transitions = rollout(Simulator(family), policies(family, 2), tasks, jax.random.key(0), episodes=3)
    assert transitions.reward.shape == (2, family.horizon, 3)
    transitions = jax.tree.map(np.asarray, transitions)
    rows = jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[3:]), transitions)  # each step as an episode of its own
    starts = jax.device_put(transitions.observation[0, 0])
    world = Imagination(family, Replayed(jax.device_put(rows.next_observation)), starts)
    state, _ = world.reset(tasks, rows.reward.shape[1], jax.random.split(jax.random.key(0), len(tasks)))
    _, _, row = step(world, state, rows.observation, rows.action)
    np.testing.assert_allclose(row.reward, rows.reward, atol=1e-4)
    np.testing.assert_array_equal(row.terminated, rows.terminated)


def test_imagination_with_the_true_model_is_the_simulator():
    family = registry.make("point/goal")
    tasks, agents = family.space.held_out(3), policies(family, 3)
    real = rollout(Simulator(family), agents, tasks, jax.random.key(1), episodes=2)
    real = jax.tree.map(np.asarray, real)
    observation = real.observation[:, 0]
    world = Imagination(family, Truth(), jax.device_put(observation.reshape(-1, 2)))
    state, _ = reset(world, tasks, 2, jax.random.split(jax.random.key(0), len(tasks)))
    for t in range(family.horizon):
        state, observation, row = step(world, state, observation, real.action[:, t])
        for name in ("next_observation", "reward", "terminated"):
            np.testing.assert_allclose(getattr(row, name), getattr(real, name)[:, t], atol=1e-5)
    np.testing.assert_array_equal(row.truncated, True)


def test_a_batch_of_tasks_is_a_loop_of_tasks():
    family = registry.make("cheetah-vel")
    tasks, agents = family.space.held_out(3), policies(family, 3)
    world = Imagination(family, _drift(family), jnp.ones((1, family.body.observation_size)))
    together = rollout(world, agents, tasks, jax.random.key(0), episodes=2, steps=5, deterministic=True)
    for i in range(3):
        one = jax.tree.map(lambda x, i=i: x[i : i + 1], agents)
        alone = rollout(world, one, tasks[i : i + 1], jax.random.key(9), episodes=2, steps=5, deterministic=True)
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(np.asarray(a)[i], np.asarray(b)[0], atol=1e-5)


def _drift(family):
    class Drift(eqx.Module):
        def __call__(self, key, observation, action):
            return observation + 0.1 * action.sum(-1, keepdims=True)

    return Drift()


def test_imagined_episodes_end_and_begin_as_real_ones_do(point_with_wall):
    wall = point_with_wall(horizon=5)
    world = Imagination(wall, Truth(), jnp.array([[0.0, 0.0], [0.01, 0.0]]))
    state, observation = reset(world, np.zeros((1, 2)), 4, jax.random.split(jax.random.key(0), 1))
    terminated, truncated = [], []
    for _ in range(12):
        action = np.float32([1.0, 1.0, 0.0, 0.0])[None, :, None] * np.ones((1, 4, 2), np.float32)
        state, observation, row = step(world, state, observation, action)
        terminated.append(np.asarray(row.terminated)[0])
        truncated.append(np.asarray(row.truncated)[0])
        assert (np.abs(np.asarray(observation)[0, terminated[-1] | truncated[-1], 0]) <= 0.02).all()
    expected = [[t % 3 == 2, t % 3 == 2, False, False] for t in range(12)]
    np.testing.assert_array_equal(terminated, expected)
    np.testing.assert_array_equal(truncated, [[False, False, t % 5 == 4, t % 5 == 4] for t in range(12)])


def test_each_episode_begins_with_its_own_memory(point_with_wall):
    class Counting(eqx.Module):
        """To the wall, while it counts its steps."""

        forwards: jax.Array
        noise_size = 1

        def memory(self, axes):
            return jnp.zeros(axes)

        def __call__(self, observation, task, memory, noise):
            return jnp.stack([jnp.broadcast_to(self.forwards, memory.shape), 0.1 * memory], axis=-1), memory + 1

    wall = point_with_wall(horizon=5)
    transitions = rollout(
        Simulator(wall), Counting(jnp.array([1.0, 0.0])), jnp.zeros((2, 2)), jax.random.key(0), episodes=3, steps=9
    )
    ends = np.array([[t % 3 == 2, t % 5 == 4 or t == 8] for t in range(9)]).T[..., None]
    np.testing.assert_array_equal(transitions.done, np.broadcast_to(ends, (2, 9, 3)))
    counted = np.array([[t % 3, t % 5] for t in range(9)]).T[..., None]
    steps = 10 * np.asarray(transitions.action)[..., 1]
    np.testing.assert_allclose(steps, np.broadcast_to(counted, (2, 9, 3)), atol=1e-5)


class Summing(eqx.Module):
    """It remembers the rewards and the ends of all its episodes, and shows the rewards as its first action."""

    scale: jax.Array
    noise_size = 1

    def memory(self, axes):
        return jnp.zeros(axes), jnp.zeros(axes, int)

    def remember(self, memory, reward, ended):
        paid, ends = memory
        return paid + reward, ends + ended

    def __call__(self, observation, task, memory, noise):
        return jnp.stack([self.scale * memory[0], jnp.zeros_like(memory[0])], axis=-1), memory


@pytest.mark.parametrize("terminates", [False, True])
@pytest.mark.parametrize("kind", ["simulator", "imagination"])
def test_a_policy_may_remember_rewards_and_ends_over_episodes(point_with_wall, kind, terminates):
    family = point_with_wall(horizon=5)
    if not terminates:
        family = dataclasses.replace(family, terminal=never)
    world = Simulator(family) if kind == "simulator" else Imagination(family, Truth(), jnp.zeros((1, 2)))
    policies, tasks = Summing(jnp.array([-1.0, 0.5])), jnp.array([[0.3, 0.0], [-0.3, 0.0]])
    memory, before, ends = policies.memory((2, 3)), np.zeros((2, 3)), np.zeros((2, 3), int)
    for i in range(2):  # the second slot goes on with the memory of the first
        transitions, memory = continued(world, policies, memory, tasks, jax.random.key(i), 3, 9)
        action, reward, done = map(np.asarray, (transitions.action, transitions.reward, transitions.done))
        paid = before[:, None] + np.cumsum(reward, axis=1) - reward
        np.testing.assert_allclose(action[..., 0], np.asarray(policies.scale)[:, None, None] * paid, atol=1e-4)
        before, ends = before + reward.sum(axis=1), ends + done.sum(axis=1)
        np.testing.assert_array_equal(memory[1], ends)
    assert terminates == (ends.max() > 4) and np.abs(memory[0]).min() > 0


def test_other_memories_start_again_with_the_next_slot():
    family = registry.make("point/goal")
    explorers, tasks = Exploring(policies(family, 2), jnp.ones(2)), family.space.held_out(2)
    begun = explorers.memory((2, 3))
    transitions, memory = continued(Simulator(family), explorers, begun, tasks, jax.random.key(0), 3)
    for now, then in zip(jax.tree.leaves(memory), jax.tree.leaves(begun), strict=True):
        np.testing.assert_array_equal(now, then)
    np.testing.assert_array_equal(
        transitions.action, rollout(Simulator(family), explorers, tasks, jax.random.key(0), episodes=3).action
    )


def test_one_policy_for_all_tasks_acts_as_so_many_copies():
    family = registry.make("point/goal")
    tasks, one = family.space.held_out(3), jax.tree.map(lambda x: x[0], policies(family, 1))
    copies = rollout(Simulator(family), for_each(one, 3), tasks, jax.random.key(0), episodes=2)
    shared = rollout(Simulator(family), one, tasks, jax.random.key(0), episodes=2, shared=True)
    for a, b in zip(copies, shared, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_deterministic_rollouts_use_the_mean_and_the_last_step_ends_every_episode():
    family = registry.make("point/goal")
    tasks, agents = family.space.held_out(2), policies(family, 2)
    transitions = rollout(Simulator(family), agents, tasks, jax.random.key(0), episodes=2, steps=7, deterministic=True)
    mean = jax.jit(jax.vmap(lambda p, o: p.distribution(o).mean))(agents, transitions.observation)
    np.testing.assert_allclose(transitions.action, mean, atol=1e-6)
    truncated = np.asarray(transitions.truncated)
    assert truncated[:, -1].all() and not truncated[:, :-1].any()


def test_exploration_is_an_ornstein_uhlenbeck_process():
    family = registry.make("point/goal")
    silent = jax.tree.map(lambda x: jax.device_put(np.zeros_like(x)), policies(family, 1))
    silent = eqx.tree_at(
        lambda p: (p.log_std, p.observation.std), silent, (jnp.full((1, 2), -jnp.inf), jnp.ones((1, 2)))
    )
    transitions = rollout(
        Simulator(family), Exploring(silent, jnp.ones(1)), jnp.zeros((1, 2)), jax.random.key(0), episodes=500
    )
    noise = np.asarray(transitions.action)[0]  # [time, episode, action]
    np.testing.assert_allclose(noise[0].std(), 0.3, rtol=0.1)
    slope = (noise[1:] * noise[:-1]).sum() / (noise[:-1] ** 2).sum()
    assert slope == pytest.approx(0.85, abs=0.02)
    stationary = 0.3 / np.sqrt(1 - 0.85**2)
    assert noise[-1].std() == pytest.approx(stationary, rel=0.1)
