import jax
import numpy as np
import pytest

from onebody.core import random
from onebody.core.types import Transitions
from onebody.learning import linear_baseline


def transitions(reward, done, observation=None, terminated=None, next_observation=None):
    """Ends are truncations but where `terminated` says otherwise; next observations are those of the following rows."""
    reward, done = np.asarray(reward, np.float32), np.asarray(done)
    batch = np.asarray(random.normal(jax.random.key(0), (*reward.shape, 2))) if observation is None else observation
    following = np.concatenate([batch[1:], batch[-1:]]) if next_observation is None else next_observation
    terminated = np.zeros_like(done) if terminated is None else np.asarray(terminated)
    action = np.zeros((*reward.shape, 1), np.float32)
    return Transitions(batch, action, reward, following, terminated, done & ~terminated)


advantages = jax.jit(linear_baseline.advantages, static_argnums=(1, 2))
ages, features = jax.jit(linear_baseline.ages), jax.jit(linear_baseline.features)


def random_ends(seed, steps=200, slots=400, share=0.01):
    """Rewards of 1 in slots of one horizon, where a share of all steps ends an episode, whatever is observed."""
    terminated = np.random.default_rng(seed).random((steps, slots)) < share
    done = terminated.copy()
    done[-1] = True
    return transitions(np.ones(done.shape), done, terminated=terminated)


def test_time_begins_anew_with_each_episode():
    age = np.asarray(ages(np.arange(6)[:, None] == 2))
    np.testing.assert_array_equal(age[:, 0], [0, 1, 2, 0, 1, 2])
    result = np.asarray(features(np.zeros((6, 1, 1), np.float32), age))
    np.testing.assert_allclose(result[:, 0, 2] * 100, [0, 1, 2, 0, 1, 2], atol=1e-5)


@pytest.mark.parametrize("share", [0.005, 0.01, 0.02])
def test_random_ends_give_no_advantage_to_a_time_in_the_slot(share):
    """The correlation is -0.30 to -0.40 where the slot's end counts as the episode's."""
    result = np.asarray(advantages(random_ends(0, share=share), 0.99, 1.0))
    time = np.broadcast_to(np.arange(len(result))[:, None], result.shape)
    assert abs(np.corrcoef(result.ravel(), time.ravel())[0, 1]) < 0.06
    by_quarter = result.reshape(4, -1).mean(axis=1)
    assert np.abs(by_quarter).max() < 0.12, by_quarter


def test_a_cut_by_hand():
    """Slots of three steps and episodes of two, observed by the steps that remain; undiscounted rewards of 1.

    So V(2) = 2 and V(1) = 1. The last row begins an episode that the slot's end cuts: its return goes on with V(1). Its
    reward is 2 in one slot and 0 in the other, which is all that V does not explain.
    """
    reward, done = [[1.0, 1.0], [1.0, 1.0], [2.0, 0.0]], [[False] * 2, [True] * 2, [True] * 2]
    terminated = [[False] * 2, [True] * 2, [False] * 2]
    remain = np.broadcast_to(np.float32([2.0, 1.0, 2.0])[:, None, None], (3, 2, 1))
    batch = transitions(reward, done, remain, terminated, next_observation=remain - 1)
    for trace in (0.0, 1.0):
        result = advantages(batch, 1.0, trace)
        np.testing.assert_allclose(result, [[0, 0], [0, 0], [3**0.5, -(3**0.5)]], atol=2e-3)


def test_the_value_at_a_cut_is_the_baselines_own():
    """By least squares and a loop over time; an episode of the whole horizon ends with its slot."""
    batch = random_ends(1, steps=60, slots=50, share=0.05)
    age, discount = np.asarray(ages(batch.terminated | batch.truncated)), 0.9
    rows = np.asarray(features(batch.observation, age), np.float64)
    beyond = np.asarray(features(batch.next_observation[-1], age[-1] + 1), np.float64)
    flat, whole = rows.reshape(-1, rows.shape[-1]), age[-1] == 59
    assert 0 < whole.sum() < 10

    def returns(after):
        result, following = np.zeros(age.shape), np.where(whole, 0.0, after)
        for t in reversed(range(60)):
            result[t] = following = 1.0 + discount * np.where(batch.terminated[t], 0.0, following)
        return result

    fit = lambda after: np.linalg.lstsq(flat, returns(after).ravel(), rcond=None)[0]  # noqa: E731
    weights = fit(beyond @ fit(0.0))
    expected = returns(beyond @ weights) - rows @ weights
    expected = (expected - expected.mean()) / expected.std()
    np.testing.assert_allclose(advantages(batch, discount, 1.0), expected, atol=0.01)


def test_what_the_features_explain_has_no_advantage():
    """Rewards that follow from time alone: the returns are a polynomial of it, what is left is noise."""
    reward = np.ones((40, 8), np.float32)
    noise = 0.01 * np.random.default_rng(0).normal(size=reward.shape).astype(np.float32)
    done = np.zeros(reward.shape, bool)
    done[-1] = True
    result = np.asarray(advantages(transitions(reward + noise, done, np.zeros((40, 8, 2), np.float32)), 1.0, 0.0))
    assert abs(np.corrcoef(result.ravel(), noise.ravel())[0, 1]) > 0.9
    np.testing.assert_allclose(result.mean(), 0, atol=1e-4)
    np.testing.assert_allclose(result.std(), 1, atol=1e-3)


def test_an_action_that_pays_later_has_an_advantage_at_once():
    """Half of the episodes are paid 1 at their end for what was done in the beginning; the baseline does not see it."""
    reward = np.zeros((10, 50), np.float32)
    reward[-1, ::2] = 1.0
    done = np.zeros(reward.shape, bool)
    done[-1] = True
    same = np.zeros((10, 50, 2), np.float32)
    result = np.asarray(advantages(transitions(reward, done, same), 0.99, 1.0))
    assert (result[:, ::2] > 0.5).all() and (result[:, 1::2] < -0.5).all()


@pytest.mark.parametrize("column", [1.0, 0.0])
def test_features_that_are_not_independent_are_no_trouble(column):
    """An observation of 1 is the constant once more, one of 0 is nothing."""
    reward = np.random.default_rng(0).normal(size=(20, 400)).astype(np.float32)
    done = np.zeros(reward.shape, bool)
    done[-1] = True
    other = np.random.default_rng(1).normal(size=(20, 400, 1)).astype(np.float32)
    batch = np.concatenate([np.full_like(other, column), other], axis=-1)
    result, plain = (advantages(transitions(reward, done, x), 0.99, 1.0) for x in (batch, other))
    np.testing.assert_allclose(result, plain, atol=0.02)
