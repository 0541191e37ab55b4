import jax.numpy as jnp
import numpy as np

from onebody.core.returns import first_episode_return, gae
from onebody.core.types import Transitions


def transitions(reward, terminated, truncated):
    shape = (*np.shape(reward), 1)
    zeros = jnp.zeros(shape)
    return Transitions(zeros, zeros, jnp.array(reward), zeros, jnp.array(terminated), jnp.array(truncated))


def test_gae_by_hand():
    # one episode: three steps, γ = 0.5, λ = 0.5, truncated at the end, so the last step bootstraps
    batch = transitions([[1.0], [2.0], [3.0]], [[False]] * 3, [[False], [False], [True]])
    value, next_value = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([[2.0], [3.0], [4.0]])
    # δ = 1 + 1 - 1, 2 + 1.5 - 2, 3 + 2 - 3
    np.testing.assert_allclose(gae(batch, value, next_value, 0.5, 0.5), [[1 + 0.25 * 2.0], [1.5 + 0.25 * 2.0], [2.0]])


def test_a_termination_stops_bootstrap_and_trace_and_a_truncation_the_trace_only():
    value = next_value = jnp.full((2, 2), 10.0)
    batch = transitions([[0.0, 0.0], [1.0, 1.0]], [[True, False], [False, False]], [[False, True], [True, True]])
    advantages = gae(batch, value, next_value, 1.0, 1.0)
    np.testing.assert_allclose(advantages, [[-10.0, 0.0], [1.0, 1.0]])


def test_where_the_value_is_right_no_end_of_a_slot_has_an_advantage():
    """Rewards of 1 without end: V = 1 / (1 - γ), also beyond the truncations."""
    truncated = np.random.default_rng(0).random((50, 20)) < 0.05
    truncated[-1] = True
    batch = transitions(np.ones((50, 20), np.float32), np.zeros((50, 20), bool), truncated)
    value = jnp.full((50, 20), 10.0)
    np.testing.assert_allclose(gae(batch, value, value, 0.9, 0.95), 0.0, atol=1e-4)


def test_random_terminations_give_no_advantage_to_a_time_in_the_slot():
    """Rewards of 1 until a termination that comes at each step with p: V = 1 / (1 - γ (1 - p))."""
    terminated = np.random.default_rng(0).random((200, 400)) < 0.01
    last = np.zeros_like(terminated)
    last[-1] = True
    value = jnp.full(terminated.shape, 1 / (1 - 0.99 * 0.99))
    advantages = gae(
        transitions(np.ones(last.shape, np.float32), terminated, last & ~terminated), value, value, 0.99, 1.0
    )
    time = np.broadcast_to(np.arange(200)[:, None], last.shape)
    assert abs(np.corrcoef(np.ravel(advantages), time.ravel())[0, 1]) < 0.05


def test_first_episode_return_ends_with_the_first_end():
    reward = jnp.array([[[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]]])
    done = jnp.array([[[False, False], [True, False], [False, True]]])
    np.testing.assert_allclose(first_episode_return(reward, done), [[3.0, 7.0]])
