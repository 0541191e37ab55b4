"""Moving pictures of a policy at work: one real episode, drawn after it is over."""

import copy
import importlib.util
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array
from mujoco.rendering.classic import gl_context
from PIL import Image, ImageDraw

from onebody.core.errors import OnebodyError
from onebody.core.types import Transitions
from onebody.learning.policies import Policy
from onebody.tasks.body import MujocoBody
from onebody.tasks.family import TaskFamily
from onebody.worlds.engines import MujocoEngine
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

FRAMES_A_SECOND = 25
CAMERA = "track"
"""the camera that follows the robot, where its model has one"""
INSTALL = "on Debian or Ubuntu: apt-get install libegl1 libgl1 libgl1-mesa-dri"


class Filmed(Simulator):
    """A simulator that keeps what draws its first body before each step: joint positions, or a point's state."""

    def __init__(self, family: TaskFamily):
        super().__init__(family, threads=1)
        self.poses: list[np.ndarray] = []

    def step(
        self, age: np.ndarray, observation: np.ndarray, action: Array
    ) -> tuple[np.ndarray, np.ndarray, Transitions]:
        engine = self._engine
        self.poses.append(np.array(engine.qpos[0] if isinstance(engine, MujocoEngine) else observation[0, 0]))
        return super().step(age, observation, action)


def film(
    family: TaskFamily, policy: Policy, task: Any, path: Path | None = None, size: tuple[int, int] = (320, 240)
) -> bytes:
    """One real episode of the deterministic policy, in real time; always from the same initial state.

    Args:
        policy: stacked, of one task (leading axis 1).
        task: ψ, [feature].
        path: also write it there, as `.webp` (animated) or `.mp4`.
        size: width and height in pixels; even for mp4.

    Returns:
        The file: mp4 for such a path, else animated WebP.

    Raises:
        OnebodyError: another kind of file, mp4 without the extra `video`, or a machine that cannot render.
    """
    kind = ".webp" if path is None else path.suffix.lower()
    _check_kind(kind)
    poses = episode(family, policy, task)
    every = max(1, round(1 / (FRAMES_A_SECOND * family.body.dt)))
    poses, seconds = poses[::every], every * family.body.dt
    if isinstance(family.body, MujocoBody):
        frames = _draw_robot(family.body.model, poses, size)
    else:
        frames = _draw_point(poses, np.atleast_1d(np.asarray(task)), size)
    if path is None:
        return webp(frames, seconds)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == ".mp4":
        _write_mp4(frames, seconds, path)
        return path.read_bytes()
    path.write_bytes(data := webp(frames, seconds))
    return data


def episode(family: TaskFamily, policy: Policy, task: Any) -> list[np.ndarray]:
    """What draws the body at each step of one real episode of the deterministic policy."""
    world = Filmed(family)
    tasks = jnp.atleast_1d(jnp.asarray(task, jnp.float32))[None]
    seen = rollout(world, policy, tasks, jax.random.key(0), episodes=1, deterministic=True)
    return world.poses[: int(np.argmax(seen.done[0, :, 0])) + 1]


def webp(frames: Sequence[Image.Image], seconds: float) -> bytes:
    """An animated WebP that repeats for ever; `seconds` a frame."""
    file = io.BytesIO()
    frames[0].save(
        file, "WEBP", save_all=True, append_images=frames[1:], duration=round(1000 * seconds), loop=0, quality=75
    )
    return file.getvalue()


def _check_kind(kind: str) -> None:
    if kind not in (".webp", ".mp4"):
        raise OnebodyError(f"cannot write a video with the ending {kind!r}: .webp and .mp4 it can")
    if kind == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise OnebodyError("mp4 needs imageio-ffmpeg: pip install onebody[video]; .webp needs nothing more")


def _write_mp4(frames: Sequence[Image.Image], seconds: float, path: Path) -> None:
    import imageio_ffmpeg  # pyright: ignore[reportMissingImports]

    with _other_programs():
        writer = imageio_ffmpeg.write_frames(str(path), frames[0].size, fps=1 / seconds, macro_block_size=2)
        writer.send(None)
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
        writer.close()


@contextmanager
def _other_programs() -> Iterator[None]:
    """Starts ffmpeg, or what finds a library, without JAX's warning of forks: these run another program at once."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
        yield


def _draw_robot(model: Any, poses: Sequence[np.ndarray], size: tuple[int, int]) -> list[Image.Image]:
    """MuJoCo's own pictures, without shadows and reflections, which are slow where there is no GPU."""
    width, height = size
    model = copy.copy(model)
    model.vis.global_.offwidth, model.vis.global_.offheight = size
    camera = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA.value, CAMERA)
    data, frames = mujoco.MjData(model), []
    renderer = _renderer(model, height, width)
    try:
        for pose in poses:
            data.qpos[:] = pose
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera)
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW.value] = False
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION.value] = False
            frames.append(Image.fromarray(renderer.render()))
    finally:
        renderer.close()
    return frames


def _renderer(model: Any, height: int, width: int) -> Any:
    """Raises OnebodyError where there is no OpenGL."""
    try:
        if sys.platform == "linux" and not os.environ.get("MUJOCO_GL"):
            # MuJoCo chooses at its import, and unless MUJOCO_GL tells it takes GLFW, which needs a display that works.
            with _other_programs():
                from mujoco.egl import GLContext

            gl_context.GLContext = GLContext
        return mujoco.Renderer(model, height, width)
    except Exception as error:  # GLFW, PyOpenGL and MuJoCo each raise their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        hint = f"; {INSTALL}" if sys.platform == "linux" else ""
        raise OnebodyError(f"this machine cannot render: it has no working OpenGL ({reason}){hint}") from error


def _draw_point(poses: Sequence[np.ndarray], task: np.ndarray, size: tuple[int, int]) -> list[Image.Image]:
    """A dot, the way it came, and a ring at the task where the task is a place in the plane."""
    scale, frames = 2, []  # drawn larger and made smaller: smooth edges
    width, height = (scale * pixels for pixels in size)
    path = np.array([pose[:2] for pose in poses])
    goals = task[None] if task.shape == (2,) else np.zeros((0, 2))
    reach = 1.2 * max(np.abs(np.concatenate([path, goals])).max(), 0.1)
    unit = float(min(width, height) / 2 / reach)

    def pixel(place: np.ndarray) -> tuple[float, float]:
        return width / 2 + unit * float(place[0]), height / 2 - unit * float(place[1])

    for i in range(len(path)):
        image = Image.new("RGB", (width, height), "#f4f5f7")
        draw = ImageDraw.Draw(image)
        draw.line([(width / 2, 0), (width / 2, height)], "#d5d8dd", scale)
        draw.line([(0, height / 2), (width, height / 2)], "#d5d8dd", scale)
        for goal in goals:
            draw.circle(pixel(goal), 9 * scale, outline="#c2571a", width=2 * scale)
        draw.line([pixel(place) for place in path[: i + 1]], "#8fb3dc", 2 * scale)
        draw.circle(pixel(path[i]), 6 * scale, "#1f6fb5")
        frames.append(image.resize(size, Image.Resampling.LANCZOS))
    return frames
