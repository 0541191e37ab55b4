import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.core import random
from onebody.core.errors import OnebodyError
from onebody.core.nets import Normalizer
from onebody.core.types import Transitions
from onebody.learning import ensemble
from onebody.learning.dynamics import merge_statistics, network_inputs
from onebody.learning.ensemble import Ensemble, EnsembleConfig
from onebody.learning.replay import Replay
from onebody.learning.train_state import TrainState

CONFIG = EnsembleConfig(members=3, hidden=(64, 64), batch=128)
MATRIX = jnp.array([[0.2, -0.1], [0.05, -0.3], [0.4, 0.1]])


def transitions(key, n, noise=0.0, scale=1.0):
    """s' = s + [s, a] A + noise, of a two-dimensional state and one action."""
    state_key, action_key, noise_key = jax.random.split(key, 3)
    observation = scale * random.normal(state_key, (1, n, 1, 2))
    action = random.uniform(action_key, (1, n, 1, 1), low=-1.0)
    after = observation + jnp.concatenate([observation, action], -1) @ MATRIX
    after = after + noise * random.normal(noise_key, after.shape)
    zero = jnp.zeros((1, n, 1))
    return Transitions(observation, action, zero, after, zero > 0, zero > 0)


def fitted(rows, steps=600, config=CONFIG, size=2):
    model = merge_statistics(Ensemble(jax.random.key(0), size, 1, config), rows)
    state = TrainState.create(model, ensemble.optimizer(config))
    data = Replay.empty(4096, size, 1).add(rows)
    return jax.jit(ensemble.fit, static_argnums=(3, 4))(state, data, jax.random.key(1), steps, config)[0].module


def test_it_learns_a_linear_body_and_knows_what_it_does_not_know():
    model = fitted(transitions(jax.random.key(0), 4000))
    test = transitions(jax.random.key(5), 500)
    error = (model.predict(test.observation, test.action) - test.next_observation) / model.difference.std
    assert float(jnp.sqrt(jnp.mean(error**2))) < 0.05
    near = model.disagreement(test.observation, test.action).mean()
    far = transitions(jax.random.key(6), 500, scale=8.0)
    assert float(model.disagreement(far.observation, far.action).mean()) > 10 * float(near)


def dead_column(rows, moved):
    """With a third feature that is 0, but for so many next observations of 10, as of a force at the end of episodes."""
    observation, after = (jnp.pad(x, ((0, 0),) * 3 + ((0, 1),)) for x in (rows.observation, rows.next_observation))
    return rows._replace(observation=observation, next_observation=after.at[0, :moved, 0, 2].set(10.0))


@pytest.mark.parametrize("moved", [0, 2])
def test_a_feature_that_hardly_varies_does_not_leave_the_data(moved):
    """In no imagined step, nor after several; the others grow without bound in this body."""
    model = fitted(dead_column(transitions(jax.random.key(0), 4000), moved), size=3)
    state = jnp.zeros((50, 3))
    for key in jax.random.split(jax.random.key(2), 10):
        state = model.predict(state, random.uniform(key, (50, 1), low=-1.0)).mean(0)
        assert float(jnp.abs(model.observation(state)[:, 2]).max()) < 3
    if not moved:
        np.testing.assert_array_equal(state[:, 2], 0)
        elsewhere = state.at[:, 2].set(10.0)  # a model that has not seen it move ignores it
        action = jnp.zeros((50, 1))
        np.testing.assert_array_equal(model.predict(elsewhere, action)[..., :2], model.predict(state, action)[..., :2])
        assert float(model.disagreement(elsewhere, action).max()) < 1


def test_the_noise_of_the_body_is_learned():
    model = fitted(transitions(jax.random.key(0), 4000, noise=0.2))
    test = transitions(jax.random.key(5), 500)
    inputs = network_inputs(model.observation, test.observation, test.action)
    deviation = jnp.exp(jax.vmap(lambda net: net(inputs))(model.nets).log_std) * model.difference.std
    np.testing.assert_allclose(deviation.mean((0, 1, 2, 3)), 0.2, rtol=0.15)


def test_a_member_is_its_row_of_the_prediction():
    model = merge_statistics(Ensemble(jax.random.key(0), 2, 1, CONFIG), transitions(jax.random.key(0), 50))
    test = transitions(jax.random.key(5), 7)
    together = model.predict(test.observation, test.action)
    assert together.shape == (3, 1, 7, 1, 2) and model.size == 3
    for i in range(3):
        np.testing.assert_allclose(model.member(i).predict(test.observation, test.action), together[i], atol=1e-6)
    assert float(jnp.abs(together[0] - together[1]).max()) > 1e-4
    by_hand = jnp.sqrt(jnp.mean((together.std(0) / model.difference.std) ** 2, axis=-1))
    np.testing.assert_allclose(model.disagreement(test.observation, test.action), by_hand, rtol=1e-5)


def test_members_do_not_learn_from_each_other():
    """A member fitted in an ensemble is the same as if the others had begun elsewhere."""
    rows = transitions(jax.random.key(0), 500)
    model = merge_statistics(Ensemble(jax.random.key(0), 2, 1, CONFIG), rows)
    others = jax.tree.map(lambda x: x.at[1:].multiply(2.0), model.nets)
    data = Replay.empty(4096, 2, 1).add(rows)
    result = []
    for each in (model, eqx.tree_at(lambda m: m.nets, model, others)):
        state = TrainState.create(each, ensemble.optimizer(CONFIG))
        result.append(ensemble.fit(state, data, jax.random.key(1), 5, CONFIG)[0].module.nets)
    for one, other in zip(*map(jax.tree.leaves, result), strict=True):
        np.testing.assert_allclose(one[0], other[0], atol=1e-6)
        assert (one[1] != other[1]).any()


def test_the_loss_weighs_squared_errors_by_a_deviation_that_does_not_touch_the_mean():
    net = jax.tree.map(lambda x: x[0], Ensemble(jax.random.key(0), 2, 1, CONFIG).nets)
    test = transitions(jax.random.key(5), 9)
    observation, action, difference = (x[0, :, 0] for x in (test.observation, test.action, test.next_observation))
    inputs = network_inputs(Normalizer(2), observation, action)
    mean, log_std = net(inputs)
    density = jax.scipy.stats.norm.logpdf(difference, mean, jnp.exp(log_std)) + 0.5 * np.log(2 * np.pi)
    expected = 0.5 * jnp.mean((difference - mean) ** 2 / jnp.exp(log_std)) - density.mean()
    assert float(ensemble.loss(net, inputs, difference)) == pytest.approx(float(expected), rel=1e-4)
    assert ensemble.LOG_STD[0] <= float(log_std.min()) and float(log_std.max()) <= ensemble.LOG_STD[1]

    def weighted(net):
        error = difference - net(inputs).mean
        return 0.5 * jnp.mean(error**2 / jnp.exp(log_std))

    ours = jax.grad(ensemble.loss)(net, inputs, difference)
    theirs = jax.grad(weighted)(net)
    for layer in range(3):  # hidden layers and mean learn from the weighted squared error alone
        np.testing.assert_allclose(ours.mean.weights[layer], theirs.mean.weights[layer], atol=1e-6)
    assert float(jnp.abs(ours.deviation_weight).max()) > 1e-4


def test_slow_states_are_learned_as_well_as_fast_ones():
    """A body that moves a hundred times as fast, and unpredictably, in one of ten episodes."""
    fast = transitions(jax.random.key(1), 400, noise=20.0, scale=20.0)
    slow = transitions(jax.random.key(0), 3600, scale=0.2)
    model = fitted(jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), slow, fast), 1200)
    test = transitions(jax.random.key(5), 500, scale=0.2)
    error = model.predict(test.observation, test.action).mean(0) - test.next_observation
    moved = test.next_observation - test.observation
    assert float(jnp.sqrt(jnp.mean(error**2) / jnp.var(moved))) < 0.3


def test_a_feature_that_moves_little_does_not_drown_the_others():
    """A third one that differs between episodes and hardly within them: noise on it is no larger than its steps."""
    rows, key = transitions(jax.random.key(0), 4000), jax.random.key(9)
    place = random.normal(key, (1, 4000, 1, 1))
    rows = rows._replace(
        observation=jnp.concatenate([rows.observation, place], -1),
        next_observation=jnp.concatenate([rows.next_observation, place + 1e-4 * rows.action], -1),
    )
    model = fitted(rows, size=3)
    error = (model.predict(rows.observation, rows.action).mean(0) - rows.next_observation) / model.difference.scale
    assert float(jnp.sqrt(jnp.mean(error[..., :2] ** 2))) < 0.05


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
    member, state = model.member(0), turning(jax.random.key(5), 50).observation
    for key in jax.random.split(jax.random.key(2), 300):
        state = member.predict(state, random.uniform(key, (1, 50, 1, 1), low=-1.0))
    radius = jnp.linalg.norm(state, axis=-1)
    assert float(jnp.abs(radius - 1).max()) < 1


@pytest.mark.parametrize(
    "bad", [{"members": 0}, {"hidden": (0,)}, {"learning_rate": 0.0}, {"weight_decay": -1.0}, {"input_noise": -1.0}]
)
def test_settings_that_cannot_work_are_refused(bad):
    with pytest.raises(OnebodyError, match=next(iter(bad)).replace("_", "-")):
        dataclasses.replace(CONFIG, **bad)
