"""Plans: the colour of noise, and that both methods find what is best."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback

from onebody.algorithms.mb_mpo.planning import PlanConfig, coloured, plan
from onebody.core import random
from onebody.core.errors import OnebodyError

GOAL = jnp.array([[0.5, -0.3], [0.2, 0.8], [-0.6, 0.1]])


def score(actions):
    return -jnp.sum((actions - GOAL) ** 2, axis=(1, 2))


@pytest.mark.parametrize("steps", [10, 11])
@pytest.mark.parametrize("exponent", [0.0, 2.0])
def test_noise_has_deviation_one_and_its_colour(steps, exponent):
    noise = np.asarray(coloured(jax.random.key(0), 4000, steps, 2, exponent))
    assert noise.shape == (4000, steps, 2)
    np.testing.assert_allclose(noise.std((0, 2)), 1.0, atol=0.04)
    power = (np.abs(np.fft.rfft(noise, axis=1)) ** 2).mean((0, 2))[1 : steps // 2]
    slope = np.polyfit(np.log(np.arange(1, len(power) + 1)), np.log(power), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.15)


def test_the_best_of_uniform_candidates_is_taken():
    config = PlanConfig(candidates=5000)
    result = plan(score, jnp.zeros((3, 2)), jax.random.key(1), config)
    drawn = random.uniform(jax.random.key(1), (5000, 3, 2), low=-1.0, high=1.0)
    assert float(score(result[None])[0]) == float(score(drawn).max()) > -0.6


def test_icem_comes_nearer_with_fewer_candidates_and_keeps_its_best():
    config = PlanConfig(method="icem", candidates=200, rounds=8, colour=0.0)
    result = plan(score, jnp.zeros((3, 2)), jax.random.key(1), config)
    assert float(score(result[None])[0]) > -0.02
    few = dataclasses.replace(config, rounds=1)
    assert float(score(result[None])[0]) > float(score(plan(score, jnp.zeros((3, 2)), jax.random.key(1), few)[None])[0])
    good = plan(score, GOAL, jax.random.key(2), dataclasses.replace(config, deviation=1e-9, rounds=1))
    np.testing.assert_allclose(good, GOAL, atol=1e-6)


def test_icem_keeps_three_tenths_of_its_elites_as_candidates():
    scored = []

    def recorded(actions):
        io_callback(lambda x: scored.append(np.array(x)), None, actions, ordered=True)
        return score(actions)

    config = PlanConfig(method="icem", candidates=50, rounds=2)
    plan(recorded, jnp.zeros((3, 2)), jax.random.key(1), config).block_until_ready()
    first, second = scored
    best = first[np.argsort(-np.asarray(score(first)))[:3]]
    np.testing.assert_array_equal(second[:3], best)


def test_icem_comes_less_far_the_more_momentum_keeps():
    config = PlanConfig(method="icem", candidates=200, rounds=8, colour=0.0, deviation=0.1)
    begun, key = jnp.zeros((3, 2)), jax.random.key(1)
    shares = (dataclasses.replace(config, momentum=share) for share in (0.1, 0.5, 1.0))
    little, half, all_ = (float(score(plan(score, begun, key, config)[None])[0]) for config in shares)
    assert little - 0.05 > half > all_ + 0.2


def test_more_elites_than_candidates_are_refused():
    with pytest.raises(OnebodyError, match="20 elites cannot be among 10"):
        PlanConfig(candidates=10, elites=20)
