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
    assert jnp.array_equal(random.randint(KEY, shape, 2, 9), jax.random.randint(KEY, shape, 2, 9))
