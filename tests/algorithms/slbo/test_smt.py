import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms import presets
from onebody.algorithms.slbo import slbo, smt
from onebody.algorithms.slbo.slbo import StageConfig, add_data
from onebody.core import random
from onebody.core.errors import OnebodyError
from onebody.runs import evaluate
from onebody.tasks import registry
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

FAMILY = registry.make("point/goal")
SMOKE = presets.preset("smt", "smoke")
LEARNER = StageConfig(
    n_inner=4,
    n_model=100,
    n_policy=20,
    real_episodes=10,
    model=dataclasses.replace(SMOKE.slbo.model, hidden=(64, 64), batch=64),
    value=SMOKE.slbo.value,
)


def make(**changes):
    return smt.SMT(FAMILY, dataclasses.replace(SMOKE, **changes), Simulator(FAMILY))


def train(algorithm, seed=0):
    state = algorithm.init(jax.random.key(seed))
    for i in range(algorithm.config.n_iterations):
        state, metrics = algorithm.step(state, jax.random.key(seed * 1000 + i + 1))
    return state, metrics


def test_smt_learns_the_point_robot_without_a_sample_of_the_new_task():
    """Floors: standing still has -16.4 over these goals, going straight there -2.6."""
    algorithm = make(n_tasks=3, n_warmup=6, slbo=LEARNER)
    state, _ = train(algorithm)
    assert algorithm.simulator.samples == 3 * 10 * FAMILY.horizon
    tasks = FAMILY.space.held_out(10)
    stage = next(algorithm.adapt(state, tasks, jax.random.key(0)))
    untrained = next(algorithm.adapt(algorithm.init(jax.random.key(0)), tasks, jax.random.key(0)))
    reached = evaluate.real_return(FAMILY, stage.policies, tasks).mean()
    assert evaluate.real_return(FAMILY, untrained.policies, tasks).mean() < -11
    assert reached > -7.0
    assert algorithm.simulator.samples == 3 * 10 * FAMILY.horizon
    np.testing.assert_allclose(stage.predicted_return.mean(), reached, atol=1.0)


def test_the_first_task_has_no_warm_up_and_the_data_grow():
    algorithm = make()
    state = algorithm.init(jax.random.key(0))
    assert int(state.data.size) == 0
    first, _ = algorithm.step(state, jax.random.key(1))
    second, metrics = algorithm.step(first, jax.random.key(2))
    samples = SMOKE.slbo.real_episodes * FAMILY.horizon
    assert (int(first.data.size), int(second.data.size)) == (samples, 2 * samples)
    assert set(metrics) >= {"real/return", "imagined/return", "model/loss", "model/validation_error", "policy/kl"}


def test_samples_from_elsewhere_change_neither_actions_nor_values():
    """A policy that knows what to do has a small deviation, and could not mend what other statistics do to it."""
    algorithm = make()
    state, _ = algorithm.step(algorithm.init(jax.random.key(0)), jax.random.key(1))
    shared, agents, _ = algorithm.warm_up(state, jnp.array([[0.5, 0.5]]), jax.random.key(2))
    transitions = rollout(algorithm.simulator, agents.policy, jnp.zeros((1, 2)), jax.random.key(3), episodes=4)
    far = transitions._replace(
        observation=transitions.observation - 2.0, next_observation=transitions.next_observation - 2.0
    )
    result, after, _ = add_data(shared, agents, far)
    assert float(jnp.abs(result.model.module.observation.mean - shared.model.module.observation.mean).max()) > 0.3
    x = random.normal(jax.random.key(4), (1, 10, 2))
    one, other = (jax.tree.map(lambda x: x[0], a) for a in (agents, after))
    np.testing.assert_allclose(other.policy.distribution(x[0]).mean, one.policy.distribution(x[0]).mean, atol=1e-5)
    np.testing.assert_allclose(other.value.module(x[0]), one.value.module(x[0]), atol=1e-4)


def test_slbo_learns_its_own_task():
    config = slbo.Config(n_outer=4, task=(0.6, -0.6), stage=LEARNER)
    algorithm = slbo.SLBO(FAMILY, config, Simulator(FAMILY))
    state = algorithm.init(jax.random.key(0))
    returns = []
    for i in range(algorithm.config.n_iterations):
        state, metrics = algorithm.step(state, jax.random.key(i + 1))
        returns.append(metrics["real/return"])
    assert returns[-1] > returns[0] + 3
    task = jnp.array([[0.6, -0.6]])
    adapted = next(algorithm.adapt(state, task, jax.random.key(0)))
    assert evaluate.real_return(FAMILY, adapted.policies, task).mean() > returns[0] + 3


KNOWN = [name for name, family in registry.families().items() if family.physics is None]
QUICK = {"mbmpo/hopper"}
"""One robot, whose episodes may end early: the programs are the same for all"""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in KNOWN]
)
def test_one_iteration_and_stages_0_and_1_on_every_family_with_known_tasks(name):
    family = registry.make(name)
    algorithm = smt.SMT(family, SMOKE, Simulator(family))
    state, metrics = algorithm.step(algorithm.init(jax.random.key(0)), jax.random.key(1))
    samples = SMOKE.slbo.real_episodes * family.horizon
    assert algorithm.simulator.samples == samples == int(state.data.size)
    assert np.isfinite(list(metrics.values())).all()
    tested = smt.SMT(family.tested, SMOKE, Simulator(family.tested))
    tasks = family.tested.space.held_out(1)
    for stage, (adapted, used) in enumerate(evaluate.stages_of(tested, state, tasks, 1, seed=2)):
        assert used == stage * samples
        assert np.isfinite(evaluate.real_return(family.tested, adapted.policies, tasks)).all()
    jax.clear_caches()  # a process can map only so many compiled programs


def test_dynamics_that_vary_with_the_task_are_refused():
    family = registry.make("pearl/walker-params")
    with pytest.raises(OnebodyError, match="pearl/walker-params vary with the task"):
        smt.SMT(family, SMOKE, Simulator(family)).init(jax.random.key(0))
