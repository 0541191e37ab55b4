"""DDPG: noise on the actor's weights finds its distance, Q is taught by the targets, a single task is learned."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms import presets
from onebody.algorithms.model_free import ddpg
from onebody.core import random
from onebody.core.nets import MLP, uniform
from onebody.learning.task_replay import Rows
from onebody.runs import evaluate
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

SMOKE = presets.preset("ddpg", "smoke")
POINT = registry.make("point/goal")


def new(**change):
    algorithm = ddpg.DDPG(POINT, dataclasses.replace(SMOKE, **change), Simulator(POINT))
    return algorithm, algorithm.init(jax.random.key(0)).learner


@functools.partial(jax.jit, static_argnames="n")
def rows(n, key=9, shift=0.0):
    keys = jax.random.split(jax.random.key(key), 5)
    draw = lambda k, size: shift + random.uniform(k, (n, size), low=-1.0, high=1.0)  # noqa: E731
    ended = jax.random.bernoulli(keys[4], 0.5, (n,)).astype(jnp.float32)
    reward = draw(keys[2], 1)[:, 0]
    return Rows(draw(keys[0], 2), draw(keys[1], 2), reward, reward, draw(keys[3], 2), ended)


def parted(learner):
    """The learner with targets of their own."""
    other = new()[0].init(jax.random.key(5)).learner
    return dataclasses.replace(learner, targets=other.targets)


@pytest.mark.parametrize("begin", [0.01, 4.0])
def test_parameter_noise_reaches_its_distance(begin):
    algorithm, learner = new(noise=0.2, batch=64)
    learner, batch = dataclasses.replace(learner, deviation=jax.device_put(begin)), rows(64).observation

    def step(learner, key):
        return ddpg.adapted(learner, batch, key, algorithm.config)

    distances = jax.jit(lambda learner, keys: jax.lax.scan(step, learner, keys)[1])
    result = np.asarray(distances(learner, jax.random.split(jax.random.key(1), 600)))
    assert result[-200:].mean() == pytest.approx(0.2, rel=0.05)
    assert not 0.1 < result[0] < 0.4


def test_noise_is_on_all_weights_has_its_deviation_and_is_another_one_each_episode():
    _, learner = new(hidden=(100, 100), noise=0.3)
    policies = ddpg.explorers(learner, jax.random.split(jax.random.key(0), 2))
    moved = jax.tree.map(np.subtract, policies.net, learner.actor.module)
    for weight in moved.weights:
        assert float(weight.std()) == pytest.approx(0.3, rel=0.1)
    assert all(np.abs(bias).min() > 0 for bias in moved.biases)
    assert np.abs(moved.weights[0][0] - moved.weights[0][1]).mean() > 0.1


def test_the_loss_of_the_critic_by_hand():
    critic = jax.jit(lambda key: MLP(key, (2, 1), jnp.tanh, [uniform(1.0)]))(jax.random.key(0))
    weights = [jnp.array([[2.0], [-1.0]])], [jnp.array([0.5])]
    critic = eqx.tree_at(lambda net: (net.weights, net.biases), critic, weights)
    inputs, action = np.float32([[1.0], [0.0]]), np.float32([[1.0], [3.0]])  # Q: 1.5, -2.5
    loss, metrics = jax.jit(ddpg.critic_loss, static_argnums=4)(critic, inputs, action, np.float32([1.0, -1.0]), 0.1)
    assert float(loss) == pytest.approx((0.25 + 2.25) / 2 + 0.05 * (4 + 1))
    assert float(metrics["critic/error"]) == pytest.approx(1.25**0.5)
    assert float(metrics["critic/value"]) == pytest.approx(-0.5)


@pytest.fixture(scope="module")
def updated():
    """A learner with targets of its own, a batch, and an update."""
    algorithm, learner = new(discount=0.7, target_rate=0.25)
    learner, batch = parted(learner), rows(6)
    return learner, batch, *jax.jit(ddpg.update, static_argnames="config")(learner, batch, config=algorithm.config)


def test_q_is_taught_by_the_targets_and_not_bootstrapped_from_terminal_states(updated):
    learner, batch, _, metrics = updated
    batch, (actor, critic) = jax.tree.map(np.asarray, batch), map(eqx.filter_jit, learner.targets)
    following = np.concatenate([batch.next_observation, np.tanh(actor(batch.next_observation))], axis=1)
    expected = batch.reward + 0.7 * np.where(batch.terminated == 1, 0.0, np.asarray(critic(following))[:, 0])
    now = eqx.filter_jit(learner.critic.module)(np.concatenate([batch.observation, batch.action], axis=1))
    error = np.sqrt(np.mean((np.asarray(now)[:, 0] - expected) ** 2))
    assert 0 < batch.terminated.mean() < 1
    assert float(metrics["critic/error"]) == pytest.approx(error, rel=1e-4)


def test_targets_follow_by_their_share(updated):
    learner, _, moved, _ = updated
    for before, after, net in zip(
        learner.targets, moved.targets, (moved.actor.module, moved.critic.module), strict=True
    ):
        expected = 0.75 * np.asarray(before.weights[1]) + 0.25 * np.asarray(net.weights[1])
        np.testing.assert_allclose(after.weights[1], expected, rtol=1e-5, atol=1e-7)


def test_new_statistics_change_no_action_and_no_value():
    _, learner = new()
    renormalized = jax.jit(ddpg.Learner.renormalized)
    learner = renormalized(parted(learner), rows(50))
    moved, batch = renormalized(learner, rows(200, key=3, shift=2.0)), rows(20)
    assert np.abs(np.subtract(moved.observation.mean, learner.observation.mean)).min() > 1.0

    @jax.jit
    def results(learner):
        inputs = learner.observation(batch.observation)
        value = learner.critic.module(jnp.concatenate([inputs, batch.action], axis=1))
        return value, learner.actor.module(inputs), learner.targets[0](inputs)

    for before, after in zip(results(learner), results(moved), strict=True):
        np.testing.assert_allclose(before, after, atol=1e-5)


def test_a_single_task_is_learned_from_its_own_samples():
    """Standing still has -15.6, the optimum about -2.5."""
    rates = {"learning_rate": 3e-3, "critic_rate": 3e-3, "discount": 0.8}
    algorithm, _ = new(episodes=10, n_gradient=40, batch=64, hidden=(32, 32), critic_hidden=(32, 32), **rates)
    state, tasks = algorithm.init(jax.random.key(0)), jnp.array([[-0.5, 0.6]])
    stages, used = zip(*evaluate.stages_of(algorithm, state, tasks, 6, seed=3), strict=True)
    before, after = (float(evaluate.real_return(POINT, stages[i].policies, tasks).mean()) for i in (0, -1))
    assert used == tuple(200 * i for i in range(7))
    assert after > -5.0 and before < -10.0, (before, after)
