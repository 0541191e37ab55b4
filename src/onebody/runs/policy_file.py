"""A policy as data: an .npz file that acts with NumPy alone."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onebody.core.errors import OnebodyError


def _normed_silu(x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    y = centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + 1e-6)
    return y / (1.0 + np.exp(-y))


ACTIVATIONS = {"tanh": np.tanh, "normed_silu": _normed_silu}
LIMITS = {"tanh": np.tanh, "clip": lambda x: np.clip(x, -1.0, 1.0)}


def arrays(policies: Any, task: Any) -> dict[str, np.ndarray]:
    """Everything that the first of stacked policies acts with for a task [feature]."""
    import jax
    import jax.numpy as jnp

    weights, biases, normalizer, activation, limit = jax.tree.map(lambda x: x[0], policies).deployed(jnp.asarray(task))
    layers = {f"weight{i}": w for i, w in enumerate(weights)} | {f"bias{i}": b for i, b in enumerate(biases)}
    return {name: np.asarray(x) for name, x in layers.items()} | {
        "observation_mean": np.asarray(normalizer.mean),
        "observation_std": np.asarray(normalizer.std),
        "activation": np.array(activation),
        "limit": np.array(limit),
    }


def act(policy: Mapping[str, np.ndarray], observation: np.ndarray) -> np.ndarray:
    """The deterministic action [..., action] in [-1, 1] for observations [..., observation]."""
    x = (np.asarray(observation, np.float32) - policy["observation_mean"]) / policy["observation_std"]
    activation, last = ACTIVATIONS[str(policy["activation"])], sum(name.startswith("weight") for name in policy) - 1
    for i in range(last):
        x = activation(x @ policy[f"weight{i}"] + policy[f"bias{i}"])
    return LIMITS[str(policy["limit"])](x @ policy[f"weight{last}"] + policy[f"bias{last}"])


def save(policies: Any, task: Any, path: Path) -> Path:
    """Write the first of stacked policies, for a task [feature].

    Raises:
        OnebodyError: the name does not end in .npz, or the folder refuses.
    """
    if path.suffix != ".npz":
        raise OnebodyError(f"a policy is saved as .npz, not as {path}")
    try:
        np.savez(path, **arrays(policies, task))  # pyright: ignore[reportArgumentType]
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
    if not layers or policy.keys() != names | {"observation_mean", "observation_std", "activation", "limit"}:
        raise OnebodyError(f"{path} is no saved policy; write one with: onebody adapt RUN --task ... --save policy.npz")
    return lambda observation: act(policy, observation)
