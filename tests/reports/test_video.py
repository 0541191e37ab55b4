"""Videos show one real episode, or an error says what is missing."""

import importlib.util
import io
import sys

import gymnasium
import jax
import numpy as np
import pytest
from PIL import Image, ImageSequence

from onebody.core.errors import OnebodyError
from onebody.reports import video
from onebody.tasks.registry import make
from onebody.worlds.custom import from_gymnasium

CHEETAH, POINT = make("cheetah-vel"), make("point/goal")


def frames(data):
    """Frames, total duration (s) and the image. A frame equal to the previous one only makes that one last longer."""
    image, images, seconds = Image.open(io.BytesIO(data)), [], 0.0
    for frame in ImageSequence.Iterator(image):
        images.append(np.asarray(frame.convert("RGB"), float))
        seconds += frame.info["duration"] / 1000
    return images, seconds, image


@jax.tree_util.register_static
class Towards:
    """Goes straight to the task."""

    noise_size = 2

    def memory(self, axes):
        return ()

    def __call__(self, observation, task, memory, noise):
        return 10 * (task - observation), memory


def test_the_cheetah_in_real_time(renders, policy, tmp_path):
    path = tmp_path / "videos" / "run.webp"
    data = video.film(CHEETAH, policy(CHEETAH), 1.3, path)
    assert path.read_bytes() == data
    images, seconds, image = frames(data)
    assert image.format == "WEBP" and image.size == (320, 240)
    assert len(images) == 50 and seconds == pytest.approx(2.0)  # 200 steps of 0.01 s
    assert images[0].std() > 10
    assert np.abs(images[0] - images[-1]).max() > 50


def test_larger_than_the_model_allows_for(renders, policy):
    before = CHEETAH.body.model.vis.global_.offwidth
    _, _, image = frames(video.film(CHEETAH, policy(CHEETAH), [0.5], size=(800, 200)))
    assert image.size == (800, 200)
    assert CHEETAH.body.model.vis.global_.offwidth == before


def test_the_point_moves_towards_its_ring():
    images, seconds, image = frames(video.film(POINT, Towards(), [0.9, -0.9]))
    assert image.size == (320, 240) and seconds == pytest.approx(2.0)  # 20 steps of 0.1 s

    def dot(frame):
        rows, columns = np.nonzero(np.abs(frame - (31, 111, 181)).sum(axis=-1) < 40)
        return columns.mean(), rows.mean()

    (x0, y0), (x1, y1) = dot(images[0]), dot(images[-1])
    assert (x0, y0) == pytest.approx((160, 120), abs=3)
    assert (x1, y1) == pytest.approx((260, 220), abs=8)  # the task is 1 / 1.2 of the way to the border


def test_the_episode_that_is_filmed_is_one_horizon_from_an_initial_state(policy):
    poses = video.episode(CHEETAH, policy(CHEETAH), 1.0)
    assert len(poses) == 200
    assert np.abs(poses[0]).max() < 0.06
    assert not np.array_equal(poses[0], poses[1])
    assert all(np.array_equal(a, b) for a, b in zip(poses, video.episode(CHEETAH, policy(CHEETAH), 1.0)))


def test_a_machine_that_cannot_render_says_what_to_install(blind, policy, tmp_path, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    with pytest.raises(OnebodyError) as caught:
        video.film(CHEETAH, policy(CHEETAH), 1.0, tmp_path / "a.webp")
    assert "no OpenGL here" in str(caught.value) and "\n" not in str(caught.value)
    assert ("apt-get install libegl1" in str(caught.value)) == (sys.platform == "linux")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.gif", "a"])
def test_other_files_are_refused_before_anything_is_done(name, policy, tmp_path):
    with pytest.raises(OnebodyError, match=r"use \.webp or \.mp4"):
        video.film(POINT, policy(POINT), [0.5, 0.5], tmp_path / name)


def test_mp4_without_its_extra_says_what_to_install(policy, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(OnebodyError, match=r"pip install 'onebody\[video\]'"):
        video.film(POINT, policy(POINT), [0.5, 0.5], tmp_path / "a.mp4")


def test_mp4_where_the_extra_is_there(policy, tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    data = video.film(POINT, policy(POINT), [0.5, 0.5], tmp_path / "a.mp4")
    assert data[4:8] == b"ftyp"


def test_a_caption_is_at_the_bottom_and_fits(policy):
    plain, _, _ = frames(video.film(POINT, policy(POINT), [0.5, 0.5]))
    for caption in ("asked 1.00 m/s", "asked (0.50, 0.50) m, achieved (0.00, 0.00) m, 0.71 m away"):
        images, _, _ = frames(video.film(POINT, policy(POINT), [0.5, 0.5], caption=caption))
        changed = np.abs(images[0] - plain[0]).sum(axis=-1) > 100
        rows, columns = np.nonzero(changed)
        assert changed.sum() > 100 and rows.min() > 200 and columns.min() > 2 and columns.max() < 317


def renderable(render_mode):
    class Box(gymnasium.Env):
        """Its image gets brighter with each step."""

        observation_space = gymnasium.spaces.Box(-1, 1, (1,))
        action_space = gymnasium.spaces.Box(-1, 1, (1,))

        def __init__(self):
            self.render_mode = render_mode

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.n = 0
            return np.zeros(1, np.float32), {}

        def step(self, action):
            self.n += 1
            return np.zeros(1, np.float32), 0.0, False, False, {}

        def render(self):
            return np.full((20, 20, 3), 4 * self.n, np.uint8)

    return from_gymnasium(
        Box,
        reward=lambda observation, action, next_observation, task: -task[0],
        space=make("smt/cheetah-vel").space,
        horizon=60,
        dt=0.02,
    )


def test_a_gymnasium_environment_that_renders_is_filmed(policy):
    family = renderable("rgb_array")
    images, seconds, image = frames(video.film(family, policy(family), [0.5], size=(64, 48)))
    assert image.size == (64, 48) and seconds == pytest.approx(1.2)
    assert [x[24, 32, 0] for x in images] == pytest.approx([*range(0, 240, 8)], abs=3)
    assert images[0][24, 2, 0] == pytest.approx(0xF4, abs=6)  # beside a square image


def test_a_gymnasium_environment_that_renders_nothing_says_how_to_make_it(policy):
    family = renderable(None)
    with pytest.raises(OnebodyError, match="make it with render_mode='rgb_array'"):
        video.film(family, policy(family), [0.5])
