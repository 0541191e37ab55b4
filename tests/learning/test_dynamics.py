import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from onebody.core import random
from onebody.core.nets import Normalizer
from onebody.core.types import Transitions
from onebody.learning import dynamics
from onebody.learning.dynamics import Dynamics, DynamicsConfig, merge_statistics, new_dynamics
from onebody.learning.replay import Replay
from onebody.learning.train_state import TrainState

predict = jax.jit(Dynamics.predict)


@functools.partial(jax.jit, static_argnames="config")
def begun(transitions, config):
    """An untrained model that has the statistics of the data."""
    size = transitions.observation.shape[-1]
    return merge_statistics(new_dynamics(jax.random.key(0), size, 1, config), transitions)


@functools.partial(jax.jit, static_argnums=(0, 1))
def without_layers(observations, actions):
    return new_dynamics(jax.random.key(0), observations, actions, DynamicsConfig(hidden=()))


@functools.partial(jax.jit, static_argnames="n")
def linear_transitions(n=400):
    keys = jax.random.split(jax.random.key(0), 2)
    observation, action = random.normal(keys[0], (1, n, 1, 2)), random.uniform(keys[1], (1, n, 1, 1), low=-1.0)
    next_observation = observation @ jnp.array([[0.9, 0.2], [0.0, 0.8]]) + action * jnp.array([0.5, -0.5])
    done = jnp.ones((1, n, 1), bool)
    return Transitions(observation, action, jnp.zeros((1, n, 1)), next_observation, ~done, done)


def test_untrained_model_predicts_the_mean_difference():
    transitions = linear_transitions()
    model = begun(transitions, DynamicsConfig(hidden=(8,)))
    mean = np.subtract(transitions.next_observation, transitions.observation).mean((0, 1, 2))
    x = np.float32([[0.3, -0.2]])
    np.testing.assert_allclose(predict(model, x, np.zeros((1, 1), np.float32)), x + mean, atol=1e-4)


def test_loss_by_hand():
    """Two steps of a model that predicts no change; unit scale; a window that an end of episode runs through."""
    model = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), without_layers(2, 1))
    ones = np.ones(2, np.float32)
    model = eqx.tree_at(lambda m: (m.observation.std, m.difference.std), model, (ones, ones))
    observations = np.float32([[[0.0, 0.0]], [[3.0, 4.0]]])
    next_observations = np.float32([[[3.0, 4.0]], [[3.0, 5.0]]])
    windows = (observations, np.zeros((2, 1, 1), np.float32), next_observations, np.array([[False], [False]]))
    # errors of increments: rms(3, 4) and rms(0, 1)
    expected = (np.sqrt(25 / 2) + np.sqrt(1 / 2)) / 2
    np.testing.assert_allclose(jax.jit(dynamics.loss)(model, windows), expected, rtol=1e-5)


def test_loss_follows_the_models_own_prediction_and_restarts_after_an_end():
    """A model that doubles: from 1 it goes to 2, then (its own prediction) to 4; after an end from the true state."""
    model = eqx.tree_at(lambda m: m.net.weights[0], without_layers(1, 1), np.float32([[1.0], [0.0]]))
    observations, next_observations = np.float32([[[1.0]], [[10.0]]]), np.float32([[[2.0]], [[20.0]]])
    for end, expected in [(False, 8.0), (True, 0.0)]:  # increment 2 against 10; increment 10 against 10
        windows = (observations, np.zeros((2, 1, 1), np.float32), next_observations, np.array([[end], [False]]))
        np.testing.assert_allclose(jax.jit(dynamics.loss)(model, windows), expected / 2, atol=1e-4)


def test_fit_learns_a_linear_system_and_leaves_normalizers_alone():
    transitions, config = linear_transitions(), DynamicsConfig(hidden=(32,), window=1, learning_rate=3e-3)
    model = begun(transitions, config)
    data = Replay.empty(400, 2, 1).add(transitions)
    state = TrainState.create(model, dynamics.optimizer(config))

    @jax.jit
    def error(model):
        predicted = model.predict(transitions.observation, transitions.action) - transitions.observation
        return dynamics.error(model, predicted, transitions.next_observation - transitions.observation).mean()

    fitted = jax.jit(dynamics.fit, static_argnums=(3, 4))(state, data, jax.random.key(1), 600, config)[0].module
    assert error(fitted) < 0.1 < error(model)
    np.testing.assert_array_equal(fitted.observation.mean, model.observation.mean)


def test_a_feature_that_only_last_observations_move_has_half_the_deviation_of_its_differences():
    """And the others, whose differences deviate less than twice as much as they do, keep their own, byte for byte."""
    transitions = linear_transitions()
    observation, moved = (
        np.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1))) for x in (transitions.observation, transitions.next_observation)
    )
    moved[0, 7, 0, 2], moved[0, 300, 0, 2] = 8.0, -8.0
    transitions = transitions._replace(observation=observation, next_observation=moved)
    model = begun(transitions, DynamicsConfig(hidden=(8,)))
    plain = jax.jit(Normalizer.update)(Normalizer(3), observation)
    deviation, of_difference, plain = (np.asarray(x.std) for x in (model.observation, model.difference, plain))
    np.testing.assert_allclose(of_difference[2], 8 * np.sqrt(2 / 400), rtol=1e-4)
    np.testing.assert_allclose(deviation[2], of_difference[2] / 2)
    np.testing.assert_array_equal(deviation[:2], plain[:2])


def test_predictions_stay_within_a_hundred_deviations_and_actions_are_clipped():
    transitions = linear_transitions()
    model = begun(transitions, DynamicsConfig(hidden=()))
    model = eqx.tree_at(lambda m: m.net.weights[0], model, np.full((3, 2), 1e6, np.float32))
    ones = np.ones((1, 2), np.float32)
    far = predict(model, ones, ones[:, :1])
    np.testing.assert_allclose(eqx.filter_jit(model.observation)(far), 100.0, rtol=1e-4)
    np.testing.assert_array_equal(far, predict(model, ones, 9 * ones[:, :1]))
