"""Half precision compared with single precision."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.core import random
from onebody.core.half import ROWS
from onebody.core.nets import MLP, fan_in, normed_silu


def network(half):
    net = MLP(jax.random.key(0), (7, 40, 50, 60, 3), jax.nn.relu, [fan_in(1.4)] * 4, half)
    return eqx.tree_at(lambda n: n.biases, net, [bias + 0.1 for bias in net.biases])


HALF, SINGLE = network(True), network(False)


def rows(n):
    return random.normal(jax.random.key(1), (2, n // 2, 7))


def test_it_rounds_and_does_no_more():
    """Factors have eight bits: three of a thousand off, one by one, and less in sum."""
    x = rows(ROWS)
    half, single = HALF(x), SINGLE(x)
    assert half.shape == single.shape and half.dtype == jnp.float32
    assert 1e-4 < float(jnp.std(half - single) / jnp.std(single)) < 0.01


def test_it_is_half_precision_that_is_used():
    assert "bf16" in str(jax.make_jaxpr(HALF)(rows(ROWS))) and "bf16" not in str(jax.make_jaxpr(SINGLE)(rows(ROWS)))


def test_values_are_the_same_with_a_gradient_and_of_many_networks_at_once():
    x = rows(ROWS)
    value, _ = jax.value_and_grad(lambda x: jnp.sum(HALF(x) ** 2))(x)
    assert float(value) == pytest.approx(float(jnp.sum(HALF(x) ** 2)), rel=1e-3)
    several = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), HALF)
    outputs = jax.jit(jax.vmap(lambda net: net(x)))(several)
    np.testing.assert_allclose(outputs[0], HALF(x), rtol=1e-3, atol=1e-3)


def test_activations_of_several_units_and_networks_without_hidden_layers():
    with pytest.raises(ValueError, match="needs an elementwise activation"):
        MLP(jax.random.key(0), (7, 40, 3), normed_silu, [fan_in(1.0)] * 2, half=True)
    x = rows(ROWS)
    alone = MLP(jax.random.key(0), (7, 3), jax.nn.relu, [fan_in(1.0)], half=True)
    np.testing.assert_array_equal(alone(x), x @ alone.weights[0] + alone.biases[0])


@pytest.mark.parametrize("size", [2, ROWS - 2])
def test_few_rows_are_in_single_precision(size):
    np.testing.assert_array_equal(HALF(rows(size)), SINGLE(rows(size)))


def test_gradients_are_those_of_single_precision():
    """Of each weight, each bias and the inputs."""

    def loss(parts):
        net, x = parts
        return jnp.sum(jnp.sin(net(x)))

    half, single = (jax.tree.leaves(eqx.filter_grad(loss)((net, rows(2 * ROWS)))) for net in (HALF, SINGLE))
    assert len(half) == len(single) == 9
    for actual, expected in zip(half, single, strict=True):
        cosine = jnp.vdot(actual, expected) / jnp.linalg.norm(actual) / jnp.linalg.norm(expected)
        assert actual.shape == expected.shape and float(cosine) > 0.99
        assert float(jnp.linalg.norm(actual) / jnp.linalg.norm(expected)) == pytest.approx(1.0, abs=0.02)
