"""ME-TRPO: random members, the models' say in when to stop, zero-shot adaptation, and that it learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms import me_trpo
from onebody.algorithms.models import Mixed, returns_by_model
from onebody.runs import evaluate, presets
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

POINT, GOALS = registry.make("mbmpo/point"), registry.make("point/goal")
SMOKE = presets.preset("me-trpo", "smoke")
LEARNS = dataclasses.replace(
    SMOKE,
    real_episodes=20,
    n_policy=15,
    episodes=40,
    hidden=(32, 32),
    model=dataclasses.replace(SMOKE.model, members=5, hidden=(64, 64), batch=64, epochs=30),
)


def new(family=POINT, config=SMOKE):
    algorithm = me_trpo.METRPO(family, config, Simulator(family))
    return algorithm, algorithm.init(jax.random.key(0))


@pytest.fixture(scope="module")
def trained():
    """On one goal, in models that know the whole plane."""
    algorithm, state = new(GOALS, dataclasses.replace(LEARNS, task=(0.5, 0.5)))
    for i in range(2):
        state, metrics = algorithm.step(state, jax.random.key(i))
    return algorithm, state, metrics


def test_each_step_of_each_episode_is_predicted_by_a_random_member(trained):
    _, state, _ = trained
    members = state.models.members
    observation, action = jax.random.normal(jax.random.key(1), (2, 1, 500, 2))
    each = jax.vmap(lambda member: member(observation, action))(members)
    found = Mixed(members, jax.random.key(2))(observation, action)
    which = np.argmin(np.abs(np.asarray(each) - np.asarray(found)).sum(-1), axis=0)[0]
    assert np.abs(each[which, 0, np.arange(500)] - found[0]).max() < 1e-6
    assert np.bincount(which).tolist() == [100] * 5
    other = Mixed(members, jax.random.key(3))(observation, action)
    later = Mixed(members, jax.random.key(2))(observation + 0.01, action) - 0.01
    assert not np.allclose(found, other, atol=1e-5) and not np.allclose(found, later, atol=1e-3)
    odd = Mixed(members, jax.random.key(2))(observation[:, :7], action[:, :7])
    assert np.abs(np.asarray(each)[:, :, :7] - np.asarray(odd)).max(-1).min(0).max() < 1e-6


def test_practice_ends_when_the_models_no_longer_say_that_it_helps(trained, monkeypatch):
    algorithm, state, metrics = trained
    assert metrics["policy/steps"] in (5, 10, 15)
    says = iter([0.0, 1.0, 1.0])
    monkeypatch.setattr(me_trpo, "returns_by_model", lambda *_: jnp.full(5, next(says)))
    jax.clear_caches()
    config, short = (
        dataclasses.replace(algorithm.config, n_policy=20, episodes=2),
        dataclasses.replace(GOALS, horizon=2),
    )
    with jax.disable_jit():
        _, found = me_trpo.improve(state, jax.random.key(4), short, config)
    assert found["policy/steps"] == 10  # better after five steps, no better after ten
    jax.clear_caches()


def test_another_task_is_practised_without_a_real_sample(trained):
    algorithm, state, _ = trained
    tasks = jnp.array([[0.5, 0.5], [-0.7, 0.2]])
    before = algorithm.simulator.samples
    stages = algorithm.adapt(state, tasks, jax.random.key(5))
    zero = next(stages)
    assert algorithm.simulator.samples == before
    reached = evaluate.real_return(GOALS, zero.policies, tasks).mean(1)
    own = jax.tree.map(lambda x: x[None], state.policy)
    unadapted = evaluate.real_return(GOALS, own, tasks[1:]).mean()
    assert reached[1] > unadapted + 3.0
    np.testing.assert_allclose(zero.predicted_return, reached, atol=4.0)
    next(stages)
    assert algorithm.simulator.samples == before + 2 * LEARNS.real_episodes * GOALS.horizon


def test_an_untrained_one_adapts_from_nothing():
    algorithm, state = new()
    stages, used = zip(*evaluate.stages_of(algorithm, state, jnp.zeros((1, 0)), 1, seed=6), strict=True)
    assert stages[0].predicted_return is None and np.isfinite(stages[1].predicted_return).all()
    assert used == (0, SMOKE.real_episodes * POINT.horizon)


def test_what_models_say_is_their_mean_return_of_the_same_episodes(trained):
    _, state, _ = trained
    members = state.models.members
    ask = lambda: returns_by_model(state.policy, state.models, members, jax.random.key(7), GOALS, 4)  # noqa: E731
    np.testing.assert_array_equal(ask(), ask())
    assert ask().shape == (5,) and len(set(ask().tolist())) == 5


def test_it_learns_the_way_to_its_goal(trained):
    """The guard that a later version still learns. Standing still has -14 there."""
    _, _, metrics = trained
    assert metrics["real/return"] > -11.0
