import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from onebody.core import random
from onebody.core.errors import OnebodyError
from onebody.core.nets import Normalizer
from onebody.core.types import Transitions
from onebody.learning import ensemble
from onebody.learning.dynamics import merge_statistics, network_inputs
from onebody.learning.ensemble import Ensemble, EnsembleConfig, Member, ProbabilisticNet
from onebody.learning.replay import Replay
from onebody.learning.train_state import TrainState

CONFIG = EnsembleConfig(members=3, hidden=(48, 48), batch=96)
MATRIX = np.float32([[0.2, -0.1], [0.05, -0.3], [0.4, 0.1]])


predict, disagreement = jax.jit(Ensemble.predict), jax.jit(Ensemble.disagreement)


@functools.partial(jax.jit, static_argnames="n")
def transitions(key, n, noise=0.0, scale=1.0):
    """s' = s + [s, a] A + noise, of a two-dimensional state and one action."""
    state_key, action_key, noise_key = jax.random.split(key, 3)
    observation = scale * random.normal(state_key, (1, n, 1, 2))
    action = random.uniform(action_key, (1, n, 1, 1), low=-1.0)
    after = observation + jnp.concatenate([observation, action], -1) @ MATRIX
    after = after + noise * random.normal(noise_key, after.shape)
    zero = jnp.zeros((1, n, 1))
    return Transitions(observation, action, zero, after, zero > 0, zero > 0)


@functools.partial(jax.jit, static_argnames="size")
def begun(rows, size=2):
    """An untrained ensemble that has the statistics of the data."""
    return merge_statistics(Ensemble(jax.random.key(0), size, 1, CONFIG), rows)


def fitted_from(model, rows, steps):
    return fit(model, Replay.empty(4096, rows.observation.shape[-1], 1).add(rows), steps)


@functools.partial(jax.jit, static_argnames="steps")
def fit(model, data, steps):
    state = TrainState.create(model, ensemble.optimizer(CONFIG))
    return ensemble.fit(state, data, jax.random.key(1), steps, CONFIG)[0].module


def fitted(rows, steps=600, size=2):
    return fitted_from(begun(rows, size), rows, steps)


def root_mean_square(x):
    return float(np.sqrt(np.mean(np.square(x))))


def test_it_learns_a_linear_body_and_knows_what_it_does_not_know():
    model = fitted(transitions(jax.random.key(0), 4000))
    test = transitions(jax.random.key(5), 500)
    error = np.subtract(predict(model, test.observation, test.action), test.next_observation) / model.difference.std
    assert root_mean_square(error) < 0.05
    near = np.mean(disagreement(model, test.observation, test.action))
    far = transitions(jax.random.key(6), 500, scale=8.0)
    assert np.mean(disagreement(model, far.observation, far.action)) > 10 * near


def dead_column(rows, moved):
    """With a third feature that is 0, but for so many next observations of 10, as of a force at the end of episodes."""
    observation, after = (np.pad(x, ((0, 0),) * 3 + ((0, 1),)) for x in (rows.observation, rows.next_observation))
    after[0, :moved, 0, 2] = 10.0
    return rows._replace(observation=observation, next_observation=after)


@pytest.mark.parametrize("moved", [0, 2])
def test_a_feature_that_hardly_varies_does_not_leave_the_data(moved):
    """In no imagined step, nor after several; the others grow without bound in this body."""
    model = fitted(dead_column(transitions(jax.random.key(0), 4000), moved), size=3)
    state, normalized = np.zeros((50, 3), np.float32), eqx.filter_jit(model.observation)
    for key in jax.random.split(jax.random.key(2), 10):
        state = np.asarray(predict(model, state, random.uniform(key, (50, 1), low=-1.0))).mean(0)
        assert np.abs(np.asarray(normalized(state))[:, 2]).max() < 3
    if not moved:
        np.testing.assert_array_equal(state[:, 2], 0)
        elsewhere = np.where(np.arange(3) == 2, np.float32(10.0), state)  # a model that has not seen it move ignores it
        action = np.zeros((50, 1), np.float32)
        after = [np.asarray(predict(model, each, action))[..., :2] for each in (elsewhere, state)]
        np.testing.assert_array_equal(*after)
        assert np.max(disagreement(model, elsewhere, action)) < 1


def test_the_noise_of_the_body_is_learned():
    model = fitted(transitions(jax.random.key(0), 4000, noise=0.2))
    test = transitions(jax.random.key(5), 500)

    @jax.jit
    def deviation(model, test):
        inputs = network_inputs(model.observation, test.observation, test.action)
        return jnp.exp(jax.vmap(lambda net: net(inputs))(model.nets).log_std) * model.difference.std

    np.testing.assert_allclose(np.mean(deviation(model, test), axis=(0, 1, 2, 3)), 0.2, rtol=0.15)


def test_a_member_is_its_row_of_the_prediction():
    model = begun(transitions(jax.random.key(0), 50))
    test = transitions(jax.random.key(5), 7)
    together = np.asarray(predict(model, test.observation, test.action))
    assert together.shape == (3, 1, 7, 1, 2) and model.size == 3
    alone = jax.jit(lambda model, i, *given: model.member(i).mean.predict(*given))
    for i in range(3):
        np.testing.assert_allclose(alone(model, i, test.observation, test.action), together[i], atol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 1e-4
    by_hand = np.sqrt(np.mean((together.std(0) / model.difference.std) ** 2, axis=-1))
    np.testing.assert_allclose(disagreement(model, test.observation, test.action), by_hand, rtol=1e-5)


def test_a_member_draws_next_observations_from_its_distribution():
    model = begun(transitions(jax.random.key(0), 50))
    given = [jnp.broadcast_to(x[0], (4000, *x[0].shape)) for x in transitions(jax.random.key(5), 7)[:2]]

    @jax.jit
    def drawn(model, *given):
        member = model.member(1)
        std = jnp.exp(member.net(network_inputs(model.observation, *given)).log_std[0]) * model.difference.std
        return member(jax.random.key(3), *given), member.mean.predict(*given)[0], std

    samples, mean, std = map(np.asarray, drawn(model, *given))
    np.testing.assert_allclose(samples.mean(0), mean, atol=4 * std.max() / np.sqrt(4000))
    np.testing.assert_allclose(samples.std(0), std, rtol=0.06)
    apart = np.corrcoef(samples.reshape(4000, -1), rowvar=False) - np.eye(14)
    assert np.abs(apart).max() < 0.08  # rows and features have noise of their own


def test_members_do_not_learn_from_each_other():
    """A member fitted in an ensemble is the same as if the others had begun elsewhere."""
    rows = transitions(jax.random.key(0), 500)
    model = begun(rows)
    others = jax.tree.map(lambda x: np.concatenate([np.asarray(x)[:1], 2 * np.asarray(x)[1:]]), model.nets)
    both = model, eqx.tree_at(lambda m: m.nets, model, others)
    result = [jax.tree.map(np.asarray, fitted_from(each, rows, 5).nets) for each in both]
    for one, other in zip(*map(jax.tree.leaves, result), strict=True):
        np.testing.assert_allclose(one[0], other[0], atol=1e-6)
        assert (one[1] != other[1]).any()


def test_the_loss_weighs_squared_errors_by_a_deviation_that_does_not_touch_the_mean():
    rows = transitions(jax.random.key(5), 9)
    net = jax.tree.map(lambda x: np.asarray(x)[0], begun(rows).nets)
    observation, action, difference = (
        np.asarray(x)[0, :, 0] for x in (rows.observation, rows.action, rows.next_observation)
    )
    inputs = jax.jit(network_inputs)(jax.jit(Normalizer, static_argnums=0)(2), observation, action)
    mean, log_std = map(np.asarray, jax.jit(ProbabilisticNet.__call__)(net, inputs))
    density = scipy.stats.norm.logpdf(difference, mean, np.exp(log_std)) + 0.5 * np.log(2 * np.pi)
    expected = 0.5 * np.mean((difference - mean) ** 2 / np.exp(log_std)) - density.mean()
    assert float(jax.jit(ensemble.loss)(net, inputs, difference)) == pytest.approx(float(expected), rel=1e-4)
    assert ensemble.LOG_STD[0] <= float(log_std.min()) and float(log_std.max()) <= ensemble.LOG_STD[1]

    def weighted(net):
        error = difference - net(inputs).mean
        return 0.5 * jnp.mean(error**2 / jnp.exp(log_std))

    ours = jax.jit(jax.grad(ensemble.loss))(net, inputs, difference)
    theirs = jax.jit(jax.grad(weighted))(net)
    for layer in range(3):  # hidden layers and mean learn from the weighted squared error alone
        np.testing.assert_allclose(ours.mean.weights[layer], theirs.mean.weights[layer], atol=1e-6)
    assert np.abs(ours.deviation_weight).max() > 1e-4


def test_slow_states_are_learned_as_well_as_fast_ones():
    """A body that moves a hundred times as fast, and unpredictably, in one of ten episodes."""
    fast = transitions(jax.random.key(1), 400, noise=20.0, scale=20.0)
    slow = transitions(jax.random.key(0), 3600, scale=0.2)
    model = fitted(jax.tree.map(lambda *x: np.concatenate(x, axis=1), slow, fast), 1200)
    test = transitions(jax.random.key(5), 500, scale=0.2)
    error = np.mean(predict(model, test.observation, test.action), axis=0) - test.next_observation
    moved = np.subtract(test.next_observation, test.observation)
    assert root_mean_square(error) / np.std(moved) < 0.3


@pytest.fixture(scope="module")
def rows_of_a_slow_feature():
    """Of a third feature that differs between episodes and hardly within them."""
    rows, key = transitions(jax.random.key(0), 4000), jax.random.key(9)
    place = np.asarray(random.normal(key, (1, 4000, 1, 1)))
    return rows._replace(
        observation=np.concatenate([rows.observation, place], -1),
        next_observation=np.concatenate([rows.next_observation, place + 1e-4 * np.asarray(rows.action)], -1),
    )


@pytest.fixture(scope="module")
def fitted_to_a_slow_feature(rows_of_a_slow_feature):
    return fitted(rows_of_a_slow_feature, size=3)


def test_a_feature_that_moves_little_does_not_drown_the_others(rows_of_a_slow_feature, fitted_to_a_slow_feature):
    """Noise on it is no larger than its steps."""
    rows, model = rows_of_a_slow_feature, fitted_to_a_slow_feature
    error = np.mean(predict(model, rows.observation, rows.action), axis=0) - rows.next_observation
    scale = jax.jit(lambda model: model.difference.scale)(model)
    assert root_mean_square((error / scale)[..., :2]) < 0.05


def test_noise_on_the_inputs_is_not_drawn(rows_of_a_slow_feature, fitted_to_a_slow_feature):
    """A network learns to expect it, and where it is all that there is, half of it is drawn at most."""

    @jax.jit
    def drawn(model, *given):
        member = model.member(0)
        noise = (member(jax.random.key(3), *given) - member.mean.predict(*given)) / model.difference.scale
        return jnp.exp(member.net(network_inputs(model.observation, *given)).log_std), noise

    expected, noise = (np.asarray(x)[..., 2] for x in drawn(fitted_to_a_slow_feature, *rows_of_a_slow_feature[:2]))
    assert expected.mean() > 0.9
    assert np.std(noise) == pytest.approx(0.5 * expected.mean(), rel=0.1)


@functools.partial(jax.jit, static_argnames="n")
def turning(key, n):
    """A hand that turns by its action, observed as cosine and sine."""
    angle_key, action_key = jax.random.split(key)
    angle = random.uniform(angle_key, (1, n, 1, 1), high=2 * jnp.pi)
    action = random.uniform(action_key, (1, n, 1, 1), low=-1.0)
    observation, after = (jnp.concatenate([jnp.cos(x), jnp.sin(x)], -1) for x in (angle, angle + 0.3 * action))
    zero = jnp.zeros((1, n, 1))
    return Transitions(observation, action, zero, after, zero > 0, zero > 0)


def test_imagined_states_stay_where_the_data_lie():
    model = fitted(turning(jax.random.key(0), 4000), 1200)
    member, state = jax.jit(Ensemble.member, static_argnums=1)(model, 0), turning(jax.random.key(5), 50).observation
    step = jax.jit(Member.__call__)
    for key in jax.random.split(jax.random.key(2), 300):
        state = step(member, jax.random.fold_in(key, 0), state, random.uniform(key, (1, 50, 1, 1), low=-1.0))
    radius = np.linalg.norm(state, axis=-1)
    assert np.abs(radius - 1).max() < 1


@pytest.mark.parametrize(
    "bad", [{"members": 0}, {"hidden": (0,)}, {"learning_rate": 0.0}, {"weight_decay": -1.0}, {"input_noise": -1.0}]
)
def test_settings_that_cannot_work_are_refused(bad):
    with pytest.raises(OnebodyError, match=next(iter(bad)).replace("_", "-")):
        dataclasses.replace(CONFIG, **bad)
