"""Fits that end when validation says so: splits, weight norm, early stopping."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from onebody.algorithms.mb_mpo import early_stopping
from onebody.algorithms.mb_mpo.early_stopping import EarlyStoppedEnsemble, EarlyStoppingConfig, WeightNormed
from onebody.core import random
from onebody.core.errors import OnebodyError
from onebody.core.types import Transitions
from onebody.learning.dynamics import merge_statistics
from onebody.learning.replay import Replay
from onebody.learning.train_state import TrainState

CONFIG = EarlyStoppingConfig(members=3, hidden=(32,), batch=32, epochs=60, persistence=0.5)


def moved(n, noise=0.0, seed=0):
    """One task, one slot of n steps of a linear system."""
    rng = np.random.default_rng(seed)
    observation, action = (np.float32(rng.uniform(-1, 1, (1, n, 1, size))) for size in (2, 1))
    change = 0.3 * observation[..., ::-1] + 0.5 * action
    following = observation + change + noise * np.float32(rng.normal(size=change.shape))
    ended = np.zeros((1, n, 1), bool)
    return Transitions(observation, action, np.float32(ended), following, ended, ended)


@functools.partial(jax.jit, static_argnames="config")
def begun(transitions, config=CONFIG):
    """An untrained ensemble that has the statistics of the data, and the data."""
    data = Replay.empty(600, 2, 1).add(transitions)
    return merge_statistics(EarlyStoppedEnsemble(jax.random.key(0), 2, 1, config), transitions), data


fit = jax.jit(early_stopping.fit, static_argnums=3)
predict = jax.jit(jax.vmap(lambda member, steps: member.predict(steps.observation, steps.action), (0, None)))
new_net = jax.jit(lambda: WeightNormed(jax.random.key(0), (3, 8, 2)))


def fitted(transitions, config=CONFIG):
    return fit(*begun(transitions, config), jax.random.key(1), config)


def test_weights_are_gains_times_unit_directions_and_only_gains_set_their_size():
    net, plain = new_net(), jax.jit(WeightNormed.plain)
    np.testing.assert_allclose(np.linalg.norm(plain(net).weights[0], axis=0), net.gains[0], rtol=1e-5)
    longer = eqx.tree_at(lambda n: n.net.weights, net, [7 * np.asarray(direction) for direction in net.net.weights])
    np.testing.assert_allclose(plain(longer).weights[1], plain(net).weights[1], rtol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_each_member_learns_the_system_beside_unfilled_rows(precision):
    model, metrics = fitted(moved(500), dataclasses.replace(CONFIG, precision=precision))
    assert (np.asarray(metrics["model/held_out_error"]) < 0.15).all()
    steps = moved(50, seed=9)
    predicted = np.asarray(predict(jax.jit(EarlyStoppedEnsemble.members)(model), steps))
    error = (predicted - steps.next_observation) / model.difference.std
    assert np.sqrt(np.mean(np.square(error))) < 0.2
    assert np.abs(predicted[0] - predicted[1]).max() > 1e-5  # members differ


def test_each_member_has_its_own_split():
    """Members that begin alike, and see all their rows in each step, differ by which rows these are."""
    config = dataclasses.replace(CONFIG, batch=80, epochs=2)
    transitions = moved(100, noise=1.0)
    first, data = begun(transitions, config)
    alike = jax.tree.map(lambda x: np.broadcast_to(np.asarray(x)[:1], x.shape), first.nets)
    first = eqx.tree_at(lambda m: m.nets, first, alike)
    model, _ = fit(first, data, jax.random.key(1), config)
    gains = np.asarray(model.nets.module.gains[0])
    assert (np.abs(gains[1:] - gains[:-1]).max(axis=1) > 1e-4).all()


@functools.partial(jax.jit, static_argnames=("n_held_out", "n_fitted"))
def rows(n_held_out, n_fitted):
    """A network, and rows of which the first are held out."""
    inputs, wanted = (random.normal(jax.random.key(i), (n_held_out + n_fitted, size)) for i, size in ((1, 3), (2, 2)))
    order = jax.random.permutation(jax.random.key(3), len(inputs))
    split = early_stopping._Split(inputs, wanted, order, jnp.array(n_held_out), jnp.array(n_fitted))
    return TrainState.create(new_net(), optax.adam(1e-3)), split


def test_validation_is_the_mean_error_of_rows_held_out_and_of_no_others():
    net, split = rows(n_held_out=25, n_fitted=40)
    held_out = np.asarray(split.order)[:25]
    output = jax.jit(lambda net, inputs: net.plain()(inputs))(net.module, split.inputs)
    expected = np.mean((np.asarray(output) - split.target)[held_out] ** 2)
    result = jax.jit(early_stopping._validation_loss, static_argnames="batch")(net.module, split, batch=10)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_epochs_begin_at_different_places():
    net, split = rows(n_held_out=10, n_fitted=50)
    epoch = jax.jit(early_stopping._epoch, static_argnums=3)

    def after(key, batch):
        config = dataclasses.replace(CONFIG, batch=batch)
        return np.asarray(epoch(net, split, jax.random.key(key), config).module.gains[0])

    np.testing.assert_allclose(after(0, batch=50), after(1, batch=50), atol=1e-5)  # the same rows
    assert np.abs(after(0, batch=40) - after(1, batch=40)).max() > 1e-4


def test_a_member_stops_when_its_rolling_validation_loss_rises():
    """Pure noise cannot be learned: validation rises long before the last epoch."""
    noisy = moved(40, noise=5.0)
    _, metrics = fitted(noisy, dataclasses.replace(CONFIG, epochs=400, hidden=(64, 64), batch=16))
    epochs = np.asarray(metrics["model/epochs"])
    assert (epochs < 200).all()
    _, patient = fitted(noisy, dataclasses.replace(CONFIG, epochs=400, hidden=(64, 64), batch=16, persistence=0.95))
    assert (np.asarray(patient["model/epochs"]) > epochs).all()


def test_no_more_epochs_than_allowed_and_a_fit_goes_on_from_the_one_before_with_other_biases():
    config = dataclasses.replace(CONFIG, epochs=3, bias=0.5)
    model, data = begun(moved(200), config)
    once, first = fit(model, data, jax.random.key(1), config)
    twice, second = fit(once, data, jax.random.key(2), config)
    assert (np.asarray(once.bias) != np.asarray(twice.bias)).all()
    first, second = jax.tree.map(np.asarray, (first, second))
    assert (first["model/epochs"] == 3).all()
    assert (second["model/held_out_error"] < first["model/held_out_error"]).all()
    counts = np.asarray(jax.tree.leaves(once.nets.optimizer_state)[0])
    assert (counts == 3 * (160 // 32)).all()


def test_held_out_rows_are_not_fitted():
    """With rows that lie, a member whose split holds them out does not learn them."""
    config = dataclasses.replace(
        CONFIG, members=1, held_out=0.5, epochs=200, persistence=1.0, hidden=(64, 64), batch=20
    )
    noisy = moved(40, noise=1.0)
    model, metrics = fitted(noisy, dataclasses.replace(config, batch=20))
    error = metrics["model/held_out_error"]

    @jax.jit
    def squared_errors(model, noisy):
        inputs = jnp.concatenate([model.observation(noisy.observation), noisy.action], -1)[0, :, 0]
        wanted = model.difference(noisy.next_observation - noisy.observation)[0, :, 0]
        net = jax.tree.map(lambda x: x[0], model.members().net)
        return jnp.mean((net(inputs) - wanted) ** 2, axis=-1)

    known = np.sort(squared_errors(model, noisy))[:20]
    assert np.sqrt(known.mean()) < 0.5 * error.item()


def test_nothing_left_to_fit_is_refused():
    with pytest.raises(OnebodyError, match="nothing would be left"):
        EarlyStoppingConfig(held_out=1.0)


def test_erroneous_members_are_off_by_their_own_bias_and_by_noise_while_the_fit_is_the_same():
    config = dataclasses.replace(CONFIG, bias=0.5, noise=0.1)
    (plain, right), (model, metrics) = (  # without jit both fits are one program, and so the same bytes
        early_stopping.fit(*begun(moved(500), each), jax.random.key(1), each) for each in (CONFIG, config)
    )
    np.testing.assert_array_equal(metrics["model/held_out_error"], right["model/held_out_error"])
    steps = moved(4000, seed=9)
    key = jax.random.key(3)

    @jax.jit
    def predicted(model, key):
        one = lambda member: member(key, jax.device_put(steps.observation), jax.device_put(steps.action))  # noqa: E731
        return jax.vmap(one)(model.members())

    spread, biases, right_ones = np.asarray(plain.difference.std), np.asarray(model.bias), predicted(plain, key)
    off = np.subtract(predicted(model, key), right_ones) / spread
    bias = off.reshape(3, -1).mean(1)
    np.testing.assert_allclose(bias, biases, atol=0.01)
    assert ((biases > 0) & (biases < 0.5)).all() and len(set(biases.tolist())) == 3
    np.testing.assert_allclose(off.reshape(3, -1).std(1), 0.1, rtol=0.05)
    other = np.subtract(predicted(model, jax.random.key(4)), right_ones)
    assert (np.abs(other / spread - off)).max() > 0.1  # another key, other noise
    far = eqx.tree_at(lambda m: m.bias, model, np.full(3, 1e6, np.float32))
    mean, limit = np.asarray(far.observation.mean), 100.1 * np.asarray(far.observation.std)
    assert (np.abs(predicted(far, key) - mean) <= limit).all()
