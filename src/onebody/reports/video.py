"""Videos of policies: one real episode, rendered after it is over."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from PIL import Image, ImageDraw, ImageFont, ImageOps

from onebody.core.errors import OnebodyError
from onebody.core.types import Transitions
from onebody.learning.policies import Policy
from onebody.runs import extras, outputs
from onebody.tasks.body import Body, GymnasiumBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.limited import in_one_process, is_single
from onebody.tasks.limits import LimitedBody, bare
from onebody.worlds.camera import Camera, check_drawable, other_programs
from onebody.worlds.engines import GymnasiumEngine, innermost
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

FRAMES_PER_SECOND = 25
PAPER = "#f4f5f7"
"""colour beside an image of another shape"""


class Recorder(Simulator):
    """A simulator that records its first body before every so many steps: its pose (see `Simulator.poses`), or the
    image [height, width, 3] that a Gymnasium environment renders."""

    def __init__(self, family: TaskFamily, every: int):
        super().__init__(in_one_process(family), threads=1)
        self.recorded: list[np.ndarray] = []
        self._every = every

    def step(
        self, age: np.ndarray, observation: np.ndarray, action: Array
    ) -> tuple[np.ndarray, np.ndarray, Transitions]:
        if age[0, 0] % self._every == 0:
            robot = innermost(self._engine)
            renders = isinstance(robot, GymnasiumEngine)
            self.recorded.append(robot.picture() if renders else self.poses(observation)[0, 0])
        return super().step(age, observation, action)


def film(
    family: TaskFamily,
    policy: Policy,
    task: Any,
    path: Path | None = None,
    caption: str = "",
    size: tuple[int, int] = (320, 240),
) -> bytes:
    """Render one real episode of the deterministic policy in real time, always from the same initial state.

    Args:
        policy: the policy, with a leading axis of length 1.
        task: ψ [feature].
        path: file to write as well, `.webp` (animated) or `.mp4`.
        caption: a line of text at the bottom of each image.
        size: width and height in pixels; both must be even for mp4.

    Returns:
        The content of the file: mp4 if the path ends in `.mp4`, otherwise animated WebP.

    Raises:
        OnebodyError: another kind of file, mp4 without the extra `video`, or a body that cannot be rendered here.
    """
    kind = ".webp" if path is None else path.suffix.lower()
    _check_kind(kind)
    if path is not None:
        outputs.check(path, path.suffix)
    every = max(1, round(1 / (FRAMES_PER_SECOND * family.body.dt)))
    seconds = every * family.body.dt
    if isinstance(bare(family.body), GymnasiumBody):
        check(family.body)
        images = map(Image.fromarray, episode(family, policy, task, every))
        frames = [ImageOps.pad(image.convert("RGB"), size, color=PAPER) for image in images]
    else:
        with Camera(family.body, size) as camera:
            frames = camera.pictures(episode(family, policy, task, every), task)
    if caption:
        frames = [_captioned(frame, caption) for frame in frames]
    if path is None:
        return webp(frames, seconds)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == ".mp4":
        _write_mp4(frames, seconds, path)
        return path.read_bytes()
    path.write_bytes(data := webp(frames, seconds))
    return data


def check(body: Body | LimitedBody) -> None:
    """Raises OnebodyError for a body that cannot be filmed."""
    body = bare(body)
    if not isinstance(body, GymnasiumBody):
        return check_drawable(body)
    if is_single(body):
        raise OnebodyError(
            f"body {body.name} is a single environment, which moves only to train and test: film it yourself"
        )
    env = body.make()
    renders = env.render_mode == "rgb_array"
    env.close()
    if not renders:
        raise OnebodyError(
            f"body {body.name} is a Gymnasium environment that renders no images: make it with render_mode='rgb_array'"
        )


def episode(family: TaskFamily, policy: Policy, task: Any, every: int = 1) -> list[np.ndarray]:
    """What a `Recorder` records of one real episode of the deterministic policy, in every so many steps."""
    simulator = Recorder(family, every)
    tasks = jnp.atleast_1d(jnp.array(task, jnp.float32))[None]
    steps = rollout(simulator, policy, tasks, jax.random.key(0), episodes=1, deterministic=True)
    return simulator.recorded[: int(np.argmax(steps.done[0, :, 0])) // every + 1]


def webp(frames: Sequence[Image.Image], seconds: float) -> bytes:
    """An animated WebP that loops forever; `seconds` per frame."""
    file = io.BytesIO()
    frames[0].save(
        file, "WEBP", save_all=True, append_images=frames[1:], duration=round(1000 * seconds), loop=0, quality=75
    )
    return file.getvalue()


def _captioned(frame: Image.Image, caption: str) -> Image.Image:
    """The image with a line of text at its bottom, as large as fits."""
    width, height = frame.size
    sizes = range(5, height // 16 + 1)
    fitting = (size for size in sizes if ImageFont.load_default(size).getlength(caption) <= 0.94 * width)
    font = ImageFont.load_default(max(fitting, default=5))
    place = width / 2, 0.97 * height
    ImageDraw.Draw(frame).text(place, caption, "#1c2430", font, "md", stroke_width=2, stroke_fill="#ffffff")
    return frame


def _check_kind(kind: str) -> None:
    if kind not in (".webp", ".mp4"):
        raise OnebodyError(f"cannot write a video with the ending {kind!r}: use .webp or .mp4")
    if kind == ".mp4":
        extras.check("imageio_ffmpeg", "video", ".mp4 (.webp needs no extra package)")


def _write_mp4(frames: Sequence[Image.Image], seconds: float, path: Path) -> None:
    import imageio_ffmpeg  # pyright: ignore[reportMissingImports]

    with other_programs():
        writer = imageio_ffmpeg.write_frames(str(path), frames[0].size, fps=1 / seconds, macro_block_size=2)
        writer.send(None)
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
        writer.close()
