import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms import active_smt, admrl
from onebody.core.errors import OnebodyError
from onebody.runs import presets
from onebody.tasks import registry
from onebody.tasks.space import Box, FiniteSet
from onebody.worlds.simulator import Simulator

FAMILY = registry.make("point/goal")
SMOKE = presets.preset("admrl", "smoke")


def make(family=FAMILY, **changes):
    return admrl.AdMRL(family, dataclasses.replace(SMOKE, **changes), Simulator(family))


@pytest.fixture(scope="module")
def two_steps():
    algorithm = make()
    first = algorithm.init(jax.random.key(0))
    second, _ = algorithm.step(first, jax.random.key(1))
    third, metrics = algorithm.step(second, jax.random.key(2))
    return algorithm, (first, second, third), metrics


def test_the_gradients_real_samples_are_counted_and_kept(two_steps):
    algorithm, (_, second, third), _ = two_steps
    per_task = (SMOKE.smt.slbo.real_episodes + 2 * SMOKE.real_episodes) * FAMILY.horizon
    assert algorithm.simulator.samples == 2 * per_task
    assert (int(second.shared.data.size), int(third.shared.data.size)) == (per_task, 2 * per_task)
    assert third.shared.data.capacity >= SMOKE.n_iterations * per_task


def test_the_task_goes_up_the_gradient_and_stays_in_the_space(two_steps):
    _, states, metrics = two_steps
    np.testing.assert_allclose(states[0].task, [[0.3, 0.3]], rtol=1e-6)
    assert (metrics["task/1"], metrics["task/2"]) == pytest.approx(states[1].task[0].tolist())
    assert metrics["gap/solved"] == 1 and metrics["gap/residual"] < 0.05 and metrics["gap/implicit"] > 0
    assert all(FAMILY.space.contains(state.task[0]) for state in states)
    moved = np.linalg.norm(states[2].task - states[1].task)
    assert 0 < moved <= metrics["gap/direct"] + metrics["gap/implicit"] + 1e-5


def test_a_system_that_is_not_solved_leaves_the_direct_terms(two_steps, monkeypatch):
    algorithm, (_, second, third), _ = two_steps
    monkeypatch.setattr(admrl, "SOLVED", 0.0)
    other, metrics = algorithm.step(second, jax.random.key(2))
    assert metrics["gap/solved"] == 0 and metrics["gap/implicit"] == 0 and metrics["gap/residual"] > 0
    assert metrics["gap/direct"] > 0
    assert not np.allclose(other.task, third.task)


def test_an_untrained_policy_does_not_move_with_the_task():
    algorithm = make()
    _, metrics = algorithm.step(algorithm.init(jax.random.key(0)), jax.random.key(1))
    assert metrics["gap/solved"] == 0 and metrics["gap/direct"] > 0


@pytest.mark.parametrize("tasks", ["uniform", "gaussian"])
def test_other_choices_of_tasks_cost_no_samples(tasks):
    algorithm = make(tasks=tasks)
    state = algorithm.init(jax.random.key(0))
    after, metrics = algorithm.step(state, jax.random.key(1))
    assert algorithm.simulator.samples == SMOKE.smt.slbo.real_episodes * FAMILY.horizon
    assert not np.allclose(state.task, after.task) and "gap/return" not in metrics
    drawn = jnp.concatenate([algorithm._drawn(jax.random.key(i)) for i in range(200)])
    assert all(FAMILY.space.contains(task) for task in drawn)
    at_the_edge = np.mean(np.abs(drawn) > 1 - 1e-6)
    assert at_the_edge == pytest.approx(0.32 if tasks == "gaussian" else 0.0, abs=0.06)


def test_the_same_seed_gives_the_same_bytes(two_steps):
    algorithm, (_, second, third), _ = two_steps
    again, _ = algorithm.step(second, jax.random.key(2))
    for a, b in zip(jax.tree.leaves(third), jax.tree.leaves(again), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_adaptation_is_smts(two_steps):
    algorithm, states, _ = two_steps
    tasks, key = FAMILY.space.held_out(2), jax.random.key(0)
    own, smts = next(algorithm.adapt(states[2], tasks, key)), next(algorithm.smt.adapt(states[2].shared, tasks, key))
    assert own.samples == 0
    np.testing.assert_array_equal(own.predicted_return, smts.predicted_return)


@pytest.mark.parametrize("tasks", ["adversarial", "gaussian"])
def test_a_space_without_gradients_is_refused(tasks):
    family = dataclasses.replace(FAMILY, id="test/finite", space=FiniteSet(((0.0, 0.0), (1.0, 1.0))))
    with pytest.raises(OnebodyError, match="no gradient leads from one to another: use --config"):
        algorithm = make(family, tasks=tasks)
        algorithm.init(jax.random.key(0))
    make(family, tasks="uniform").init(jax.random.key(0))


def test_a_reward_without_a_gradient_in_the_task_is_refused():
    def steps(observation, action, following, task):
        return -jnp.sum(jnp.round(following - task))

    family = dataclasses.replace(FAMILY, id="test/steps", space=Box((-1.0, -1.0), (1.0, 1.0)), reward=steps)
    with pytest.raises(OnebodyError, match="test/steps has no gradient in its task: use"):
        make(family).init(jax.random.key(0))


ACTIVE = presets.preset("smt-active", "smoke")


def active(**changes):
    return active_smt.ActiveSMT(FAMILY, dataclasses.replace(ACTIVE, **changes), Simulator(FAMILY))


@pytest.mark.parametrize("rating", ["models", "real"])
def test_tasks_below_the_quantile_of_the_first_ratings_are_skipped(rating):
    algorithm = active(rating=rating, quantile=1.0)
    state = algorithm.init(jax.random.key(0))
    seen = []
    for i in range(2):
        state, metrics = algorithm.step(state, jax.random.key(i))
        seen.append(metrics)
    assert "task/rating" not in seen[0] and int(state.rated) == 1
    assert float(state.ratings[0]) == pytest.approx(seen[1]["task/rating"])
    known = dataclasses.replace(state, ratings=jnp.full(1, 1e6))
    unknown = dataclasses.replace(state, ratings=jnp.full(1, -1e6))
    before = algorithm.simulator.samples
    assert algorithm.step(known, jax.random.key(3))[1]["task/skipped"] == ACTIVE.tries
    middle = algorithm.simulator.samples
    assert algorithm.step(unknown, jax.random.key(3))[1]["task/skipped"] == 0
    rated = (ACTIVE.real_episodes if rating == "real" else 0) * FAMILY.horizon
    stage = ACTIVE.smt.slbo.real_episodes * FAMILY.horizon
    assert middle - before == stage + ACTIVE.tries * rated
    assert algorithm.simulator.samples - middle == stage + rated
