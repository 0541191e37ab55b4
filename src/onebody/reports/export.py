"""The playground as one HTML file, in which the robot is simulated by the browser: it needs no server and no network.

The page consists of `exported/page.html`, the modules beside it, MuJoCo's WebAssembly build, three.js and one JSON
document about the robot, its policy and its tasks, which `about` makes.
"""

import base64
import gzip
import html
import importlib.metadata
import json
import math
from pathlib import Path
from typing import Any

import jax
import mujoco
import numpy as np

import onebody
from onebody.core.errors import OnebodyError
from onebody.core.nets import Normalizer
from onebody.learning.policies import ConditionedPolicy
from onebody.reports import page as pages
from onebody.runs import npm, outputs, playable
from onebody.runs.adapt import MAX_NOVELTY
from onebody.runs.npm import Package
from onebody.runs.playable import Playable
from onebody.tasks.body import MujocoBody
from onebody.tasks.family import Achieved, Terminal, never
from onebody.tasks.limits import LimitedBody
from onebody.tasks.robots import HeightOutside, Robot
from onebody.tasks.space import Arc, Box, FiniteSet, TaskSpace, box_around, middle, whole

MUJOCO = Package(
    "@mujoco/mujoco",
    "3.14.0",
    "WPUYidu4Fx8+uM4hQv80SOA0ifpWGrsNJguKs8JBV8SCTxjKQ2/rqsh880nUH0/Vwa8vuefghvCQkkoed3bkUg==",
)
THREE = Package(
    "three", "0.187.0", "Qiu7R+Cmh8CstZsY1uJOSWnVlfo7ZtNLV7mF8Jltk3LB3AtDu9cRZlcnRKkAk8Y4z6KKw35z7Y7Urd7jWY8etA=="
)
EXPORTED = Path(__file__).parent / "exported"
MODULES = ("robot.js", "scene.js", "charts.js", "page.js")
"""our own, in an order in which each imports only from earlier ones"""
STARTS = 32
"""number of initial states, sampled from p0, that the page chooses from"""


def export(path: Path | None, file: Path) -> Path:
    """Write the playground of a run, or of a file with a policy for any task, as one HTML file.

    Args:
        path: None: the policy that comes with the package.

    Raises:
        OnebodyError: as `outputs.check`, `playable.load`, `about` and `npm.read`, or the file cannot be written.
    """
    outputs.check(file, ".html")
    text = page(about(playable.load(path)))
    try:
        return pages.replace(file, text)
    except OSError as error:
        raise OnebodyError(f"cannot write {file}: {error.strerror}") from error


def page(robot: dict[str, Any]) -> str:
    """The HTML page for what `about` says.

    Raises:
        OnebodyError: as `npm.read`.
    """
    physics, three = npm.read(MUJOCO, THREE)
    stored = [
        ("./three.core.js", three["build/three.core.js"]),
        ("three", three["build/three.module.js"]),
        ("orbit", three["examples/jsm/controls/OrbitControls.js"]),
        ("mujoco", physics["mujoco.js"]),
    ]
    parts = [_packed("wasm", 'id="mujoco.wasm"', physics["mujoco.wasm"])]
    parts += [_packed("javascript", f'data-module="{name}"', source) for name, source in stored]
    parts += [
        f'<script type="text/plain" data-module="./{name}">\n{(EXPORTED / name).read_text("utf-8")}</script>'
        for name in MODULES
    ]
    document = json.dumps(robot, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    parts.append(f'<script type="application/json" id="about">{document}</script>')
    licences = {
        f"MuJoCo {MUJOCO.version}, Apache License 2.0, https://github.com/google-deepmind/mujoco": _mujoco_licences(),
        f"three.js {THREE.version}, MIT License, https://threejs.org": three["LICENSE"].decode(),
    }
    comments = [f"<!--\n{name}\n\n{text.replace('-->', '-- >')}\n-->" for name, text in licences.items()]
    return (
        (EXPORTED / "page.html")
        .read_text("utf-8")
        .replace("<!-- title -->", html.escape(f"onebody: {robot['family']}"))
        .replace("<!-- parts -->", "\n".join([*comments, *parts]))
    )


def about(robot: Playable) -> dict[str, Any]:
    """Everything that the page must know of a robot, its policy and its tasks, as JSON.

    Raises:
        OnebodyError: the page could not simulate the robot, act with the policy, or show the tasks; says which.
    """
    family, policy = robot.family, jax.tree.map(lambda x: np.asarray(x)[0], robot.first.policies)
    refused = f"{family.id} cannot be exported:"
    if isinstance(family.body, LimitedBody):
        raise OnebodyError(f"{refused} its body {family.body.name} has limits")
    if not isinstance(family.body, MujocoBody):
        raise OnebodyError(f"{refused} its body {family.body.name} is not a MuJoCo robot")
    if family.physics is not None:
        raise OnebodyError(f"{refused} its dynamics vary with the task")
    if not isinstance(policy, ConditionedPolicy):
        raise OnebodyError(f"{refused} {robot.title} has no policy of the kind that acts on any task, as omni has")
    curve, training = robot.curve(), whole(robot.training_space)
    return {
        "family": family.id,
        "body": family.body.name,
        "title": robot.title,
        "versions": {"onebody": onebody.__version__, "MuJoCo": mujoco.__version__},
        "model": _model(family.body),
        "frameSkip": family.body.frame_skip,
        "observation": observation_map(family.body),
        "starts": _starts(family.body),
        "ends": _ends(family.terminal, refused),
        "achieved": _achieved(family.achieved, family.body.observation_size),
        "policy": _policy(policy),
        "task": {"names": family.task_names, "first": _numbers(middle(family.space))}
        | _controls(family.space, family.task_names, refused),
        "training": {"low": training.low, "high": training.high} if isinstance(training, Box) else None,
        "curve": curve and {name: _numbers(values) for name, values in curve.given().items()},
        "maxNovelty": MAX_NOVELTY,
    }


def observation_map(body: MujocoBody) -> list[dict[str, Any]]:
    """The parts of an observation: field of MjData, indices into its elements, and the limit that values are cut at.

    Raises:
        OnebodyError: a field is not an array of numbers whose size is fixed.
    """
    parts, data = [], mujoco.MjData(body.model)
    for field, columns, limit in body.observation:
        values = getattr(data, field)
        if not isinstance(values, np.ndarray) or values.dtype != np.float64 or field.startswith("efc_"):
            raise OnebodyError(f"body {body.name} cannot be exported: the page has no {field} of MjData to observe")
        indices = np.arange(values.size)[columns if isinstance(columns, slice) else list(columns)]
        parts.append({"field": field, "indices": indices.tolist(), "limit": _finite(limit)})
    return parts


def _model(body: MujocoBody) -> dict[str, Any]:
    """MJCF with its files, and whatever of the body's model differs from what that compiles to, such as what a function
    has changed in the compiled model, and digits that MJCF does not keep."""
    try:
        spec = _spec(body)
        files = _files(spec)
        xml = spec.to_xml()
        plain = mujoco.MjModel.from_xml_string(xml, files)
    except (ValueError, OSError, mujoco.FatalError) as error:
        reason = " ".join(str(error).split())
        raise OnebodyError(f"body {body.name} cannot be exported: its MJCF cannot be saved ({reason})") from error
    return {
        "xml": xml,
        "files": {name: base64.b64encode(data).decode() for name, data in files.items()},
        "fields": _differences(plain, body.model),
        "options": _differences(plain.opt, body.model.opt)
        | {name: value for name, value in _scalars(body.model.opt) if value != getattr(plain.opt, name)},
    }


def _spec(body: MujocoBody) -> mujoco.MjSpec:
    if isinstance(body.mjcf, Robot):
        spec = body.mjcf.spec()
    elif callable(body.mjcf):
        raise OnebodyError(
            f"body {body.name} cannot be exported: a function compiles its model; give its MJCF as a text or a file"
        )
    elif isinstance(body.mjcf, str) and body.mjcf.lstrip().startswith("<"):
        spec = mujoco.MjSpec.from_string(body.mjcf)
    else:
        spec = mujoco.MjSpec.from_file(str(body.mjcf))
    spec.compile()
    return spec


def _files(spec: mujoco.MjSpec) -> dict[str, bytes]:
    """Meshes, height fields and textures by the names that the MJCF has for them."""
    root, found = Path(spec.modelfiledir), {}
    for folder, elements in (
        (spec.meshdir, spec.meshes),
        (spec.meshdir, spec.hfields),
        (spec.texturedir, spec.textures),
    ):
        for name in (element.file for element in elements if element.file):
            found[str(Path(folder) / name)] = (root / folder / name).read_bytes()
    return found


def _differences(plain: Any, wanted: Any) -> dict[str, Any]:
    """Arrays of `wanted` that differ from those of `plain`, as rows of numbers.

    The trees of bounding volumes are left out: they follow from the others, and each MuJoCo may build its own.
    """
    arrays = ((name, getattr(wanted, name)) for name in dir(wanted) if not name.startswith(("_", "bvh_")))
    return {
        name: _numbers(new)
        for name, new in arrays
        if isinstance(new, np.ndarray) and new.dtype.kind in "fiub" and not np.array_equal(new, getattr(plain, name))
    }


def _scalars(options: mujoco.MjOption) -> list[tuple[str, int | float]]:
    values = ((name, getattr(options, name)) for name in dir(options) if not name.startswith("_"))
    return [(name, value) for name, value in values if isinstance(value, int | float)]


def _starts(body: MujocoBody) -> dict[str, Any]:
    qpos, qvel = body.start(np.random.default_rng(0), body.model, STARTS)
    return {"qpos": qpos.tolist(), "qvel": qvel.tolist()}


def _ends(terminal: Terminal, refused: str) -> dict[str, Any] | None:
    """The column of the observation by which an episode ends, and the interval that it must stay in."""
    if terminal is never:
        return None
    if not isinstance(terminal, HeightOutside):
        raise OnebodyError(f"{refused} its terminal function is not among those that the page can compute")
    return {"column": terminal.column, "low": _finite(terminal.low), "high": _finite(terminal.high)}


def _achieved(achieved: Achieved | None, size: int) -> dict[str, Any] | None:
    """What a step achieves as a linear function of observation and next observation; None if it is not linear."""
    if achieved is None:
        return None
    before, after = (np.asarray(x) for x in jax.jacobian(achieved, (0, 1))(*np.zeros((2, size), np.float32)))
    old, new = np.random.default_rng(0).standard_normal((2, size)).astype(np.float32)
    linear = np.allclose(achieved(jax.device_put(old), jax.device_put(new)), before @ old + after @ new, atol=1e-3)
    return {"before": before.tolist(), "after": after.tolist()} if linear else None


def _policy(policy: ConditionedPolicy) -> dict[str, Any]:
    """Arrays as base64 of little-endian float32."""

    def normalizer(it: Normalizer) -> dict[str, str]:
        return {"mean": _floats(it.mean), "scale": _floats(it.scale)}

    layers = zip(policy.net.weights, policy.net.biases, strict=True)
    return {
        "observation": normalizer(policy.observation),
        "task": normalizer(policy.task),
        "layers": [{"weight": _floats(weight), "bias": _floats(bias)} for weight, bias in layers],
    }


def _controls(space: TaskSpace, names: tuple[str, ...], refused: str) -> dict[str, Any]:
    """Sliders with the range that they mark, a choice among tasks, or the largest angle (°) of a direction."""
    space = whole(space)
    if isinstance(space, FiniteSet):
        return {"choices": space.tasks if space.size else []}
    if isinstance(space, Arc):
        return {"angle": round(math.degrees(space.angle))}
    box = box_around(space)
    if box is None:
        raise OnebodyError(f"{refused} its tasks in {space.bounds} have no controls")
    wide = box.widened(1 + 2 * playable.MARGIN)
    sides = zip(names, box.low, box.high, wide.low, wide.high, strict=True)
    return {
        "sliders": [
            {"name": name, "marks": [low, high], "low": least, "high": most} for name, low, high, least, most in sides
        ]
    }


def _finite(value: float) -> float | None:
    """None for infinity, which JSON does not have."""
    return value if math.isfinite(value) else None


def _numbers(values: Any) -> list[Any]:
    return np.asarray(values).ravel().tolist()


def _floats(values: Any) -> str:
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def _packed(kind: str, attribute: str, data: bytes) -> str:
    text = base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()
    return f'<script type="application/{kind}+gzip" {attribute}>{text}</script>'


def _mujoco_licences() -> str:
    """MuJoCo's and those of the libraries in it, as the installed package has them; that of the WebAssembly build has
    none."""
    files = importlib.metadata.files("mujoco") or []
    return "\n".join(file.read_text("utf-8") for file in files if file.name.startswith("LICENSE"))
