"""ME-TRPO and MB-MPO in models that know half of the plane: the disagreement penalty keeps their policies there."""

import dataclasses

import jax
import pytest

from onebody.algorithms import presets
from onebody.algorithms.mb_mpo.models import novelty
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator
from tests.algorithms.half_plane import STARTS, half_of_the_plane

FAMILY = registry.make("point/goal")
MODEL = dataclasses.replace(presets.preset("me-trpo", "smoke").model, members=3, hidden=(32, 32), capacity=1)
SETTINGS = {"real_episodes": 0, "logged_transitions": 2000, "task": (0.8, 0.0), "model": MODEL, "n_iterations": 2}
OWN = {
    "me-trpo": {"n_policy": 20, "episodes": 20, "policy_validation": True},
    "mb-mpo": {"n_meta": 10, "episodes": 10, "meta_batch": 3, "inner_rate": 0.01},
}


@pytest.mark.parametrize("name", OWN)
def test_a_penalty_keeps_the_policy_near_the_logs(name):
    """The goal is at x = 0.8."""
    novel = []
    for penalty in (0.0, 30.0):
        settings = SETTINGS | OWN[name] | {"disagreement_penalty": penalty}
        config = dataclasses.replace(presets.preset(name, "smoke"), **settings)
        algorithm = presets.algorithm(name)(FAMILY, config, Simulator(FAMILY))
        state = algorithm.with_logs(algorithm.init(jax.random.key(0)), half_of_the_plane(), STARTS)
        for i in range(config.n_iterations):
            state, _ = algorithm.step(state, jax.random.key(i + 1))
        assert algorithm.simulator.samples == 0
        novel.append(float(novelty(state.policy, state.models, jax.random.key(0), FAMILY)))
    assert novel[0] > 2.0 and novel[1] < novel[0] / 2
