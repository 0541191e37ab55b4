"""Random search climbs, along directions whose returns are higher."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from onebody.algorithms import presets
from onebody.algorithms.model_free.random_search import RandomSearch
from onebody.core import random
from onebody.runs import evaluate
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

POINT = registry.make("mbmpo/point")


def new(**change):
    config = dataclasses.replace(presets.preset("random-search", "laptop"), **change)
    algorithm = RandomSearch(POINT, config, Simulator(POINT))
    return algorithm, algorithm.init(jax.random.key(0))


def reached(state):
    policies = jax.tree.map(lambda x: x[None], state)
    return float(evaluate.real_return(POINT, policies, jnp.zeros((1, 0))).mean())


def test_the_way_home_is_found():
    algorithm, state = new(rate=0.1, deviation=0.1)
    before = reached(state)
    for i in range(30):
        state, metrics = algorithm.step(state, jax.random.key(i))
    assert reached(state) > 0.5 * before and np.isfinite(metrics["real/return"]), (before, reached(state))
    assert algorithm.simulator.samples == 30 * 2 * 32 * POINT.horizon


def test_a_step_is_a_sum_of_directions_and_its_length_follows_the_rate():
    algorithm, state = new(directions=3)
    faster, _ = new(directions=3, rate=algorithm.config.rate * 2)
    key = jax.random.key(2)
    moved, twice = (each.step(state, key)[0] for each in (algorithm, faster))
    at, to, beyond = (np.asarray(ravel_pytree(policy.net)[0]) for policy in (state, moved, twice))
    np.testing.assert_allclose(beyond - at, 2 * (to - at), atol=1e-6)
    directions = np.asarray(random.normal(jax.random.split(key, 3)[1], (3, len(at))))
    mix = np.linalg.lstsq(directions.T, to - at, rcond=None)[0]
    assert np.abs(mix).min() > 1e-5
    np.testing.assert_allclose(mix @ directions, to - at, atol=1e-6)
    np.testing.assert_array_equal(moved.log_std, state.log_std)
