"""Logs of the point robot that cover half of the plane, for tests of what policies do outside of logs."""

import jax
import numpy as np

from onebody.core.types import Transitions

STARTS = jax.device_put(np.zeros((1040, 2), np.float32))


def half_of_the_plane():
    """2000 transitions [1, time, 1] of random steps at x < 0."""
    rng = np.random.default_rng(0)
    observation = rng.uniform([-1.2, -1.2], [0.0, 1.2], (2000, 2)).astype(np.float32)
    action = rng.uniform(-1, 1, (2000, 2)).astype(np.float32)
    flags = np.zeros((1, 2000, 1), bool)
    rows = [each[None, :, None] for each in (observation, action, observation[:, 0], observation + 0.1 * action)]
    return Transitions(*map(jax.device_put, (*rows, flags, ~flags)))
