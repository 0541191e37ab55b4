import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms.context.recurrent import KEPT, Memory, RecurrentNet, RecurrentPolicy
from onebody.core import random
from onebody.learning.policies import Remembering, for_each

step = jax.jit(RecurrentNet.step)
mean = jax.jit(lambda net, hidden: net.distribution(hidden).mean)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def new_net(*sizes):
    return RecurrentNet(jax.random.key(0), *sizes)


def test_a_step_by_hand():
    """One unit, one input; update gate, reset gate, candidate."""
    net = new_net(1, 1, 1)
    weights = jnp.array([[1.0, 2.0, 3.0]]), jnp.array([[0.5, -1.0, 2.0]]), jnp.array([0.1, 0.2, 0.3])
    net = eqx.tree_at(lambda n: (n.inputs.weights[0], n.recurrent, n.inputs.biases[0]), net, weights)
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    x, h = 0.4, -0.6
    kept, reset = sigmoid(x + 0.5 * h + 0.1), sigmoid(2 * x - h + 0.2)
    candidate = math.tanh(3 * x + 2 * reset * h + 0.3)
    result = step(net, np.float32([x]), np.float32([h]))
    assert result.item() == pytest.approx(kept * h + (1 - kept) * candidate, rel=1e-5)


@pytest.mark.parametrize("steps", [KEPT - 3, 2 * KEPT, 2 * KEPT + 1])
def test_whole_trials_are_steps_in_a_row(steps):
    net = new_net(3, 2, 4)
    inputs = random.normal(jax.random.key(1), (steps, 5, 3 + 2 + 2))

    def one_by_one(net):
        hidden, means = np.zeros((5, 4), np.float32), []
        for row in np.asarray(inputs):
            hidden = step(net, row, hidden)
            means.append(mean(net, hidden))
        return jnp.stack(means)

    at_once = jax.jit(lambda net: net.trial(inputs).mean)
    np.testing.assert_allclose(at_once(net), one_by_one(net), atol=1e-6)
    weigh = random.normal(jax.random.key(2), (steps, 5, 2))
    slope = lambda means: jax.grad(lambda net: (means(net) * weigh).sum())(net)  # noqa: E731
    slopes = slope(at_once), slope(one_by_one)
    for result, expected in zip(*map(jax.tree.leaves, slopes), strict=True):
        np.testing.assert_allclose(result, expected, atol=1e-4)


def test_a_policy_sees_how_the_last_step_went_and_begins_with_its_own_memory():
    net = new_net(3, 2, 4)
    start = Memory(jnp.full(4, 0.5), jnp.array([1.0, -1.0]), jnp.array(2.0), jnp.array(True))
    policy = RecurrentPolicy(net, start)
    assert isinstance(policy, Remembering)
    memory = policy.memory((6,))
    assert [x.shape for x in memory] == [(6, 4), (6, 2), (6,), (6,)]
    observation, noise = np.asarray(random.normal(jax.random.key(1), (2, 6, 3)))[0], np.zeros((6, 2), np.float32)
    action, after = eqx.filter_jit(policy)(observation, np.zeros(0, np.float32), memory, noise)
    inputs = np.concatenate([observation, np.tile(np.float32([1.0, -1.0, 2.0, 1.0]), (6, 1))], axis=1)
    hidden = step(net, inputs, np.full((6, 4), np.float32(0.5)))
    np.testing.assert_allclose(action, mean(net, hidden), atol=1e-6)
    told = policy.remember(after, np.arange(6, dtype=np.float32), np.zeros(6, bool))
    np.testing.assert_allclose(told.hidden, hidden, atol=1e-6)
    np.testing.assert_array_equal(told.action, action)
    np.testing.assert_array_equal(told.reward, np.arange(6.0))
    seen = np.asarray(jax.jit(RecurrentNet.inputs_of)(net, observation, *told[1:]))
    np.testing.assert_array_equal(seen[:, -2:], np.stack([np.arange(6.0), np.zeros(6)], axis=1))


def test_stacked_policies_begin_each_with_its_own_memory():
    net = new_net(3, 2, 4)
    start = Memory(jnp.arange(8.0).reshape(2, 4), jnp.zeros((2, 2)), jnp.array([1.0, 2.0]), jnp.array([True, False]))
    memory = RecurrentPolicy(for_each(net, 2), start).memory((2, 3))
    assert [x.shape for x in memory] == [(2, 3, 4), (2, 3, 2), (2, 3), (2, 3)]
    np.testing.assert_array_equal(memory.hidden[1], np.broadcast_to(np.arange(4.0, 8.0), (3, 4)))
    np.testing.assert_array_equal(memory.reward, [[1.0] * 3, [2.0] * 3])
