import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms.omni import first_order
from onebody.algorithms.omni.first_order import FirstOrderConfig, Windows, new_agent
from onebody.core import random
from onebody.core.nets import Normalizer, trainable
from onebody.learning.policies import ConditionedPolicy

imagine = jax.jit(first_order.imagine, static_argnums=(1, 2, 8))
CONFIG = FirstOrderConfig(hidden=(16, 16), batch=32, window=4, entropy=0.01)
SILENT = jnp.zeros((0, 32, 2))
"""No noisy copies, so that the gradient does not see the end of an episode"""
KEY = jax.random.key(0)
"""Of a deterministic model"""


def model(key, observation, action):
    return observation + 0.3 * jnp.sin(observation) * 0.1 + 0.1 * action


def outcome(observation, action, next_observation, tasks):
    """A smooth reward; an episode ends where the first coordinate passes one."""
    reward = -jnp.sum((next_observation - tasks) ** 2, -1) - 0.1 * jnp.sum(action**2, -1)
    return reward, next_observation[:, 0] > 1.0


@functools.partial(jax.jit, static_argnames="n")
def problem(seed=0, n=32):
    start_key, task_key = jax.random.split(jax.random.key(seed))
    start = 0.8 * random.normal(start_key, (n, 2))
    return start, random.uniform(task_key, (n, 2), low=-1.0)


@functools.partial(jax.jit, static_argnames="config")
def agent(config=CONFIG):
    return new_agent(jax.random.key(0), Normalizer(2), Normalizer(2), 2, config)


def test_the_gradient_is_that_of_finite_differences():
    """Through model, reward, squashing, entropy and terminal value, with rows that end on their way."""
    start, tasks = problem()
    one = agent()
    policy = one.policy.module
    parameters, fixed = eqx.partition(policy, trainable(policy))
    noise = random.normal(jax.random.key(3), (CONFIG.window, 32, 2))
    flat, unflatten = jax.flatten_util.ravel_pytree(parameters)
    direction = np.asarray(random.normal(jax.random.key(4), flat.shape))

    @jax.jit
    def objective(flat):
        moved = eqx.combine(unflatten(flat), fixed)
        windows = first_order.imagine(moved, model, outcome, start, tasks, noise, SILENT, KEY, CONFIG)
        return first_order.objective(windows, one.targets, tasks, CONFIG)

    exact = np.vdot(jax.jit(jax.grad(objective))(flat), direction)
    step, flat = 1e-2 / np.linalg.norm(direction), np.asarray(flat)
    numeric = np.subtract(*(objective(flat + sign * step * direction) for sign in (1, -1))) / (2 * step)
    assert abs(float(exact)) > 1e-3
    np.testing.assert_allclose(exact, numeric, rtol=2e-2)


def test_the_objective_stops_at_the_end_of_an_episode():
    start, tasks = problem()
    one, still = agent(), np.zeros((4, 32, 2), np.float32)
    windows = imagine(one.policy.module, model, outcome, start, tasks, still, SILENT, KEY, CONFIG)
    last = np.asarray(eqx.filter_jit(one.targets)(windows.next_observation[3], tasks)).min(0)
    reward, entropy, terminated = map(np.asarray, (windows.reward, windows.entropy, windows.terminated))
    ended = terminated.cumsum(0)
    alive = np.concatenate([np.ones((1, 32)), 1.0 - (ended > 0)])[:4]
    np.testing.assert_array_equal(windows.alive, alive)
    assert 0 < (alive[-1] == 0).sum() < 32
    by_hand = []
    for row in range(32):
        total, t = 0.0, 0
        while t < 4 and alive[t, row]:
            total += CONFIG.discount**t * float(reward[t, row] + CONFIG.entropy * entropy[t, row])
            t += 1
        if t == 4 and not terminated[3, row]:
            total += CONFIG.discount**4 * float(last[row])
        by_hand.append(total / 4)
    result = jax.jit(lambda windows: first_order.objective(windows, one.targets, tasks, CONFIG))(windows)
    np.testing.assert_allclose(result, np.mean(by_hand), rtol=1e-5)


def test_noisy_copies_have_the_slope_of_the_probability_of_an_end():
    """Terminal above 1: at a distance of one and of two deviations the slope is the normal density there."""
    scale = np.float32([0.2, 0.5])
    noise = random.normal(jax.random.key(5), (20_000, 3, 2))
    state = np.float32([[0.8, 3.0], [0.6, -3.0], [1.2, 0.0]])

    @jax.jit
    def end(state, scale):
        return first_order.end_probability(lambda state: state[:, 0] > 1.0, state, noise, scale)

    np.testing.assert_array_equal(end(state, scale), 0.0)
    slope = np.asarray(jax.jit(jax.grad(lambda *given: end(*given).sum()))(state, scale))
    density = np.exp(-0.5 * np.array([1.0, 4.0, 1.0])) / np.sqrt(2 * np.pi) / 0.2
    np.testing.assert_allclose(slope[:, 0], density, atol=0.1)
    np.testing.assert_allclose(slope[:, 1], 0.0, atol=0.05)


def reached_on_a_cliff(draws):
    """Steps, of 40, that a policy survives that has learned where reward rises up to a cliff at 1."""
    config = FirstOrderConfig(hidden=(32, 32), batch=64, window=6, learning_rate=2e-3, end_draws=draws, end_noise=0.1)
    towards = lambda key, observation, action: observation + 0.25 * action  # noqa: E731
    over = lambda observation, action, after, tasks: (1.0 + 2.0 * after[:, 0], after[:, 0] > 1.0)  # noqa: E731
    one = jax.jit(lambda key: new_agent(key, Normalizer(1), Normalizer(0), 1, config))(jax.random.key(0))

    def step(one, key):
        start = random.uniform(key, (64, 1), low=-1.0, high=0.95)
        return first_order.update(one, towards, over, start, jnp.zeros((64, 0)), key, config)

    one, _ = jax.jit(lambda one, keys: jax.lax.scan(step, one, keys))(one, jax.random.split(jax.random.key(1), 400))
    start, tasks, still, silent = (np.zeros(shape, np.float32) for shape in ((2, 1), (2, 0), (40, 2, 1), (0, 2, 1)))
    start[:, 0] = -0.5, 0.5
    windows = imagine(one.policy.module, towards, over, start, tasks, still, silent, KEY, config)
    return np.asarray(windows.alive).sum(0)


def test_the_end_of_an_episode_is_avoided_where_the_gradient_sees_it():
    np.testing.assert_array_equal(reached_on_a_cliff(draws=8), 40)
    assert (reached_on_a_cliff(draws=0) < 10).all()


def test_td_lambda_by_hand():
    """Values 10 everywhere; the second row ends in its second step."""

    class Ten(eqx.Module):
        def __call__(self, observation, task):
            return jnp.stack([jnp.full(observation.shape[:-1], 10.0), jnp.full(observation.shape[:-1], 11.0)])

    config = dataclasses.replace(CONFIG, window=3, discount=0.5, trace=0.5)
    zero = np.zeros((3, 2, 2), np.float32)
    ends = np.float32([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    reward = np.float32([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    windows = Windows(zero, zero, reward, zero[..., 0], zero[..., 0], ends, zero[..., 0])
    result = jax.jit(first_order.td_lambda, static_argnums=3)(windows, Ten(), np.zeros((2, 2), np.float32), config)
    result = np.asarray(result)
    third = 3 + 0.5 * 10
    second = 2 + 0.5 * (0.5 * 10 + 0.5 * third)
    np.testing.assert_allclose(result[:, 0], [1 + 0.5 * (0.5 * 10 + 0.5 * second), second, third], rtol=1e-6)
    np.testing.assert_allclose(result[:2, 1], [1 + 0.5 * (0.5 * 10 + 0.5 * 2), 2.0], rtol=1e-6)


def test_updates_improve_the_policy_for_every_task():
    """A point that is to go to its task; values learn what the policy reaches."""
    config = dataclasses.replace(CONFIG, hidden=(32, 32), batch=64, window=8, learning_rate=3e-3)
    far = lambda observation, action, next_observation, tasks: (  # noqa: E731
        -jnp.sum((next_observation - tasks) ** 2, -1),
        jnp.zeros(len(tasks), bool),
    )

    @jax.jit
    def update(one, key):
        start, tasks = problem(0, 64)
        tasks = random.uniform(key, (64, 2), low=-1.0)
        return first_order.update(one, model, far, start, tasks, key, config)[0]

    one = agent(config)
    start, tasks = problem(7)
    distance = []

    @jax.jit
    def after(policy):
        move = lambda _, at: model(KEY, at, policy(at, tasks, (), jnp.zeros((32, 2)))[0])  # noqa: E731
        return jax.lax.fori_loop(0, 30, move, start)

    for i in range(151):
        if i % 150 == 0:
            distance.append(float(jnp.linalg.norm(after(one.policy.module) - tasks, axis=-1).mean()))
        one = update(one, jax.random.key(i))
    assert distance[0] > 0.8 and distance[1] < 0.3


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def new_policy(observations, tasks, actions):
    return ConditionedPolicy(jax.random.key(0), (8,), Normalizer(observations), Normalizer(tasks), actions)


def test_the_squashed_gaussian():
    policy = new_policy(3, 1, 2)
    observation = random.normal(jax.random.key(1), (5, 3))

    @jax.jit
    def results(policy):
        task, silence = jnp.ones((5, 1)), jnp.zeros((5, 2))
        action, entropy = policy.sample(observation, task, silence)
        before = policy.distribution(observation, task)
        return action, entropy, policy(observation, task[0], (), silence)[0], before.log_prob(before.mean)

    action, entropy, acted, log_prob = map(np.asarray, results(policy))
    np.testing.assert_allclose(action, acted, atol=1e-6)
    # the density of a squashed action: that of the Gaussian over the slope of tanh
    np.testing.assert_allclose(-entropy, log_prob - np.log(1 - action**2).sum(-1), rtol=1e-4, atol=1e-5)
    assert policy.noise_size == 2 and policy.memory((3,)) == ()


@pytest.mark.parametrize("x", [-20.0, 0.0, 20.0])
def test_the_entropy_is_finite_where_the_action_is_at_its_limit(x):
    policy = eqx.tree_at(lambda p: p.net.biases[-1], new_policy(1, 1, 1), np.float32([x, 0.0]))
    entropy = lambda n, policy: policy.sample(jnp.zeros((1, 1)), jnp.zeros((1, 1)), n)[1].sum()  # noqa: E731
    value, slope = jax.jit(jax.value_and_grad(entropy))(np.ones((1, 1), np.float32), policy)
    assert np.isfinite(value) and np.isfinite(slope).all()
