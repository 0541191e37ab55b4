"""ME-TRPO: random members, the models' say in when to stop, zero-shot adaptation, and that it learns."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback

from onebody.algorithms import presets
from onebody.algorithms.mb_mpo import me_trpo
from onebody.algorithms.mb_mpo.models import RandomMember, returns_by_model
from onebody.core import random
from onebody.runs import evaluate
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator
from tests.algorithms.half_plane import STARTS, half_of_the_plane

POINT, GOALS = registry.make("mbmpo/point"), registry.make("point/goal")
SMOKE = presets.preset("me-trpo", "smoke")
LEARNS = dataclasses.replace(
    SMOKE,
    real_episodes=20,
    refine_episodes=20,
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
    observation, action = random.normal(jax.random.key(1), (2, 1, 500, 2))
    each = jax.jit(jax.vmap(lambda member: member.predict(observation, action)))(members)
    observation, action, each = (np.asarray(x) for x in (observation, action, each))
    model = eqx.filter_jit(RandomMember(members))
    result = np.asarray(model(jax.random.key(2), observation, action))
    which = np.argmin(np.abs(each - result).sum(-1), axis=0)[0]
    assert np.abs(each[which, 0, np.arange(500)] - result[0]).max() < 1e-6
    assert np.bincount(which).tolist() == [100] * 5
    other = model(jax.random.key(3), observation, action)
    assert not np.allclose(result, other, atol=1e-5)
    odd = model(jax.random.key(2), observation[:, :7], action[:, :7])
    assert np.abs(each[:, :, :7] - np.asarray(odd)).max(-1).min(0).max() < 1e-6


def test_practice_keeps_what_seventy_percent_of_the_models_call_best(trained, monkeypatch):
    """Better for four of five after five steps, for three after ten: those of five steps are kept after ten more."""
    algorithm, state, metrics = trained
    assert metrics["policy/steps"] in (5, 10, 15)
    short = dataclasses.replace(GOALS, horizon=2)
    monkeypatch.setattr(me_trpo, "PATIENCE", 10)

    optimize = jax.jit(me_trpo.optimize_policy.__wrapped__, static_argnums=(2, 3))
    asked = []
    ask = lambda *_: io_callback(lambda: asked.pop(0), jax.ShapeDtypeStruct((5,), np.float32), ordered=True)  # noqa: E731
    monkeypatch.setattr(me_trpo, "returns_by_model", ask)

    def improved(n_policy, *says, config=None):
        asked[:] = np.float32(says)
        config = dataclasses.replace(algorithm.config, n_policy=n_policy, episodes=2, **config or {})
        result, metrics = optimize(state, jax.random.key(4), short, config)
        return result.policy, float(metrics["policy/steps"]), list(asked)

    zero, four, three = [0.0] * 5, [1.0] * 4 + [0.0], [9.0] * 3 + [0.0] * 2
    policy, steps, unasked = improved(50, zero, four, three, four, zero)
    assert steps == 5 and len(unasked) == 1
    expected, _, _ = improved(5, zero, four)
    np.testing.assert_array_equal(policy.net.weights[0], expected.net.weights[0])
    assert (expected.net.weights[0] != state.policy.net.weights[0]).any()
    unmoved, steps, _ = improved(5, zero, three)
    np.testing.assert_array_equal(unmoved.net.weights[0], state.policy.net.weights[0])
    assert steps == 0
    every, steps, unasked = improved(10, zero, three, three, config={"policy_validation": False})
    assert steps == 10 and not unasked and (every.net.weights[0] != state.policy.net.weights[0]).any()


def test_another_task_is_practised_without_a_real_sample(trained):
    algorithm, state, _ = trained
    algorithm = dataclasses.replace(algorithm, config=dataclasses.replace(algorithm.config, n_policy=40))
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
    assert algorithm.simulator.samples == before + 2 * LEARNS.refine_episodes * GOALS.horizon


def test_an_untrained_one_adapts_from_nothing():
    algorithm, state = new()
    stages, used = zip(*evaluate.stages_of(algorithm, state, jnp.zeros((1, 0)), 1, seed=6), strict=True)
    assert stages[0].predicted_return is None and np.isfinite(stages[1].predicted_return).all()
    assert used == (0, SMOKE.refine_episodes * POINT.horizon)


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


def test_after_logs_alone_zero_shot_policies_are_new_where_the_logs_are_not_and_a_stage_has_real_episodes():
    algorithm, state = new(GOALS, dataclasses.replace(LEARNS, real_episodes=0, logged_transitions=2000))
    state, _ = algorithm.step(algorithm.with_logs(state, half_of_the_plane(), STARTS), jax.random.key(0))
    stages = algorithm.adapt(state, jnp.array([[-0.8, 0.0], [0.8, 0.0]]), jax.random.key(1))
    inside, outside = np.asarray(next(stages).novelty)
    assert algorithm.simulator.samples == 0
    assert inside < 1.5 < 2.0 < outside
    next(stages)
    assert algorithm.simulator.samples == 2 * LEARNS.refine_episodes * GOALS.horizon
