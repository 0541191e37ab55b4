"""A policy as data: an .npz file that acts with NumPy alone."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onebody.core.errors import OnebodyError


def arrays(policies: Any) -> dict[str, np.ndarray]:
    """Everything a stacked Gaussian policy of one task acts with."""
    net, normalizer = policies.net, policies.observation
    layers = {f"weight{i}": w[0] for i, w in enumerate(net.weights)} | {f"bias{i}": b[0] for i, b in enumerate(net.biases)}
    return {name: np.asarray(x) for name, x in layers.items()} | {
        "observation_mean": np.asarray(normalizer.mean[0]),
        "observation_std": np.asarray(normalizer.std[0]),
    }


def act(policy: Mapping[str, np.ndarray], observation: np.ndarray) -> np.ndarray:
    """The deterministic action [..., action] in [-1, 1] for observations [..., observation]."""
    x = (np.asarray(observation, np.float32) - policy["observation_mean"]) / policy["observation_std"]
    last = sum(name.startswith("weight") for name in policy) - 1
    for i in range(last):
        x = np.tanh(x @ policy[f"weight{i}"] + policy[f"bias{i}"])
    return np.clip(x @ policy[f"weight{last}"] + policy[f"bias{last}"], -1.0, 1.0)


def save(policies: Any, path: Path) -> Path:
    """Write a stacked policy of one task.

    Raises:
        OnebodyError: the name does not end in .npz, or the folder refuses.
    """
    if path.suffix != ".npz":
        raise OnebodyError(f"a policy is saved as .npz, not as {path}")
    try:
        np.savez(path, **arrays(policies))  # pyright: ignore[reportArgumentType]
    except OSError as error:
        raise OnebodyError(f"cannot write {path}: {error.strerror}") from error
    return path


def load(path: Path | str) -> Callable[[np.ndarray], np.ndarray]:
    """The saved policy as a function: observations [..., observation] -> actions [..., action] in [-1, 1].

    Raises:
        OnebodyError: there is no such file, or it holds no policy.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            policy = dict(file)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise OnebodyError(f"{path} is no saved policy: {error}") from error
    layers = sum(name.startswith("weight") for name in policy)
    names = {f"{kind}{i}" for kind in ("weight", "bias") for i in range(layers)}
    if not layers or policy.keys() != names | {"observation_mean", "observation_std"}:
        raise OnebodyError(f"{path} is no saved policy; write one with: onebody adapt RUN --task ... --save policy.npz")
    return lambda observation: act(policy, observation)
