import jax
import jax.numpy as jnp
import pytest

from onebody.core import random

KEY = jax.random.key(3)
BOUNDS = jnp.array([-1.0, 0.0]), jnp.array([2.0, 0.1])


@pytest.mark.parametrize("shape", [(), (5,), (4, 3, 2)])
def test_numbers_are_those_of_jax_for_the_same_key_and_shape(shape):
    low, high = (x[:1].reshape(()) if shape != (4, 3, 2) else x for x in BOUNDS)
    assert jnp.array_equal(random.normal(KEY, shape), jax.random.normal(KEY, shape))
    assert jnp.array_equal(
        random.truncated_normal(KEY, -2.0, 2.0, shape), jax.random.truncated_normal(KEY, -2.0, 2.0, shape)
    )
    assert jnp.array_equal(
        random.uniform(KEY, shape, low, high), jax.random.uniform(KEY, shape, minval=low, maxval=high)
    )


def test_integers_are_uniform_from_low_to_below_high():
    counts = jnp.bincount(random.randint(KEY, (70, 100), 2, 9).ravel(), length=10)
    assert counts.sum() == 7000 and not counts[:2].any() and not counts[9:].any()
    assert jnp.all(jnp.abs(counts[2:9] - 1000) < 5 * jnp.sqrt(1000 * 6 / 7))
    ends = random.randint(KEY, (100, 2), jnp.array([-5, 0]), jnp.array([-3, 2**30]))
    assert set(ends[:, 0].tolist()) == {-5, -4} and ends[:, 1].min() >= 0 and ends[:, 1].max() > 2**29
    assert random.randint(KEY, (), 3, 3) == 3  # an empty range
