"""What an exported policy expects and gives, for those who connect it to a robot: contract.json of a bundle."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onebody.runs import folder
from onebody.runs.about import About
from onebody.runs.loaded import Run
from onebody.runs.policy_arrays import BELIEF, belief_sizes
from onebody.tasks.limits import LimitedBody
from onebody.tasks.space import Box, whole

FORMAT = 1
"""version of the schema of contract.json, which docs/contract.md describes"""
LABEL = re.compile(r"(?P<name>.+?)(?: \((?P<unit>[^()]*)\))?(?:, cut at ±(?P<cut>\S+))?")
"""a label of a number, such as "bfoot rate (rad/s), cut at ±10\""""


@dataclasses.dataclass(frozen=True)
class Kind:
    """How a policy gets its task."""

    task_input: bool
    """the task is an input of the policy"""
    hidden: bool
    """the policy is not told the task, and infers it from rewards"""


def contract(run: Run, about: About, arrays: Mapping[str, np.ndarray], kind: Kind, tolerance: float) -> dict[str, Any]:
    """The contract of a policy with these arrays, but for its `files`.

    `tolerance`: largest difference of an output on another computer.
    """
    family = run.algorithm.family
    return {
        "format": FORMAT,
        "onebody": about.onebody,
        "algorithm": about.algorithm,
        "family": about.family,
        "family_version": about.family_version,
        "dt": about.dt,
        "horizon": family.horizon,
        "observation": _observation(about, arrays),
        "action": [
            _named(label) | {"low": low, "high": high}
            for label, low, high in zip(about.action_labels, about.action_low, about.action_high, strict=True)
        ],
        "task": {
            "input": kind.task_input,
            "default": None if kind.hidden else list(about.task),
            "bounds": family.space.bounds,
            "numbers": _task(run),
        },
        "memory": _memory(arrays),
        "limits": None if family.limited is None else _limits(family.limited),
        "prediction": {
            "return": _finite(about.predicted_return),
            "interval": None if about.predicted_interval is None else list(map(_finite, about.predicted_interval)),
            "novelty": _finite(about.novelty),
        },
        "run": {
            "name": run.path.resolve().name,
            "command": folder.command(run.record),
            "config_sha256": sha256(run.path / "config.json"),
            "seed": run.record["seed"],
            "iteration": run.checkpoint.iteration,
            "training_samples": about.training_samples,
            "adaptation_samples": about.adaptation_samples,
        },
        "parity": {"tolerance": tolerance},
    }


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def parts_of(label: str) -> tuple[str, str | None, float | None]:
    """Name of a number, its unit if that is known, and the limit that it is cut at, if any, from its label."""
    found = LABEL.fullmatch(label)
    if found is None:
        return label, None, None
    return found["name"], found["unit"], None if found["cut"] is None else float(found["cut"])


def _named(label: str) -> dict[str, Any]:
    name, unit, _ = parts_of(label)
    return {"name": name, "unit": unit}


def _observation(about: About, arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    unknown = np.full(len(about.observation_labels), np.nan)  # of a policy whose first layer contains them
    mean, std = (arrays.get(f"observation_{name}", unknown)[: len(unknown)] for name in ("mean", "std"))
    return [
        _named(label) | {"cut": parts_of(label)[2], "mean": _finite(m), "std": _finite(s)}
        for label, m, s in zip(about.observation_labels, mean, std, strict=True)
    ]


def _task(run: Run) -> list[dict[str, Any]]:
    family = run.algorithm.family
    space = whole(family.space)
    unknown = (None,) * space.size
    low, high = (space.low, space.high) if isinstance(space, Box) else (unknown, unknown)
    return [_named(name) | {"low": a, "high": b} for name, a, b in zip(family.task_names, low, high, strict=True)]


def _memory(arrays: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    commands = arrays.get("commands", np.zeros(0)).tolist()
    if BELIEF in arrays:
        latent, *_ = sizes = belief_sizes(arrays)
        belief = {"size": latent, "exploration_episodes": int(arrays[BELIEF])}
        return {"state": [0.0] * sum(sizes) + commands, "reward": 0.0, "ended": False, "belief": belief}
    if "recurrent" in arrays:
        state = [*arrays["hidden"].tolist(), *arrays["action"].tolist(), *commands]
        return {"state": state, "reward": float(arrays["reward"]), "ended": bool(arrays["ended"]), "belief": None}
    return {"state": commands, "reward": None, "ended": None, "belief": None} if commands else None


def _limits(body: LimitedBody) -> dict[str, Any]:
    limits, (low, high) = body.limits, body.observation_range
    return {
        "text": list(body.describe()),
        "low": body.low.tolist(),
        "high": body.high.tolist(),
        "rate": list(map(_finite, body.rate)),
        "latency": limits.latency,
        "smoothness": limits.smoothness,
        "observation": [
            {"low": _finite(a), "high": _finite(b), "noise": float(noise)}
            for a, b, noise in zip(low, high, body.noise, strict=True)
        ],
        "dropped": limits.dropped,
    }


def _finite(x: Any) -> float | None:
    return float(x) if x is not None and np.isfinite(x) else None
