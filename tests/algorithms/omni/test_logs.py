"""OMNI from logged transitions alone."""

import dataclasses

import equinox as eqx
import jax
import numpy as np

from onebody.algorithms import presets
from onebody.algorithms.omni import omni
from onebody.algorithms.omni.first_order import FirstOrderConfig
from onebody.learning.ensemble import EnsembleConfig
from onebody.runs import evaluate
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator, Unsimulated
from tests.algorithms.half_plane import STARTS, half_of_the_plane

FAMILY = registry.make("point/goal")
LEARNER = omni.Config(
    n_iterations=3,
    real_episodes=0,
    logged_transitions=2000,
    n_model=150,
    n_updates=150,
    model=EnsembleConfig(members=3, hidden=(64, 64), batch=64),
    policy=FirstOrderConfig(hidden=(64, 64), batch=64, window=8, learning_rate=1e-3),
)


def learned(penalty):
    policy = dataclasses.replace(LEARNER.policy, disagreement_penalty=penalty)
    algorithm = omni.OMNI(FAMILY, dataclasses.replace(LEARNER, policy=policy), Simulator(FAMILY))
    state = algorithm.with_logs(algorithm.init(jax.random.key(0)), half_of_the_plane(), STARTS)
    for i in range(LEARNER.n_iterations):
        state, _ = algorithm.step(state, jax.random.key(i + 1))
    assert algorithm.simulator.samples == 0
    return algorithm, state


def test_a_policy_is_learned_from_logs_and_a_penalty_keeps_it_near_them():
    """Standing still has -16.4 over these goals. Those at x > 0.3 are outside the logs."""
    tasks = FAMILY.space.held_out(20)
    outside = np.asarray(tasks[:, 0]) > 0.3
    algorithm, state = learned(0.0)
    free = next(algorithm.adapt(state, tasks, jax.random.key(0)))
    assert evaluate.real_return(FAMILY, free.policies, tasks)[~outside].mean() > -4.0
    algorithm, state = learned(100.0)
    near = next(algorithm.adapt(state, tasks, jax.random.key(0)))
    novelty, penalised = (np.asarray(each.novelty)[outside].mean() for each in (free, near))
    assert novelty > 2.0 and penalised < novelty / 2


def test_without_real_episodes_nothing_calibrates_an_interval():
    algorithm = omni.OMNI(FAMILY, LEARNER, Simulator(FAMILY))
    state = algorithm.init(jax.random.key(0))
    assert not np.asarray(state.errors).any()
    adapted = next(algorithm.adapt(state, FAMILY.space.held_out(20), jax.random.key(0)))
    assert np.isfinite(adapted.predicted_return).all() and np.isnan(adapted.predicted_interval).all()
    assert state.data.capacity == 2000 + 4 * LEARNER.refine_episodes * FAMILY.horizon


def test_room_for_logs_is_added_to_that_of_real_episodes():
    config = presets.preset("omni", "smoke")
    configs = (dataclasses.replace(config, logged_transitions=n) for n in (0, 123))
    algorithms = (omni.OMNI(FAMILY, each, Unsimulated(FAMILY)) for each in configs)
    before, after = (eqx.filter_eval_shape(each.init, jax.random.key(0)).data.capacity for each in algorithms)
    assert after - before == 123
