"""Untrained policies, and whether this machine draws."""

import jax
import pytest

from onebody.core.nets import Normalizer
from onebody.learning.policies import GaussianPolicy
from onebody.worlds import camera


@pytest.fixture
def policy():
    """A function: one untrained policy of a family, stacked."""

    def make(family):
        body = family.body
        one = lambda key: GaussianPolicy(key, (8,), Normalizer(body.observation_size), body.action_size)  # noqa: E731
        return jax.vmap(one)(jax.random.split(jax.random.key(0), 1))

    return make


@pytest.fixture
def blind(monkeypatch):
    """A machine without OpenGL."""

    def fail(*_):
        raise AttributeError("no OpenGL here\nand more lines of it")

    monkeypatch.setattr(camera.mujoco, "Renderer", fail)
