"""MB-MPO: its meta-step is MAML's in the models, data come from the adapted policies, and it learns."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms import presets
from onebody.algorithms.maml import maml
from onebody.algorithms.mb_mpo import mb_mpo, models
from onebody.core import random
from onebody.core.errors import OnebodyError
from onebody.learning.dynamics import Dynamics
from onebody.learning.policies import UniformPolicy
from onebody.runs import evaluate
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

POINT = registry.make("mbmpo/point")
SMOKE = presets.preset("mb-mpo", "smoke")
imagine = jax.jit(mb_mpo.imagine, static_argnums=(4, 5))


def new(family=POINT, **change):
    algorithm = mb_mpo.MBMPO(family, dataclasses.replace(SMOKE, **change), Simulator(family))
    return algorithm, algorithm.init(jax.random.key(0))


@pytest.fixture(scope="module")
def trained():
    algorithm, state = new()
    return algorithm, algorithm.step(state, jax.random.key(1))[0]


def test_first_real_actions_are_uniform():
    noise = random.normal(jax.random.key(0), (20_000, 2))
    action, _ = jax.jit(UniformPolicy(2).__call__)(np.zeros((20_000, 3)), np.zeros(1), (), noise)
    np.testing.assert_allclose(np.quantile(action, [0.1, 0.5, 0.9]), [-0.8, 0.0, 0.8], atol=0.03)
    algorithm, state = new()
    explorers = algorithm._explorers(state)
    first, _ = models.collect(state.models, algorithm.simulator, explorers, jax.random.key(1))
    second, _ = models.collect(first, algorithm.simulator, explorers, jax.random.key(2))
    n, actions = int(first.data.size), np.asarray(second.data.action)
    assert np.abs(actions[:n]).max() <= 1 < np.abs(actions[n : 2 * n]).max()  # then Gaussian


@pytest.mark.parametrize("bias", [0.0, 0.2])
def test_each_imaginary_task_is_imagined_in_its_own_model(bias):
    """Tasks are dealt to models in turn; a policy's episodes follow its model's predictions, flawed ones too."""
    algorithm, begun = new(model=dataclasses.replace(SMOKE.model, bias=bias))
    state, _ = algorithm.step(begun, jax.random.key(1))
    assert (state.models.ensemble.bias is None) == (bias == 0)
    members = state.models.members
    policies = maml.for_each(state.policy, SMOKE.meta_batch)
    result, _ = imagine(state.models, members, policies, jax.random.key(3), POINT, SMOKE)
    shape = SMOKE.meta_batch, POINT.horizon, SMOKE.episodes, -1
    rows, actions = (np.asarray(x).reshape(shape) for x in (result.observation, result.action))
    moved = np.linalg.norm(rows[:, 1:] - rows[:, :-1], axis=-1) < 1.0  # not where a new episode begins
    predict = jax.jit(lambda model, *row: model(jax.random.key(0), *row))  # a bias alone needs no key
    for task in range(SMOKE.meta_batch):
        model = jax.tree.map(lambda x, i=task % 2: np.asarray(x)[i], members)
        predicted = predict(model, rows[task, :-1], actions[task, :-1])
        error = np.abs(predicted - rows[task, 1:]).max(-1)
        assert np.median(error[moved[task]]) < 1e-4


def test_a_meta_step_is_mamls_with_models_for_tasks(trained, monkeypatch):
    """With two inner steps."""
    monkeypatch.setattr(mb_mpo, "imagine", imagine)
    _, state = trained
    members, key = state.models.members, jax.random.key(4)
    config = dataclasses.replace(SMOKE, inner_steps=2)
    moved, metrics = mb_mpo.meta_step(state, members, key, POINT, config)
    *before_keys, after_key = jax.random.split(key, 3)
    adapted, before = maml.for_each(state.policy, SMOKE.meta_batch), ()
    for k in before_keys:
        result, _ = imagine(state.models, members, adapted, k, POINT, config)
        adapted, before = maml.inner_step_each(adapted, result, SMOKE.inner_rate, maml.likelihood), (*before, result)
    after, _ = imagine(state.models, members, adapted, after_key, POINT, config)
    expected, _ = maml.outer_step(state.policy, before, after, config)
    np.testing.assert_allclose(moved.policy.net.weights[0], expected.net.weights[0], atol=1e-6)
    np.testing.assert_allclose(moved.adapted.net.weights[0], adapted.net.weights[0], atol=1e-6)
    assert 0 < metrics["policy/kl"] <= SMOKE.trpo.max_kl


def test_without_an_inner_rate_nothing_adapts_and_the_policy_still_moves(trained, monkeypatch):
    monkeypatch.setattr(mb_mpo, "imagine", imagine)
    _, state = trained
    config = dataclasses.replace(SMOKE, inner_rate=0.0)
    moved, _ = mb_mpo.meta_step(state, state.models.members, jax.random.key(4), POINT, config)
    before = np.asarray(state.policy.net.weights[0])
    for adapted in np.asarray(moved.adapted.net.weights[0]):
        np.testing.assert_array_equal(adapted, before)
    assert np.abs(moved.policy.net.weights[0] - before).max() > 1e-4


def test_predictions_that_leave_the_range_are_cut_and_counted(trained):
    algorithm, state = trained
    wild = eqx.tree_at(lambda s: s.models.ensemble.difference.std, state, jnp.full(2, 1e30, jnp.float32))
    model = jax.tree.map(lambda x: np.asarray(x)[0], wild.models.members)
    statistics = wild.models.ensemble.observation
    predicted = jax.jit(Dynamics.predict)(model, np.zeros((5, 2), np.float32), np.ones((5, 2), np.float32))
    away = np.abs(np.asarray(predicted) - statistics.mean) / statistics.std
    np.testing.assert_allclose(away, 100.0, rtol=1e-3)
    (_, tame), (_, cut) = (
        mb_mpo.meta_steps(each, jax.random.key(0), algorithm.family, algorithm.config) for each in (state, wild)
    )
    assert tame["imagined/clipped"] == 0 and cut["imagined/clipped"] > 0.9


def test_real_data_come_from_the_adapted_policies_unless_told_otherwise(trained, monkeypatch):
    algorithm, state = trained
    asked = []
    original = models.rollout
    monkeypatch.setattr(
        models,
        "rollout",
        lambda world, policies, *rest, **more: (asked.append(policies), original(world, policies, *rest, **more))[1],
    )
    models.collect(state.models, algorithm.simulator, algorithm._explorers(state), jax.random.key(5))
    np.testing.assert_array_equal(asked[-1].net.weights[0], state.adapted.net.weights[0])
    plain, _ = new(tailored=False)
    models.collect(state.models, plain.simulator, plain._explorers(state), jax.random.key(5))
    np.testing.assert_array_equal(asked[-1].net.weights[0][0], state.policy.net.weights[0])


def test_adaptation_takes_real_policy_gradient_steps(trained):
    algorithm, state = trained
    before = algorithm.simulator.samples
    stages, used = zip(*evaluate.stages_of(algorithm, state, jnp.zeros((1, 0)), 2, seed=6), strict=True)
    n = SMOKE.refine_episodes * POINT.horizon
    assert used == (0, n, 2 * n) and algorithm.simulator.samples == before + 2 * n
    np.testing.assert_array_equal(stages[0].policies.net.weights[0][0], state.policy.net.weights[0])


def test_every_model_has_tasks_of_its_own_and_real_episodes_take_turns(trained):
    """Three models and eight tasks: 0, 3, 6 | 1, 4, 7 | 2, 5."""
    algorithm, state = new(meta_batch=8, n_meta=1, model=dataclasses.replace(SMOKE.model, members=3))
    members = state.models.members
    policies = maml.for_each(state.policy, 8)
    result, _ = imagine(state.models, members, policies, jax.random.key(3), POINT, algorithm.config)
    rows, actions = (np.asarray(x).reshape(8, POINT.horizon, -1, 2) for x in (result.observation, result.action))
    predict = jax.jit(jax.vmap(Dynamics.predict, (0, None, None)))
    for task in range(8):
        errors = np.median(np.abs(predict(members, rows[task, 0], actions[task, 0]) - rows[task, 1]), axis=(1, 2))
        assert np.argmin(errors) == task % 3
    with pytest.raises(OnebodyError, match="2 imaginary tasks are fewer than the 3 models"):
        new(meta_batch=2, model=dataclasses.replace(SMOKE.model, members=3))


def test_varying_dynamics_are_refused():
    with pytest.raises(OnebodyError, match="dynamics of pearl/hopper-params vary"):
        new(registry.make("pearl/hopper-params"))


def test_it_learns_the_way_home():
    """The guard that a later version still learns."""
    algorithm, state = new(
        meta_batch=10,
        n_meta=10,
        episodes=20,
        real_episodes=20,
        inner_rate=0.01,
        hidden=(32, 32),
        model=dataclasses.replace(SMOKE.model, members=5, hidden=(64, 64), batch=64, epochs=30),
    )
    for i in range(3):
        state, _ = algorithm.step(state, jax.random.key(i))
    policies = jax.tree.map(lambda x: x[None], state.policy)
    assert algorithm.simulator.samples == 3 * 20 * POINT.horizon
    assert float(evaluate.real_return(POINT, policies, jnp.zeros((1, 0))).mean()) > -11.0
