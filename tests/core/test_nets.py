import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onebody.core import random
from onebody.core.nets import (
    MLP,
    Normalizer,
    normalized_columns,
    normed_relu,
    normed_silu,
    normed_tanh,
    renormalized,
    trainable,
)

update, normalized, inverse = map(jax.jit, (Normalizer.update, Normalizer.__call__, Normalizer.inverse))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.sampled_from([1, 2, 30]), min_size=1, max_size=4), st.integers(0, 1000))
def test_normalizer_merges_batches_to_the_statistics_of_all(sizes, seed):
    rng = np.random.default_rng(seed)
    batches = [rng.normal(3.0, 2.0, (n, 2)).astype(np.float32) for n in sizes]
    normalizer = Normalizer(2)
    for batch in batches:
        normalizer = update(normalizer, batch)
    rows = np.concatenate(batches)
    np.testing.assert_allclose(normalizer.mean, rows.mean(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(normalizer.std, np.maximum(rows.std(0), 1e-6), rtol=1e-3, atol=1e-3)


def test_normalizer_inverts_and_keeps_constants_finite():
    normalizer = update(Normalizer(2), np.float32([[1.0, 5.0], [3.0, 5.0]]))
    x = np.float32([[2.5, 5.0]])
    result = normalized(normalizer, x)
    np.testing.assert_allclose(inverse(normalizer, result), x)
    assert np.isfinite(result).all()


def test_a_constant_feature_is_ignored_until_it_varies():
    """Whatever its size, and however float32 rounds its mean; the statistics of the others are as ever."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([np.tile([0.0, 9.81, 1000.1], (20_000, 1)), rng.normal(0, 1e-4, (20_000, 1))], 1)
    normalizer = Normalizer(4)
    for part in np.split(rows.astype(np.float32), 10):
        normalizer = update(normalizer, part)
    varied = jax.jit(lambda normalizer: normalizer.varied)
    np.testing.assert_array_equal(varied(normalizer), [False, False, False, True])
    away = np.asarray(normalized(normalizer, np.float32([50.0, -3.0, 0.0, 2e-4])))
    np.testing.assert_array_equal(away[:3], 0)
    np.testing.assert_allclose(away[3], 2.0, rtol=0.05)
    constant = np.asarray(inverse(normalizer, np.full(4, 7.0, np.float32)))[:3]
    np.testing.assert_allclose(constant, rows[0, :3], rtol=1e-6)
    varying = update(normalizer, np.float32(rng.normal(0, 1, (20_000, 4))))
    assert np.all(varied(varying))
    np.testing.assert_allclose(np.asarray(varying.std)[0], np.sqrt(0.5), rtol=0.05)
    assert np.all(varied(Normalizer(4)))


def test_columns_are_normalized():
    weight = jax.jit(lambda key: normalized_columns(0.5)(key, (7, 3)))(jax.random.key(0))
    np.testing.assert_allclose(np.linalg.norm(weight, axis=0), 0.5, rtol=1e-5)


class Behind(eqx.Module):
    net: MLP
    observation: Normalizer

    def __call__(self, x):
        return self.net(self.observation(x))


def test_other_statistics_leave_the_function_as_it_is():
    """But for the first ones. A feature that did not vary was ignored, and has no weight when it does. Stacked, too."""
    keys = jax.random.split(jax.random.key(0), 4)
    net = jax.jit(lambda key: MLP(key, (3, 8, 2), jnp.tanh, [normalized_columns(1.0)] * 2))(keys[0])
    old, x, new = (np.asarray(random.normal(key, (n, 3))) for key, n in zip(keys[1:], (50, 20, 200), strict=True))
    old = old * np.float32([2.0, 0.5, 0.0]) + np.float32([1.0, -3.0, 7.0])
    x = x * np.float32([2.0, 0.5, 3.0]) + np.float32([0.0, -2.0, 7.0])
    with_other, acts = jax.jit(renormalized), jax.jit(Behind.__call__)
    first = with_other(Behind(net, Normalizer(3)), update(Normalizer(3), old))
    np.testing.assert_array_equal(first.net.weights[0], net.weights[0])
    statistics = update(first.observation, 3 * new)
    second = with_other(first, statistics)
    np.testing.assert_array_equal(second.observation.mean, statistics.mean)
    assert np.abs(second.net.biases[0]).max() > 0.1
    np.testing.assert_array_equal(np.asarray(second.net.weights[0])[2], 0)
    np.testing.assert_allclose(acts(second, x), acts(first, x), atol=1e-5)
    slope = jax.jit(jax.grad(lambda net, statistics, x: net(statistics(x)).sum()))(second.net, statistics, x)
    assert np.abs(np.asarray(slope.weights[0])[2]).max() > 0
    both, twice = (jax.tree.map(lambda x: np.stack([x, x]), each) for each in (first, statistics))
    for one, expected in zip(jax.tree.leaves(with_other(both, twice)), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(np.asarray(one)[1], expected, rtol=1e-5, atol=1e-6)


def test_normalizers_are_not_trainable():
    net = MLP(jax.random.key(0), (2, 3), jnp.tanh, [normalized_columns(1.0)])
    kept = eqx.filter((net, Normalizer(2)), trainable((net, Normalizer(2))))
    assert [x.shape for x in jax.tree.leaves(kept)] == [(2, 3), (3,)]


@pytest.mark.parametrize(
    ("normed", "activation"), [(normed_silu, jax.nn.silu), (normed_tanh, jnp.tanh), (normed_relu, jax.nn.relu)]
)
def test_normed_activations_and_their_derivatives(normed, activation):
    """Against its definition, and JAX's own derivative of that."""
    x = 3 * np.asarray(random.normal(jax.random.key(0), (4, 5, 16))) + 1

    def plain(x):
        return activation((x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6))

    np.testing.assert_allclose(jax.jit(normed)(x), jax.jit(plain)(x), atol=1e-5)
    weight = random.normal(jax.random.key(1), x.shape)
    ours, theirs = (jax.jit(jax.grad(lambda x, f=f: jnp.sum(f(x) * weight)))(x) for f in (normed, plain))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
