import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.core.types import Transitions
from onebody.learning import linear_baseline


def transitions(reward, done, observation=None):
    reward, done = jnp.asarray(reward, jnp.float32), jnp.asarray(done)
    seen = jax.random.normal(jax.random.key(0), (*reward.shape, 2)) if observation is None else observation
    return Transitions(seen, jnp.zeros((*reward.shape, 1)), reward, seen, jnp.zeros_like(done), done)


def test_time_begins_anew_with_each_episode():
    done = jnp.zeros((6, 1), bool).at[2].set(True)
    found = linear_baseline.features(jnp.zeros((6, 1, 1)), done)
    np.testing.assert_allclose(found[:, 0, 2] * 100, [0, 1, 2, 0, 1, 2], atol=1e-5)


def test_what_the_features_explain_has_no_advantage():
    """Rewards that follow from time alone: the returns are a polynomial of it, what is left is noise."""
    reward = np.ones((40, 8), np.float32)
    noise = 0.01 * np.random.default_rng(0).normal(size=reward.shape).astype(np.float32)
    done = np.zeros(reward.shape, bool)
    done[-1] = True
    found = linear_baseline.advantages(transitions(reward + noise, done, jnp.zeros((40, 8, 2))), 1.0, 0.0)
    assert abs(np.corrcoef(np.asarray(found).ravel(), noise.ravel())[0, 1]) > 0.9
    np.testing.assert_allclose(found.mean(), 0, atol=1e-4)
    np.testing.assert_allclose(found.std(), 1, atol=1e-3)


def test_an_action_that_pays_later_has_an_advantage_at_once():
    """Half of the episodes are paid 1 at their end for what was done in the beginning; the baseline does not see it."""
    reward = np.zeros((10, 50), np.float32)
    reward[-1, ::2] = 1.0
    done = np.zeros(reward.shape, bool)
    done[-1] = True
    same = jnp.zeros((10, 50, 2))
    found = np.asarray(linear_baseline.advantages(transitions(reward, done, same), 0.99, 1.0))
    assert (found[:, ::2] > 0.5).all() and (found[:, 1::2] < -0.5).all()


@pytest.mark.parametrize("column", [1.0, 0.0])
def test_features_that_are_not_independent_are_no_trouble(column):
    """An observation of 1 is the constant once more, one of 0 is nothing."""
    reward = np.random.default_rng(0).normal(size=(20, 400)).astype(np.float32)
    done = np.zeros(reward.shape, bool)
    done[-1] = True
    other = np.random.default_rng(1).normal(size=(20, 400, 1)).astype(np.float32)
    seen = np.concatenate([np.full_like(other, column), other], axis=-1)
    found, plain = (
        linear_baseline.advantages(transitions(reward, done, jnp.asarray(x)), 0.99, 1.0) for x in (seen, other)
    )
    np.testing.assert_allclose(found, plain, atol=0.02)
