import dataclasses

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


def problem(seed=0, n=32):
    start_key, task_key = jax.random.split(jax.random.key(seed))
    start = 0.8 * random.normal(start_key, (n, 2))
    return start, random.uniform(task_key, (n, 2), low=-1.0)


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
    direction = random.normal(jax.random.key(4), flat.shape)

    @jax.jit
    def objective(flat):
        moved = eqx.combine(unflatten(flat), fixed)
        windows = first_order.imagine(moved, model, outcome, start, tasks, noise, SILENT, KEY, CONFIG)
        return first_order.objective(windows, one.targets, tasks, CONFIG)

    exact = jnp.vdot(jax.grad(objective)(flat), direction)
    step = 1e-2 / jnp.linalg.norm(direction)
    numeric = (objective(flat + step * direction) - objective(flat - step * direction)) / (2 * step)
    assert abs(float(exact)) > 1e-3
    np.testing.assert_allclose(exact, numeric, rtol=2e-2)


def test_the_objective_stops_at_the_end_of_an_episode():
    start, tasks = problem()
    windows = first_order.imagine(
        agent().policy.module, model, outcome, start, tasks, jnp.zeros((4, 32, 2)), SILENT, KEY, CONFIG
    )
    ended = np.asarray(windows.terminated).cumsum(0)
    alive = np.concatenate([np.ones((1, 32)), 1.0 - (ended > 0)])[:4]
    np.testing.assert_array_equal(windows.alive, alive)
    assert 0 < (alive[-1] == 0).sum() < 32
    by_hand = []
    for row in range(32):
        total, t = 0.0, 0
        while t < 4 and alive[t, row]:
            total += CONFIG.discount**t * float(windows.reward[t, row] + CONFIG.entropy * windows.entropy[t, row])
            t += 1
        if t == 4 and not windows.terminated[3, row]:
            last = agent().targets(windows.next_observation[3, row], tasks[row])
            total += CONFIG.discount**4 * float(last.min())
        by_hand.append(total / 4)
    result = first_order.objective(windows, agent().targets, tasks, CONFIG)
    np.testing.assert_allclose(result, np.mean(by_hand), rtol=1e-5)


def test_noisy_copies_have_the_slope_of_the_probability_of_an_end():
    """Terminal above 1: at a distance of one and of two deviations the slope is the normal density there."""
    scale = jnp.array([0.2, 0.5])
    noise = random.normal(jax.random.key(5), (20_000, 3, 2))
    state = jnp.array([[0.8, 3.0], [0.6, -3.0], [1.2, 0.0]])

    def end(state):
        return first_order.end_probability(lambda state: state[:, 0] > 1.0, state, noise, scale)

    np.testing.assert_array_equal(end(state), 0.0)
    slope = jax.grad(lambda state: end(state).sum())(state)
    density = np.exp(-0.5 * np.array([1.0, 4.0, 1.0])) / np.sqrt(2 * np.pi) / 0.2
    np.testing.assert_allclose(slope[:, 0], density, atol=0.1)
    np.testing.assert_allclose(slope[:, 1], 0.0, atol=0.05)


def reached_on_a_cliff(draws):
    """Steps, of 40, that a policy survives that has learned where reward rises up to a cliff at 1."""
    config = FirstOrderConfig(hidden=(32, 32), batch=64, window=6, learning_rate=2e-3, end_draws=draws, end_noise=0.1)
    towards = lambda key, observation, action: observation + 0.25 * action  # noqa: E731
    over = lambda observation, action, after, tasks: (1.0 + 2.0 * after[:, 0], after[:, 0] > 1.0)  # noqa: E731
    one = new_agent(jax.random.key(0), Normalizer(1), Normalizer(0), 1, config)

    def step(one, key):
        start = random.uniform(key, (64, 1), low=-1.0, high=0.95)
        return first_order.update(one, towards, over, start, jnp.zeros((64, 0)), key, config)

    one, _ = jax.jit(lambda one, keys: jax.lax.scan(step, one, keys))(one, jax.random.split(jax.random.key(1), 400))
    start, still, silent = jnp.array([[-0.5], [0.5]]), jnp.full((40, 2, 1), 0.0), jnp.zeros((0, 2, 1))
    windows = first_order.imagine(
        one.policy.module, towards, over, start, jnp.zeros((2, 0)), still, silent, KEY, config
    )
    return windows.alive.sum(0)


def test_the_end_of_an_episode_is_avoided_where_the_gradient_sees_it():
    np.testing.assert_array_equal(reached_on_a_cliff(draws=8), 40)
    assert (reached_on_a_cliff(draws=0) < 10).all()


def test_td_lambda_by_hand():
    """Values 10 everywhere; the second row ends in its second step."""

    class Ten(eqx.Module):
        def __call__(self, observation, task):
            return jnp.stack([jnp.full(observation.shape[:-1], 10.0), jnp.full(observation.shape[:-1], 11.0)])

    config = dataclasses.replace(CONFIG, window=3, discount=0.5, trace=0.5)
    zero = jnp.zeros((3, 2, 2))
    ends = jnp.array([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    windows = Windows(
        zero, zero, jnp.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), zero[..., 0], zero[..., 0], ends, zero[..., 0]
    )
    result = first_order.td_lambda(windows, Ten(), jnp.zeros((2, 2)), config)
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
    for i in range(151):
        if i % 150 == 0:
            position = start
            for _ in range(30):
                position = model(KEY, position, one.policy.module(position, tasks, (), jnp.zeros((32, 2)))[0])
            distance.append(float(jnp.linalg.norm(position - tasks, axis=-1).mean()))
        one = update(one, jax.random.key(i))
    assert distance[0] > 0.8 and distance[1] < 0.3


def test_the_squashed_gaussian():
    policy = ConditionedPolicy(jax.random.key(0), (8,), Normalizer(3), Normalizer(1), 2)
    observation = random.normal(jax.random.key(1), (5, 3))
    action, entropy = policy.sample(observation, jnp.ones((5, 1)), jnp.zeros((5, 2)))
    np.testing.assert_allclose(action, policy(observation, jnp.ones(1), (), jnp.zeros((5, 2)))[0], atol=1e-6)
    # the density of a squashed action: that of the Gaussian over the slope of tanh
    before = policy.distribution(observation, jnp.ones((5, 1)))
    np.testing.assert_allclose(
        -entropy, before.log_prob(before.mean) - jnp.log(1 - action**2).sum(-1), rtol=1e-4, atol=1e-5
    )
    assert policy.noise_size == 2 and policy.memory((3,)) == ()


@pytest.mark.parametrize("x", [-20.0, 0.0, 20.0])
def test_the_entropy_is_finite_where_the_action_is_at_its_limit(x):
    policy = ConditionedPolicy(jax.random.key(0), (8,), Normalizer(1), Normalizer(1), 1)
    policy = eqx.tree_at(lambda p: p.net.biases[-1], policy, jnp.array([x, 0.0]))
    entropy = lambda n: policy.sample(jnp.zeros((1, 1)), jnp.zeros((1, 1)), n)[1].sum()  # noqa: E731
    value, slope = jax.value_and_grad(entropy)(jnp.ones((1, 1)))
    assert np.isfinite(value) and np.isfinite(slope).all()
