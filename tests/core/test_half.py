"""Half precision compared with single precision."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.core import random
from onebody.core.half import ROWS
from onebody.core.nets import MLP, fan_in, normed_silu


@partial(jax.jit, static_argnums=0)
def network(half):
    net = MLP(jax.random.key(0), (7, 40, 50, 60, 3), jax.nn.relu, [fan_in(1.4)] * 4, half)
    return eqx.tree_at(lambda n: n.biases, net, [bias + 0.1 for bias in net.biases])


HALF, SINGLE = network(True), network(False)
output = jax.jit(MLP.__call__)


def rows(n):
    return random.normal(jax.random.key(1), (2, n // 2, 7))


def test_it_rounds_and_does_no_more():
    """Factors have eight bits: three of a thousand off, one by one, and less in sum."""
    x = rows(ROWS)
    half, single = (np.asarray(output(net, x)) for net in (HALF, SINGLE))
    assert half.shape == single.shape and half.dtype == np.float32
    assert 1e-4 < np.std(half - single) / np.std(single) < 0.01


def test_it_is_half_precision_that_is_used():
    assert "bf16" in str(jax.make_jaxpr(HALF)(rows(ROWS))) and "bf16" not in str(jax.make_jaxpr(SINGLE)(rows(ROWS)))


def test_values_are_the_same_with_a_gradient_and_of_many_networks_at_once():
    x = rows(ROWS)
    value, _ = jax.jit(jax.value_and_grad(lambda x: jnp.sum(HALF(x) ** 2)))(x)
    plain = np.asarray(output(HALF, x))
    assert float(value) == pytest.approx(float(np.sum(plain**2)), rel=1e-3)
    several = jax.tree.map(lambda leaf: np.stack([leaf, 2 * np.asarray(leaf)]), HALF)
    outputs = np.asarray(jax.jit(jax.vmap(lambda net: net(x)))(several))
    np.testing.assert_allclose(outputs[0], plain, rtol=1e-3, atol=1e-3)


def test_activations_of_several_units_and_networks_without_hidden_layers():
    with pytest.raises(ValueError, match="needs an elementwise activation"):
        MLP(jax.random.key(0), (7, 40, 3), normed_silu, [fan_in(1.0)] * 2, half=True)
    x = rows(ROWS)
    alone = jax.jit(lambda key: MLP(key, (7, 3), jax.nn.relu, [fan_in(1.0)], half=True))(jax.random.key(0))
    plain = jax.jit(lambda net, x: x @ net.weights[0] + net.biases[0])
    np.testing.assert_array_equal(output(alone, x), plain(alone, x))


@pytest.mark.parametrize("size", [2, ROWS - 2])
def test_few_rows_are_in_single_precision(size):
    np.testing.assert_array_equal(output(HALF, rows(size)), output(SINGLE, rows(size)))


def test_gradients_are_those_of_single_precision():
    """Of each weight, each bias and the inputs."""

    def loss(parts):
        net, x = parts
        return jnp.sum(jnp.sin(net(x)))

    slope = jax.jit(jax.grad(loss))
    half, single = (jax.tree.leaves(slope((net, rows(2 * ROWS)))) for net in (HALF, SINGLE))
    assert len(half) == len(single) == 9
    for actual, expected in zip(half, single, strict=True):
        assert actual.shape == expected.shape
        actual, expected = np.ravel(actual), np.ravel(expected)
        assert np.vdot(actual, expected) / np.linalg.norm(actual) / np.linalg.norm(expected) > 0.99
        assert np.linalg.norm(actual) / np.linalg.norm(expected) == pytest.approx(1.0, abs=0.02)
