"""ACKTR: Gauss-Newton for the value, steps of the size that is expected, and a single task is learned."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms import presets
from onebody.algorithms.model_free import acktr, on_policy
from onebody.algorithms.model_free.kfac import KFACConfig
from onebody.core import random
from onebody.runs import evaluate
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

SMOKE = presets.preset("acktr", "smoke")
POINT = registry.make("point/goal")


def new(**change):
    algorithm = acktr.ACKTR(POINT, dataclasses.replace(SMOKE, **change), Simulator(POINT))
    return algorithm, algorithm.init(jax.random.key(0))


def test_the_first_batch_is_learned_from_in_its_own_statistics(monkeypatch):
    """So that what was learned from it stays as it is."""
    algorithm, state = new()
    result, fit = [], acktr.update_value
    monkeypatch.setattr(acktr, "update_value", lambda state, *rest: (result.append(state), fit(state, *rest))[1])
    transitions, _ = on_policy.collect(algorithm.simulator, state.policy, jnp.zeros((1, 2)), 2, jax.random.key(1))
    update = jax.jit(lambda *given: (acktr.update.__wrapped__(*given, algorithm.config)[0], *result))
    then, first = update(state, transitions, jax.random.key(2))
    mean = np.asarray(transitions.observation).reshape(-1, 2).mean(0)
    for each in (first.policy, first.value, then.policy, then.value):
        np.testing.assert_allclose(each.observation.mean, mean, rtol=1e-4, atol=1e-6)


def test_one_whole_step_of_a_linear_value_is_the_least_squares_fit():
    whole = KFACConfig(rate=1.0, radius=1e9, damping=1e-10, decay=0.9, momentum=0.0)
    algorithm, state = new(value_hidden=(), n_value=1, value=whole)
    observation = np.asarray(random.normal(jax.random.key(1), (5000, 2))) @ np.float32([[2.0, 1.0], [0.0, 0.3]]) + 1.0
    target = 3 * observation[:, 0] - observation[:, 1] + np.sin(observation[:, 1])

    @jax.jit
    def moved_value(*given):
        moved = acktr.update_value(*given, algorithm.config)
        assert all(x is y for x, y in zip(jax.tree.leaves(moved.policy), jax.tree.leaves(given[0].policy), strict=True))
        return moved.value

    moved = moved_value(state, observation, target, jax.random.key(2))
    rows = np.concatenate([observation, np.ones((5000, 1))], axis=1)
    expected = rows @ np.linalg.lstsq(rows, target)[0]
    error, before = (np.std(eqx.filter_jit(each)(observation) - expected) for each in (moved, state.value))
    assert error < 0.05 * before


@pytest.mark.parametrize(
    ("rate", "kl", "expected"),
    [(0.3, 0.0041, 0.2), (0.3, 0.0039, 0.3), (0.3, 0.0011, 0.3), (0.3, 0.0009, 0.45), (0.9, 0.0, 1.0)],
)
def test_the_largest_learning_rate_follows_the_divergence(rate, kl, expected):
    assert float(acktr.adjusted(jax.device_put(rate), jax.device_put(kl), 0.002)) == pytest.approx(expected)


def test_a_policy_step_makes_good_actions_likelier_within_its_trust_region():
    """No momentum, so that the step alone counts, and linear, so that its factors are exact."""
    step = KFACConfig(rate=0.01, radius=0.003, damping=1e-6, decay=0.9, momentum=0.0)
    algorithm, state = new(hidden=(), policy=step)
    state = eqx.tree_at(lambda s: (s.rate, s.policy.log_std), state, (jax.device_put(1e6), jnp.array([-0.7, 0.3])))

    @jax.jit
    def result():
        observation, noise = random.normal(jax.random.key(1), (2, 5000, 2))
        action = state.policy.distribution(observation).sample(noise)
        advantage = action[:, 0] * observation[:, 1] - action[:, 1] ** 2
        moved = acktr.update_policy(state, observation, action, advantage, jax.random.key(2), algorithm.config)
        old, new_one = (each.policy.distribution(observation) for each in (state, moved))
        gain = (advantage * (new_one.log_prob(action) - old.log_prob(action))).mean()
        return old.kl(new_one).mean(), gain, moved.policy.log_std[1]

    kl, gain, log_std = map(float, result())
    assert kl == pytest.approx(0.003, rel=0.1)
    assert gain > 0.05
    assert log_std < 0.3 - 0.01


def test_a_single_task_is_learned_from_its_own_samples():
    """Standing still has -15.6, the optimum about -2.5."""
    policy = KFACConfig(rate=1.0, radius=0.05, damping=0.01, decay=0.5, momentum=0.0)
    value = KFACConfig(rate=0.1, radius=0.15, damping=0.025, decay=0.9)
    settings = {"discount": 0.8, "trace": 0.9, "kl": 0.05, "policy": policy, "value": value}
    algorithm, state = new(refine_episodes=40, hidden=(32, 32), value_hidden=(32, 32), n_value=10, **settings)
    tasks = jnp.array([[-0.5, 0.6]])
    stages, used = zip(*evaluate.stages_of(algorithm, state, tasks, 9, seed=3), strict=True)
    before, after = (float(evaluate.real_return(POINT, stages[i].policies, tasks).mean()) for i in (0, -1))
    assert used == tuple(800 * i for i in range(10))
    assert after > -5.0 and before < -10.0, (before, after)
