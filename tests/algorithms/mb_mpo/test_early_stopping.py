"""Fits that end when validation says so: splits, weight norm, early stopping."""

import dataclasses

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
    observation, action = (jnp.asarray(rng.uniform(-1, 1, (1, n, 1, size)), jnp.float32) for size in (2, 1))
    change = 0.3 * observation[..., ::-1] + 0.5 * action
    following = observation + change + noise * jnp.asarray(rng.normal(size=change.shape), jnp.float32)
    ended = jnp.zeros((1, n, 1), bool)
    return Transitions(observation, action, ended.astype(jnp.float32), following, ended, ended)


def fitted(transitions, config=CONFIG, capacity=600):
    data = Replay.empty(capacity, 2, 1).add(transitions)
    model = merge_statistics(EarlyStoppedEnsemble(jax.random.key(0), 2, 1, config), transitions)
    return early_stopping.fit(model, data, jax.random.key(1), config)


def test_weights_are_gains_times_unit_directions_and_only_gains_set_their_size():
    net = WeightNormed(jax.random.key(0), (3, 8, 2))
    plain = net.plain()
    np.testing.assert_allclose(jnp.linalg.norm(plain.weights[0], axis=0), net.gains[0], rtol=1e-5)
    longer = eqx.tree_at(lambda n: n.net.weights, net, [7 * direction for direction in net.net.weights])
    np.testing.assert_allclose(longer.plain().weights[1], plain.weights[1], rtol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_each_member_learns_the_system_beside_unfilled_rows(precision):
    model, metrics = fitted(moved(500), dataclasses.replace(CONFIG, precision=precision))
    assert (metrics["model/held_out_error"] < 0.15).all()
    steps = moved(50, seed=9)
    models = model.members()
    predicted = jax.vmap(lambda m: m.predict(steps.observation, steps.action))(models)
    error = (predicted - steps.next_observation) / model.difference.std
    assert float(jnp.sqrt(jnp.mean(error**2))) < 0.2
    assert float(jnp.abs(predicted[0] - predicted[1]).max()) > 1e-5  # members differ


def test_each_member_has_its_own_split():
    """Members that begin alike, and see all their rows in each step, differ by which rows these are."""
    config = dataclasses.replace(CONFIG, batch=80, epochs=2)
    transitions = moved(100, noise=1.0)
    begun = merge_statistics(EarlyStoppedEnsemble(jax.random.key(0), 2, 1, config), transitions)
    alike = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), begun.nets)
    begun = eqx.tree_at(lambda m: m.nets, begun, alike)
    model, _ = early_stopping.fit(begun, Replay.empty(600, 2, 1).add(transitions), jax.random.key(1), config)
    gains = model.nets.module.gains[0]
    assert (jnp.abs(gains[1:] - gains[:-1]).max(axis=1) > 1e-4).all()


def rows(n_held_out, n_fitted):
    """A network, and rows of which the first are held out."""
    net = WeightNormed(jax.random.key(0), (3, 8, 2))
    inputs, wanted = (random.normal(jax.random.key(i), (n_held_out + n_fitted, size)) for i, size in ((1, 3), (2, 2)))
    order = jax.random.permutation(jax.random.key(3), len(inputs))
    split = early_stopping._Split(inputs, wanted, order, jnp.array(n_held_out), jnp.array(n_fitted))
    return TrainState.create(net, optax.adam(1e-3)), split


def test_validation_is_the_mean_error_of_rows_held_out_and_of_no_others():
    net, split = rows(n_held_out=25, n_fitted=40)
    held_out = split.order[:25]
    expected = jnp.mean((net.module.plain()(split.inputs[held_out]) - split.target[held_out]) ** 2)
    np.testing.assert_allclose(early_stopping._validation_loss(net.module, split, batch=10), expected, rtol=1e-5)


def test_epochs_begin_at_different_places():
    net, split = rows(n_held_out=10, n_fitted=50)

    def after(key, batch):
        config = dataclasses.replace(CONFIG, batch=batch)
        return early_stopping._epoch(net, split, jax.random.key(key), config).module.gains[0]

    np.testing.assert_allclose(after(0, batch=50), after(1, batch=50), atol=1e-5)  # the same rows
    assert jnp.abs(after(0, batch=40) - after(1, batch=40)).max() > 1e-4


def test_a_member_stops_when_its_rolling_validation_loss_rises():
    """Pure noise cannot be learned: validation rises long before the last epoch."""
    noisy = moved(40, noise=5.0)
    _, metrics = fitted(noisy, dataclasses.replace(CONFIG, epochs=400, hidden=(64, 64), batch=16))
    assert (metrics["model/epochs"] < 200).all()
    _, patient = fitted(noisy, dataclasses.replace(CONFIG, epochs=400, hidden=(64, 64), batch=16, persistence=0.95))
    assert (patient["model/epochs"] > metrics["model/epochs"]).all()


def test_no_more_epochs_than_allowed_and_a_fit_goes_on_from_the_one_before():
    config = dataclasses.replace(CONFIG, epochs=3)
    transitions = moved(200)
    data = Replay.empty(600, 2, 1).add(transitions)
    model = merge_statistics(EarlyStoppedEnsemble(jax.random.key(0), 2, 1, config), transitions)
    once, first = early_stopping.fit(model, data, jax.random.key(1), config)
    _, second = early_stopping.fit(once, data, jax.random.key(2), config)
    assert (first["model/epochs"] == 3).all()
    assert (second["model/held_out_error"] < first["model/held_out_error"]).all()
    counts = jax.tree.leaves(once.nets.optimizer_state)[0]
    assert (counts == 3 * (160 // 32)).all()


def test_held_out_rows_are_not_fitted():
    """With rows that lie, a member whose split holds them out does not learn them."""
    config = dataclasses.replace(
        CONFIG, members=1, held_out=0.5, epochs=200, persistence=1.0, hidden=(64, 64), batch=20
    )
    noisy = moved(40, noise=1.0)
    model, metrics = fitted(noisy, dataclasses.replace(config, batch=20))
    error = metrics["model/held_out_error"]
    inputs = jnp.concatenate([model.observation(noisy.observation), noisy.action], -1)[0, :, 0]
    wanted = model.difference(noisy.next_observation - noisy.observation)[0, :, 0]
    net = jax.tree.map(lambda x: x[0], model.members().net)
    rows = jnp.sqrt(jnp.mean((net(inputs) - wanted) ** 2, axis=-1))
    known = jnp.sort(rows)[:20]
    assert float(jnp.sqrt((known**2).mean())) < 0.5 * float(error[0])


def test_nothing_left_to_fit_is_refused():
    with pytest.raises(OnebodyError, match="nothing would be left"):
        EarlyStoppingConfig(held_out=1.0)


def test_erroneous_members_are_off_by_their_own_bias_and_by_noise_while_the_fit_is_the_same():
    plain, right = fitted(moved(500))
    config = dataclasses.replace(CONFIG, bias=0.5, noise=0.1)
    model, metrics = fitted(moved(500), config)
    np.testing.assert_array_equal(metrics["model/held_out_error"], right["model/held_out_error"])
    steps = moved(4000, seed=9)
    key = jax.random.key(3)
    predict = jax.vmap(lambda m, key: m(key, steps.observation, steps.action), in_axes=(0, None))
    off = predict(model.members(), key) - predict(plain.members(), key)
    off /= plain.difference.std
    bias = off.reshape(3, -1).mean(1)
    np.testing.assert_allclose(bias, model.bias, atol=0.01)
    assert ((model.bias > 0) & (model.bias < 0.5)).all() and len(set(model.bias.tolist())) == 3
    np.testing.assert_allclose(off.reshape(3, -1).std(1), 0.1, rtol=0.05)
    other = predict(model.members(), jax.random.key(4)) - predict(plain.members(), key)
    assert (jnp.abs(other / plain.difference.std - off)).max() > 0.1  # another key, other noise
    far = eqx.tree_at(lambda m: m.bias, model, jnp.full(3, 1e6))
    cut = predict(far.members(), key)
    assert (jnp.abs(cut - far.observation.mean) <= 100.1 * far.observation.std).all()


def test_biases_are_drawn_anew_at_every_fit():
    config = dataclasses.replace(CONFIG, bias=0.5, epochs=1)
    transitions = moved(200)
    data = Replay.empty(600, 2, 1).add(transitions)
    first, _ = fitted(transitions, config)
    second, _ = early_stopping.fit(first, data, jax.random.key(2), config)
    assert (first.bias != second.bias).all()
