"""Half precision beside single precision."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.core.half import ROWS
from onebody.core.nets import MLP, fan_in


def network(half):
    net = MLP(jax.random.key(0), (7, 40, 50, 60, 3), jax.nn.relu, [fan_in(1.4)] * 4, half)
    return eqx.tree_at(lambda n: n.biases, net, [bias + 0.1 for bias in net.biases])


HALF, SINGLE = network(True), network(False)


def rows(n):
    return jax.random.normal(jax.random.key(1), (2, n // 2, 7))


def test_it_rounds_and_does_no_more():
    """Factors have eight bits: three of a thousand off, one by one, and less in sum."""
    x = rows(ROWS)
    half, single = HALF(x), SINGLE(x)
    assert half.shape == single.shape and half.dtype == jnp.float32
    assert 1e-4 < float(jnp.std(half - single) / jnp.std(single)) < 0.01


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
    for found, wanted in zip(half, single, strict=True):
        cosine = jnp.vdot(found, wanted) / jnp.linalg.norm(found) / jnp.linalg.norm(wanted)
        assert found.shape == wanted.shape and float(cosine) > 0.99
        assert float(jnp.linalg.norm(found) / jnp.linalg.norm(wanted)) == pytest.approx(1.0, abs=0.02)
