"""What real episodes achieve of a task."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.core.nets import Normalizer
from onebody.core.types import Transitions
from onebody.learning.policies import GaussianPolicy
from onebody.runs import evaluate
from onebody.tasks.registry import make

POINT = make("point/goal")


def test_it_is_the_mean_over_the_second_half_of_each_first_episode():
    place = np.arange(6.0, dtype=np.float32)[None, :, None, None] * [1.0, -1.0]  # [task, time, episode, feature]
    place = jax.device_put(np.repeat(place, 2, axis=2).astype(np.float32))
    done = jnp.zeros((1, 6, 2), bool).at[0, 3, 0].set(True).at[0, 5].set(True)  # of 4 and 2 steps; of 6 steps
    none, zero = jnp.zeros((1, 6, 2), bool), jnp.zeros((1, 6, 2))
    steps = Transitions(place, zero[..., None], zero, place, done, none)
    mean = ((2 + 3) / 2 + (3 + 4 + 5) / 3) / 2
    assert evaluate.achieved(POINT, steps) == pytest.approx(np.array([[mean, -mean]]))
    assert evaluate.achieved(dataclasses.replace(POINT, achieved=None), steps) is None


def test_a_real_test_gives_both_returns_and_what_is_achieved():
    one = lambda key: GaussianPolicy(key, (8,), Normalizer(2), 2)  # noqa: E731
    policies, tasks = jax.vmap(one)(jax.random.split(jax.random.key(0), 3)), POINT.space.held_out(3)
    returns, achieved = evaluate.real_test(POINT, policies, tasks)
    assert returns.shape == (3, evaluate.EPISODES) and achieved.shape == (3, 2)
    assert (returns == evaluate.real_return(POINT, policies, tasks)).all()
