"""Families that only tests need."""

import pytest

from onebody.tasks import registry
from onebody.tasks.family import TaskFamily


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
