"""PEARL: the posterior, the losses' scales, what is drawn where, adaptation, and that it learns."""

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms import presets
from onebody.algorithms.context import pearl
from onebody.core import random
from onebody.core.errors import OnebodyError
from onebody.core.gaussian import Gaussian, standard
from onebody.learning.sac import network
from onebody.learning.task_replay import TaskReplay
from onebody.runs import evaluate
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator, Unsimulated

SMOKE = presets.preset("pearl", "smoke")
POINT = registry.make("pearl/point")
SPARSE = registry.make("pearl/sparse-point")


def new(family=POINT, config=SMOKE):
    algorithm = pearl.PEARL(family, config, Simulator(family))
    return algorithm, algorithm.init(jax.random.key(0))


def begun(family, config):
    """The shapes of the untrained state."""
    return eqx.filter_eval_shape(pearl.PEARL(family, config, Unsimulated(family)).init, jax.random.key(0))


@pytest.fixture(scope="module")
def trained():
    algorithm, state = new()
    return algorithm, algorithm.step(state, jax.random.key(1))[0]


@pytest.fixture(scope="module")
def encoder():
    return jax.jit(lambda key: network(key, (5, 16, 4), last=1.0))(jax.random.key(0))


posterior = jax.jit(pearl.posterior)
draw, draw_recent = (jax.jit(each, static_argnums=3) for each in (TaskReplay.draw, TaskReplay.draw_recent))


def test_the_posterior_is_the_product_of_the_transitions_gaussians(encoder):
    context = np.asarray(random.normal(jax.random.key(1), (1, 3, 5)))
    mean, raw = np.split(np.asarray(eqx.filter_jit(encoder)(context[0])), 2, axis=-1)
    variance = np.log1p(np.exp(raw))
    # two at a time: the product of N(m, v) and N(n, w) is N((m w + n v) / (v + w), v w / (v + w))
    m, v = mean[0], variance[0]
    for n, w in zip(mean[1:], variance[1:], strict=True):
        m, v = (m * w + n * v) / (v + w), v * w / (v + w)
    result = posterior(encoder, context)
    np.testing.assert_allclose(np.asarray(result.mean)[0], m, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.exp(2 * np.asarray(result.log_std)[0]), v, rtol=1e-4)


def test_the_posterior_does_not_see_the_order_and_narrows_with_context(encoder):
    context = np.asarray(random.normal(jax.random.key(1), (2, 40, 5)))
    whole, turned = posterior(encoder, context), posterior(encoder, context[:, ::-1])
    np.testing.assert_allclose(whole.mean, turned.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(whole.log_std, turned.log_std, rtol=1e-5)
    deviations = [np.asarray(posterior(encoder, context[:, :n]).log_std).max() for n in (1, 5, 20, 40)]
    assert deviations == sorted(deviations, reverse=True) and deviations[0] - deviations[-1] > 1.0


def test_the_kl_is_summed_over_tasks_and_the_critics_loss_is_a_mean():
    """Of the same task twice, the KL's part of the loss is twice as large and the critics' part the same."""
    algorithm, state = new()
    replay = pearl._filled(state.replay, algorithm._begin(state, jax.random.key(2)))
    drawn = draw(replay, jax.random.key(3), np.zeros(1, np.int32), 1)

    @jax.jit
    def losses(rows):
        """Without the KL, and with it."""
        n, learner = len(rows.reward), state.learner
        batch = pearl.Batch(pearl.context(rows, False), rows, jnp.zeros((n, SMOKE.latent)), jnp.zeros((n, 1, 2)))
        configs = (dataclasses.replace(SMOKE, kl=kl) for kl in (0.0, 1.0))
        nets = learner.encoder_and_critics.module
        return [pearl.critic_loss(nets, batch, learner.target_value, config)[0] for config in configs]

    (critics, whole), (doubled, doubled_whole) = (
        map(float, losses(jax.tree.map(lambda x, n=n: np.repeat(x, n, 0), drawn))) for n in (1, 2)
    )
    assert doubled == pytest.approx(critics, rel=1e-5)
    assert whole - critics > 0.1 and doubled_whole - doubled == pytest.approx(2 * (whole - critics), rel=1e-4)


def test_critics_learn_scaled_rewards():
    config = dataclasses.replace(SMOKE, n_gradient=400, discount=0.0, reward_scale=7.0, learning_rate=3e-3, batch=64)
    algorithm, state = new(config=config)
    state = algorithm.step(state, jax.random.key(1))[0]
    tasks = np.arange(4, dtype=np.int32)
    rows = draw(state.replay, jax.random.key(5), tasks, 64)
    recent = draw_recent(state.replay, jax.random.key(6), tasks, 8)
    belief = posterior(state.learner.encoder, jax.jit(pearl.context, static_argnums=1)(recent, False))
    z = np.repeat(np.asarray(belief.mean)[:, None], 64, axis=1)
    critic = state.learner.encoder_and_critics.module.critics[0]
    result = np.asarray(jax.jit(pearl.value)(critic, rows.observation, rows.action, z))
    assert result.mean() == pytest.approx(7.0 * np.asarray(rows.reward).mean(), rel=0.2)


@pytest.mark.parametrize("dense", [True, False])
def test_training_uses_dense_rewards_and_context_the_sparse_ones(monkeypatch, dense):
    """Or dense ones in collection alone, where these are asked for."""
    config, contexts, original = dataclasses.replace(SMOKE, dense_context=dense), [], pearl._posterior
    monkeypatch.setattr(pearl, "_posterior", lambda encoder, rows: (contexts.append(rows), original(encoder, rows))[1])
    monkeypatch.setattr(pearl, "gradient_steps", lambda learner, *_: (learner, {}))
    algorithm, state = new(SPARSE, config)
    state = algorithm.step(state, jax.random.key(1))[0]
    assert len(contexts) == SMOKE.extra_episodes - 1 + SMOKE.posterior_episodes - 1
    assert all(((np.asarray(rows)[..., -1] < 0) == dense).all() for rows in contexts)
    rows, n = jax.tree.map(np.asarray, state.replay.rows), SMOKE.n_tasks * SMOKE.initial_episodes * 20
    assert (rows.reward[:n] < 0).all() and (rows.signal >= 0).all()
    outside = rows.signal[:n] == 0
    assert outside.any()
    np.testing.assert_allclose(rows.signal[:n][~outside], 1 + rows.reward[:n][~outside], atol=1e-5)


def test_samples_are_counted_by_the_simulator_alone(trained):
    algorithm, state = trained
    first = SMOKE.n_tasks * SMOKE.initial_episodes * POINT.horizon
    visits = SMOKE.visited * (SMOKE.prior_episodes + SMOKE.posterior_episodes + SMOKE.extra_episodes) * POINT.horizon
    assert algorithm.simulator.samples == first + visits and state.replay.n == SMOKE.visited


def test_adaptation_explores_from_the_prior_then_infers_from_all_it_saw(trained):
    algorithm, state = trained
    tasks = POINT.space.held_out(SMOKE.n_tasks)
    stages, used = zip(*evaluate.stages_of(algorithm, state, tasks, 3, seed=7), strict=True)
    assert used == (0, 20, 40, 60)
    np.testing.assert_array_equal(stages[0].belief.mean, np.zeros((4, SMOKE.latent)))
    np.testing.assert_array_equal(stages[0].belief.log_std, np.zeros((4, SMOKE.latent)))
    narrower = [np.asarray(each.belief.log_std).mean() for each in stages]
    assert narrower == sorted(narrower, reverse=True)
    *_, (again, _) = evaluate.stages_of(algorithm, state, tasks[: SMOKE.visited], 1, seed=7)
    np.testing.assert_allclose(again.belief.mean, np.asarray(stages[1].belief.mean)[: SMOKE.visited], atol=1e-5)


def test_the_belief_of_a_stage_is_the_posterior_of_all_transitions_so_far(trained, monkeypatch):
    algorithm, state = trained
    contexts, original = [], pearl._posterior
    monkeypatch.setattr(
        pearl, "_posterior", lambda encoder, context: (contexts.append(context), original(encoder, context))[1]
    )
    stages = list(itertools.islice(algorithm.adapt(state, POINT.space.held_out(SMOKE.n_tasks), jax.random.key(7)), 5))
    for i, stage in enumerate(stages[1:], 1):
        expected = posterior(state.learner.encoder, np.concatenate(contexts[:i], axis=1))
        np.testing.assert_allclose(stage.belief.mean, expected.mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(stage.belief.log_std, expected.log_std, atol=1e-5)


def test_stages_after_the_first_compile_nothing(trained, caplog):
    algorithm, state = trained
    stages = algorithm.adapt(state, POINT.space.held_out(5), jax.random.key(7))
    with jax.log_compiles():
        next(stages), next(stages)
        assert "Compiling" in caplog.text
        caplog.clear()
        next(stages), next(stages), next(stages)
    assert "Compiling" not in caplog.text


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("mbmpo/point", {}, "PEARL needs at least two training tasks, and mbmpo/point gives it 1"),
        ("pearl/cheetah-vel", {"n_tasks": 1}, "pearl/cheetah-vel gives it 1: use sac"),
        ("pearl/point", {"context_rows": 81}, "a context of 81 transitions is longer than the 80 that a visit"),
    ],
)
def test_what_cannot_be_is_refused_before_a_sample(family, change, message):
    config = dataclasses.replace(SMOKE, **change)
    with pytest.raises(OnebodyError, match=message):
        new(registry.make(family), config)


@pytest.mark.parametrize(
    ("family", "n", "trained"), [("pearl/cheetah-vel", 3, 3), ("pearl/cheetah-dir", 100, 2), ("point/goal", 5, 5)]
)
def test_it_trains_on_so_many_of_a_fixed_set(family, n, trained):
    made = registry.make(family)
    config = dataclasses.replace(SMOKE, n_tasks=n, hidden=(4,), encoder=(4,))
    tasks = new(made, config)[1].tasks if n == 3 else begun(made, config).tasks
    assert len(tasks) == trained
    if n == 3:
        np.testing.assert_allclose(tasks, made.space.train[:3])


def test_half_precision_is_that_of_each_network():
    algorithm, state = new(config=dataclasses.replace(SMOKE, precision="bfloat16", meta_batch=4, batch=16))
    replay = pearl._filled(state.replay, algorithm._begin(state, jax.random.key(2)))
    learner, both = state.learner, state.learner.encoder_and_critics.module
    nets = both.encoder, *both.critics, learner.policy.module, learner.value.module, learner.target_value
    assert all(net.half for net in nets)
    step = jax.make_jaxpr(lambda key: pearl.update(state.learner, replay, key, algorithm.config, False)[1])
    assert "bf16" in str(step(jax.random.key(3)))


@pytest.mark.parametrize("preset", ["paper", "released", "laptop"])
def test_published_settings_begin_on_every_family_of_theirs(preset, monkeypatch):
    """That the observations of these families do not tell the task is tested elsewhere."""
    monkeypatch.setattr(pearl, "check_hidden", lambda family: None)
    for family in (
        "pearl/cheetah-vel",
        "pearl/cheetah-dir",
        "pearl/point",
        "pearl/sparse-point",
        "pearl/walker-params",
    ):
        begun(registry.make(family), dataclasses.replace(presets.preset("pearl", preset, family), n_iterations=1))
    sparse = presets.preset("pearl", preset, "pearl/sparse-point")
    assert (sparse.posterior_episodes, sparse.discount, sparse.exploration_episodes) == (45, 0.9, 5)


def test_it_learns_to_tell_goals_apart():
    """Dense rewards, goals in a square: what it infers makes it much better than the prior."""
    config = presets.preset("pearl", "laptop", "pearl/point")
    small = {"n_iterations": 8, "n_gradient": 250, "hidden": (32, 32), "encoder": (32, 32), "batch": 32}
    quick = {"meta_batch": 8, "learning_rate": 3e-3, "target_rate": 0.02, "discount": 0.8, "reward_scale": 20.0}
    config = dataclasses.replace(config, **small, **quick)
    algorithm, state = new(config=config)
    for i in range(config.n_iterations):
        state, _ = algorithm.step(state, jax.random.key(i))
    tasks = POINT.space.held_out(20)
    reached = [
        float(evaluate.real_return(POINT, each.policies, tasks).mean())
        for each in itertools.islice(algorithm.adapt(state, tasks, jax.random.key(9)), 4)
    ]
    assert reached[3] > -13.5 and reached[3] > reached[0] + 2.5, reached


def test_kl_of_a_gaussian_to_the_prior():
    belief = Gaussian(np.float32([[1.0, 0.0]]), np.log(np.float32([[1.0, 2.0]])))
    expected = 0.5 * 1.0 + 0.5 * (4.0 - 1.0 - np.log(4.0))
    assert jax.jit(lambda belief: belief.kl(standard(1, 2)))(belief).item() == pytest.approx(expected, rel=1e-5)
