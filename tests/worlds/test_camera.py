"""Pictures of bodies, and what is said where there are none."""

import numpy as np
import pytest

from onebody.core.errors import OnebodyError
from onebody.tasks.body import GymnasiumBody
from onebody.tasks.registry import make
from onebody.worlds.camera import Camera

POINT = make("point/goal").body
WAY = [np.array([0.0, 0.0]), np.array([0.25, 0.0]), np.array([0.5, 0.0])]


def at(picture, place, reach, half=120):
    """The colour at a place (m)."""
    width, height = picture.size
    return picture.getpixel((width // 2 + round(half * place[0] / reach), height // 2 - round(half * place[1] / reach)))


def test_a_point_is_a_dot_with_the_way_it_came_and_a_ring_at_its_task():
    picture = Camera(POINT).picture(WAY, np.array([0.0, 0.5]))
    assert picture.size == (320, 240) and picture.mode == "RGB"
    assert at(picture, WAY[-1], 0.6) == (31, 111, 181)
    assert at(picture, (0.25, 0.0), 0.6) == pytest.approx((143, 179, 220), abs=20)  # a thin line, smoothed
    assert at(picture, (0.0, 0.5 + 8 * 0.6 / 120), 0.6) == pytest.approx((194, 87, 26), abs=20)


def test_a_task_that_is_no_place_has_no_ring():
    picture = np.asarray(Camera(POINT).picture(WAY, np.zeros(0)), int)
    assert np.abs(picture - (194, 87, 26)).sum(-1).min() > 100


def test_pictures_of_a_way_have_one_scale_and_the_last_is_that_of_the_whole_way():
    camera = Camera(POINT, (64, 48))
    pictures = camera.pictures(WAY, np.zeros(0))
    assert pictures[-1].size == (64, 48) and pictures[-1] == camera.picture(WAY, np.zeros(0))
    assert [at(picture, place, 0.6, half=24) for picture, place in zip(pictures, WAY)] == 3 * [(31, 111, 181)]


def test_a_robot_in_its_pose(renders):
    body = make("mbmpo/hopper").body
    standing, lying = body.model.qpos0.copy(), body.model.qpos0.copy()
    lying[1:3] = 0.2, 1.5
    with Camera(body, (64, 48)) as camera:
        first, second = camera.pictures([standing, lying], np.zeros(0))
        assert first.size == (64, 48) and np.asarray(first).std() > 10
        assert np.abs(np.asarray(first, int) - np.asarray(second)).max() > 50
        assert camera.picture([lying, standing], np.zeros(0)) == first  # a robot has no way
    camera.close()  # once more is no fault


def test_a_gymnasium_environment_is_not_drawn_here():
    with pytest.raises(OnebodyError, match="body pendulum is a Gymnasium environment: it cannot be drawn here"):
        Camera(GymnasiumBody("pendulum", lambda: None, ("a", "b", "c"), (-1.0,), (1.0,), 0.05))
