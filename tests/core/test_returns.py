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
    seen = transitions([[1.0], [2.0], [3.0]], [[False]] * 3, [[False], [False], [True]])
    value, next_value = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([[2.0], [3.0], [4.0]])
    # δ = 1 + 1 - 1, 2 + 1.5 - 2, 3 + 2 - 3
    np.testing.assert_allclose(gae(seen, value, next_value, 0.5, 0.5), [[1 + 0.25 * 2.0], [1.5 + 0.25 * 2.0], [2.0]])


def test_a_termination_stops_bootstrap_and_trace_and_a_truncation_the_trace_only():
    value = next_value = jnp.full((2, 2), 10.0)
    seen = transitions([[0.0, 0.0], [1.0, 1.0]], [[True, False], [False, False]], [[False, True], [True, True]])
    found = gae(seen, value, next_value, 1.0, 1.0)
    np.testing.assert_allclose(found, [[-10.0, 0.0], [1.0, 1.0]])


def test_first_episode_return_ends_with_the_first_end():
    reward = jnp.array([[[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]]])
    done = jnp.array([[[False, False], [True, False], [False, True]]])
    np.testing.assert_allclose(first_episode_return(reward, done), [[3.0, 7.0]])
