"""Families that only tests need."""

import os
from unittest.mock import patch

import pytest
from customs import EXAMPLE, forgotten

from onebody.tasks import registry
from onebody.tasks.family import TaskFamily
from onebody.worlds import robot


@pytest.fixture
def point_with_wall():
    """A function: the point robot with a horizon, whose episodes end behind x = 0.25."""
    point = registry.make("point/goal")

    def make(horizon):
        return TaskFamily(
            id="wall/point",
            body=point.body,
            space=point.space,
            reward=point.reward,
            terminal=lambda next_observation, task: next_observation[0] > 0.25,
            horizon=horizon,
        )

    return make


@pytest.fixture
def nothing_leaks(tmp_path, monkeypatch):
    """A test has an empty folder; what it registers, here and in Gymnasium, is forgotten."""
    monkeypatch.chdir(tmp_path)
    with forgotten(), patch.dict(os.environ):
        yield


@pytest.fixture
def closed():
    """The single environment of a test is not the next test's."""
    with robot.released():
        yield


@pytest.fixture(scope="module")
def crane():
    with forgotten():
        return registry.make(f"{EXAMPLE}:example/crane")
