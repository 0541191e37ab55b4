"""Images of bodies: a robot rendered by MuJoCo, or a point with its path."""

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
from onebody.tasks.limits import LimitedBody, bare

CAMERA = "track"
"""name of the camera that follows the robot, if its model has one"""
INSTALL = "on Debian or Ubuntu: apt-get install libegl1 libgl1 libgl1-mesa-dri"


def check_drawable(body: Body | LimitedBody) -> None:
    """Raises OnebodyError for a body that cannot be drawn."""
    body = bare(body)
    if isinstance(body, GymnasiumBody):
        raise OnebodyError(f"body {body.name} is a Gymnasium environment: it cannot be drawn here")
    if not isinstance(body, MujocoBody) and body.observation_size < 2:
        raise OnebodyError(f"body {body.name} has no position in the plane: it cannot be drawn")


class Camera:
    """Draws one body; `close` it after use, or use it in a `with` statement.

    Raises:
        OnebodyError: the body cannot be drawn, or this machine cannot render a robot.
    """

    def __init__(self, body: Body | LimitedBody, size: tuple[int, int] = (320, 240)):
        """`size`: width and height in pixels."""
        check_drawable(body := bare(body))
        self.size = size
        self._renderer: Any = None
        if isinstance(body, MujocoBody):
            model = copy.copy(body.model)
            model.vis.global_.offwidth, model.vis.global_.offheight = size
            self._data = mujoco.MjData(model)
            self._renderer = _renderer(model, *size)

    def picture(self, poses: Sequence[np.ndarray], task: Any) -> Image.Image:
        """An image of the last of `poses` (see `Simulator.poses`).

        For a point, it also shows the path through the earlier poses, and a ring at `task` [feature] if that is a
        position in the plane; the scale is chosen so that everything is visible.
        """
        if self._renderer is not None:
            return self._draw_robot(poses[-1])
        return _draw_point(poses, task, _reach(poses, task), self.size)

    def pictures(self, poses: Sequence[np.ndarray], task: Any) -> list[Image.Image]:
        """An image of each pose, all at the same scale."""
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
        """Renders without shadows and reflections, which are slow without a GPU."""
        renderer, data = self._renderer, self._data
        data.qpos[:] = pose
        mujoco.mj_forward(data.model, data)
        renderer.update_scene(data, mujoco.mj_name2id(data.model, mujoco.mjtObj.mjOBJ_CAMERA.value, CAMERA))
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW.value] = False
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION.value] = False
        return Image.fromarray(renderer.render())


@contextmanager
def other_programs() -> Iterator[None]:
    """Suppresses JAX's warning about forks where the fork only starts another program, such as ffmpeg."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
        yield


def _renderer(model: Any, width: int, height: int) -> Any:
    """Raises OnebodyError if there is no working OpenGL."""
    try:
        if sys.platform == "linux" and not os.environ.get("MUJOCO_GL"):
            # MuJoCo chooses at import; without MUJOCO_GL it takes GLFW, which needs a working display.
            with other_programs():
                from mujoco.egl import GLContext

            gl_context.GLContext = GLContext
        return mujoco.Renderer(model, height, width)
    except Exception as error:  # GLFW, PyOpenGL and MuJoCo each raise their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        hint = f"; {INSTALL}" if sys.platform == "linux" else ""
        raise OnebodyError(f"this machine cannot render: it has no working OpenGL ({reason}){hint}") from error


def _goals(task: Any) -> np.ndarray:
    """The task as [1, 2] if it is a position in the plane, otherwise an empty array [0, 2]."""
    task = np.atleast_1d(np.asarray(task))
    return task[None] if task.shape == (2,) else np.zeros((0, 2))


def _reach(poses: Sequence[np.ndarray], task: Any) -> float:
    """Half the length (m) of the image's shorter side."""
    positions = np.concatenate([[pose[:2] for pose in poses], _goals(task)])
    return 1.2 * max(float(np.abs(positions).max()), 0.1)


def _draw_point(poses: Sequence[np.ndarray], task: Any, reach: float, size: tuple[int, int]) -> Image.Image:
    scale = 2  # drawn larger and then reduced, for smooth edges
    width, height = (scale * pixels for pixels in size)
    unit = min(width, height) / 2 / reach

    def pixel(position: np.ndarray) -> tuple[float, float]:
        return width / 2 + unit * float(position[0]), height / 2 - unit * float(position[1])

    image = Image.new("RGB", (width, height), "#f4f5f7")
    draw = ImageDraw.Draw(image)
    draw.line([(width / 2, 0), (width / 2, height)], "#d5d8dd", scale)
    draw.line([(0, height / 2), (width, height / 2)], "#d5d8dd", scale)
    for goal in _goals(task):
        draw.circle(pixel(goal), 9 * scale, outline="#c2571a", width=2 * scale)
    draw.line([pixel(pose) for pose in poses], "#8fb3dc", 2 * scale)
    draw.circle(pixel(poses[-1]), 6 * scale, "#1f6fb5")
    return image.resize(size, Image.Resampling.LANCZOS)
