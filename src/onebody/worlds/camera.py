"""Pictures of bodies: MuJoCo's own of a robot, and of a point where it is and the way it came."""

import copy
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mujoco
import numpy as np
from mujoco.rendering.classic import gl_context
from PIL import Image, ImageDraw

from onebody.core.errors import OnebodyError
from onebody.tasks.body import Body, GymnasiumBody, MujocoBody

CAMERA = "track"
"""the camera that follows the robot, where its model has one"""
INSTALL = "on Debian or Ubuntu: apt-get install libegl1 libgl1 libgl1-mesa-dri"


def check_drawable(body: Body) -> None:
    """Raises OnebodyError for a body that has no picture."""
    if isinstance(body, GymnasiumBody):
        raise OnebodyError(f"body {body.name} is a Gymnasium environment: it cannot be drawn here")
    if not isinstance(body, MujocoBody) and body.observation_size < 2:
        raise OnebodyError(f"body {body.name} has no place in the plane: it cannot be drawn")


class Camera:
    """Draws one body; `close` it after use, or use it in a `with` statement.

    Raises:
        OnebodyError: the body has no picture, or this machine cannot render a robot.
    """

    def __init__(self, body: Body, size: tuple[int, int] = (320, 240)):
        """`size`: width and height in pixels."""
        check_drawable(body)
        self.size = size
        self._renderer: Any = None
        if isinstance(body, MujocoBody):
            model = copy.copy(body.model)
            model.vis.global_.offwidth, model.vis.global_.offheight = size
            self._data = mujoco.MjData(model)
            self._renderer = _renderer(model, *size)

    def picture(self, poses: Sequence[np.ndarray], task: Any) -> Image.Image:
        """The last of `poses` (see `Simulator.poses`).

        A point also has its way through the poses before, and a ring at `task` [feature] where that is a place in
        the plane; the scale is such that all of it is in the picture.
        """
        if self._renderer is not None:
            return self._draw_robot(poses[-1])
        return _draw_point(poses, task, _reach(poses, task), self.size)

    def pictures(self, poses: Sequence[np.ndarray], task: Any) -> list[Image.Image]:
        """A picture of each pose, all in one scale."""
        if self._renderer is not None:
            return [self._draw_robot(pose) for pose in poses]
        reach = _reach(poses, task)
        return [_draw_point(poses[: i + 1], task, reach, self.size) for i in range(len(poses))]

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()

    def __enter__(self) -> "Camera":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _draw_robot(self, pose: np.ndarray) -> Image.Image:
        """Without shadows and reflections, which are slow where there is no GPU."""
        renderer, data = self._renderer, self._data
        data.qpos[:] = pose
        mujoco.mj_forward(data.model, data)
        renderer.update_scene(data, mujoco.mj_name2id(data.model, mujoco.mjtObj.mjOBJ_CAMERA.value, CAMERA))
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW.value] = False
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION.value] = False
        return Image.fromarray(renderer.render())


@contextmanager
def other_programs() -> Iterator[None]:
    """Starts ffmpeg, or what finds a library, without JAX's warning of forks: these run another program at once."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
        yield


def _renderer(model: Any, width: int, height: int) -> Any:
    """Raises OnebodyError where there is no OpenGL."""
    try:
        if sys.platform == "linux" and not os.environ.get("MUJOCO_GL"):
            # MuJoCo chooses at its import, and unless MUJOCO_GL tells it takes GLFW, which needs a display that works.
            with other_programs():
                from mujoco.egl import GLContext

            gl_context.GLContext = GLContext
        return mujoco.Renderer(model, height, width)
    except Exception as error:  # GLFW, PyOpenGL and MuJoCo each raise their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        hint = f"; {INSTALL}" if sys.platform == "linux" else ""
        raise OnebodyError(f"this machine cannot render: it has no working OpenGL ({reason}){hint}") from error


def _goals(task: Any) -> np.ndarray:
    """The task [1, 2] where it is a place in the plane, else [0, 2]."""
    task = np.atleast_1d(np.asarray(task))
    return task[None] if task.shape == (2,) else np.zeros((0, 2))


def _reach(poses: Sequence[np.ndarray], task: Any) -> float:
    """Half a picture's shorter side (m)."""
    places = np.concatenate([[pose[:2] for pose in poses], _goals(task)])
    return 1.2 * max(float(np.abs(places).max()), 0.1)


def _draw_point(poses: Sequence[np.ndarray], task: Any, reach: float, size: tuple[int, int]) -> Image.Image:
    scale = 2  # drawn larger and made smaller: smooth edges
    width, height = (scale * pixels for pixels in size)
    unit = min(width, height) / 2 / reach

    def pixel(place: np.ndarray) -> tuple[float, float]:
        return width / 2 + unit * float(place[0]), height / 2 - unit * float(place[1])

    image = Image.new("RGB", (width, height), "#f4f5f7")
    draw = ImageDraw.Draw(image)
    draw.line([(width / 2, 0), (width / 2, height)], "#d5d8dd", scale)
    draw.line([(0, height / 2), (width, height / 2)], "#d5d8dd", scale)
    for goal in _goals(task):
        draw.circle(pixel(goal), 9 * scale, outline="#c2571a", width=2 * scale)
    draw.line([pixel(pose) for pose in poses], "#8fb3dc", 2 * scale)
    draw.circle(pixel(poses[-1]), 6 * scale, "#1f6fb5")
    return image.resize(size, Image.Resampling.LANCZOS)
