import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from onebody.core.nets import Normalizer
from onebody.learning.policies import GaussianPolicy
from onebody.learning.ppo import clipped_surrogate, minibatches, minimize
from onebody.learning.train_state import TrainState

RATIO, ADVANTAGE = jnp.array([0.5, 1.5, 0.5, 1.5]), jnp.array([1.0, 2.0, -1.0, -2.0])


def test_the_clipped_surrogate_by_hand():
    # 0.5, 1.5 · 2 clipped to 1.2 · 2, -0.5 clipped to -0.8, -1.5 · 2: the smaller of each pair
    assert float(clipped_surrogate(RATIO, ADVANTAGE, 0.2)) == pytest.approx((0.5 + 2.4 - 0.8 - 3.0) / 4)


def test_what_is_clipped_has_no_gradient():
    slope = jax.grad(clipped_surrogate)(RATIO, ADVANTAGE, 0.2)
    np.testing.assert_allclose(slope, [1 / 4, 0.0, 0.0, -2 / 4])


def test_each_epoch_has_every_row_once_in_an_order_of_its_own():
    chosen = minibatches(jax.random.key(0), 12, 2, 4)
    assert chosen.shape == (8, 3)
    first, second = chosen.reshape(2, 12)
    np.testing.assert_array_equal(np.sort(first), np.arange(12))
    np.testing.assert_array_equal(np.sort(second), np.arange(12))
    assert (first != second).any() and (first != np.arange(12)).any()
    np.testing.assert_array_equal(chosen, minibatches(jax.random.key(0), 12, 2, 4))
    assert (chosen != minibatches(jax.random.key(1), 12, 2, 4)).any()


@pytest.mark.parametrize(("rows", "count", "shape"), [(10, 4, (4, 2)), (3, 8, (3, 1)), (7, 1, (1, 7))])
def test_what_does_not_fill_a_minibatch_is_left_out(rows, count, shape):
    chosen = minibatches(jax.random.key(0), rows, 1, count)
    assert chosen.shape == shape and len(np.unique(chosen)) == chosen.size


def test_a_step_goes_down_the_loss_of_its_own_rows():
    """Plain gradient steps on ½ (x - row)², a row a step: x moves halfway to each."""
    rows, chosen = jnp.array([8.0, 4.0, -100.0]), jnp.array([[0], [1]])
    loss = lambda x, row: (0.5 * ((x - row) ** 2).sum(), {"at": x})  # noqa: E731
    sgd = optax.sgd(0.5)
    result, metrics = minimize(TrainState.create(jnp.array(0.0), sgd), loss, rows, chosen, sgd)
    assert float(result.module) == 4.0 and float(metrics["at"]) == 4.0  # of the last step, before it: (0 + 8) / 2


def test_statistics_are_not_learned():
    adam = optax.adam(0.1)

    @jax.jit
    def before_and_after():
        seen = Normalizer(2).update(jnp.array([[1.0, 2.0], [3.0, 5.0]]))
        policy = GaussianPolicy(jax.random.key(0), (4,), seen, 1)
        loss = lambda policy, rows: (policy.distribution(rows).mean.sum(), {})  # noqa: E731
        learner = TrainState.create(policy, adam)
        return policy, minimize(learner, loss, jnp.ones((4, 2)), jnp.zeros((2, 4), int), adam)[0].module

    policy, moved = before_and_after()
    assert not np.array_equal(moved.net.weights[0], policy.net.weights[0])
    for now, then in zip(jax.tree.leaves(moved.observation), jax.tree.leaves(policy.observation), strict=True):
        np.testing.assert_array_equal(now, then)
