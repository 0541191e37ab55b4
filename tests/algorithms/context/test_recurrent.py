import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms.context.recurrent import KEPT, Memory, RecurrentNet, RecurrentPolicy
from onebody.core import random
from onebody.learning.policies import Remembering, for_each


def test_a_step_by_hand():
    """One unit, one input; update gate, reset gate, candidate."""
    net = RecurrentNet(jax.random.key(0), 1, 1, 1)
    weights = jnp.array([[1.0, 2.0, 3.0]]), jnp.array([[0.5, -1.0, 2.0]]), jnp.array([0.1, 0.2, 0.3])
    net = eqx.tree_at(lambda n: (n.inputs.weights[0], n.recurrent, n.inputs.biases[0]), net, weights)
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    x, h = 0.4, -0.6
    kept, reset = sigmoid(x + 0.5 * h + 0.1), sigmoid(2 * x - h + 0.2)
    candidate = math.tanh(3 * x + 2 * reset * h + 0.3)
    result = net.step(jnp.array([x]), jnp.array([h]))
    assert float(result[0]) == pytest.approx(kept * h + (1 - kept) * candidate, rel=1e-5)


@pytest.mark.parametrize("steps", [KEPT - 3, 2 * KEPT, 2 * KEPT + 1])
def test_whole_trials_are_steps_in_a_row(steps):
    net = RecurrentNet(jax.random.key(0), 3, 2, 4)
    inputs = random.normal(jax.random.key(1), (steps, 5, 3 + 2 + 2))

    def one_by_one(net):
        hidden, means = jnp.zeros((5, 4)), []
        for row in inputs:
            hidden = net.step(row, hidden)
            means.append(net.distribution(hidden).mean)
        return jnp.stack(means)

    np.testing.assert_allclose(net.trial(inputs).mean, one_by_one(net), atol=1e-6)
    weigh = random.normal(jax.random.key(2), (steps, 5, 2))
    slope = lambda means: eqx.filter_grad(lambda net: (means(net) * weigh).sum())(net)  # noqa: E731
    slopes = slope(lambda net: net.trial(inputs).mean), slope(one_by_one)
    for result, expected in zip(*map(jax.tree.leaves, slopes), strict=True):
        np.testing.assert_allclose(result, expected, atol=1e-4)


def test_a_policy_sees_how_the_last_step_went_and_begins_with_its_own_memory():
    net = RecurrentNet(jax.random.key(0), 3, 2, 4)
    start = Memory(jnp.full(4, 0.5), jnp.array([1.0, -1.0]), jnp.array(2.0), jnp.array(True))
    policy = RecurrentPolicy(net, start)
    assert isinstance(policy, Remembering)
    memory = policy.memory((6,))
    assert [x.shape for x in memory] == [(6, 4), (6, 2), (6,), (6,)]
    observation, noise = random.normal(jax.random.key(1), (2, 6, 3))[0], jnp.zeros((6, 2))
    action, after = policy(observation, jnp.zeros(0), memory, noise)
    inputs = jnp.concatenate([observation, jnp.tile(jnp.array([1.0, -1.0, 2.0, 1.0]), (6, 1))], axis=1)
    hidden = net.step(inputs, jnp.full((6, 4), 0.5))
    np.testing.assert_allclose(action, net.distribution(hidden).mean, atol=1e-6)
    told = policy.remember(after, jnp.arange(6.0), jnp.zeros(6, bool))
    np.testing.assert_allclose(told.hidden, hidden, atol=1e-6)
    np.testing.assert_array_equal(told.action, action)
    np.testing.assert_array_equal(told.reward, np.arange(6.0))
    np.testing.assert_array_equal(
        net.inputs_of(observation, *told[1:])[:, -2:], np.stack([np.arange(6.0), np.zeros(6)], axis=1)
    )


def test_stacked_policies_begin_each_with_its_own_memory():
    net = RecurrentNet(jax.random.key(0), 3, 2, 4)
    start = Memory(jnp.arange(8.0).reshape(2, 4), jnp.zeros((2, 2)), jnp.array([1.0, 2.0]), jnp.array([True, False]))
    memory = RecurrentPolicy(for_each(net, 2), start).memory((2, 3))
    assert [x.shape for x in memory] == [(2, 3, 4), (2, 3, 2), (2, 3), (2, 3)]
    np.testing.assert_array_equal(memory.hidden[1], np.broadcast_to(np.arange(4.0, 8.0), (3, 4)))
    np.testing.assert_array_equal(memory.reward, [[1.0] * 3, [2.0] * 3])
