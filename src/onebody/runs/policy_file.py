"""Policies as data files: .npz, which needs only NumPy to act, or .onnx for other runtimes."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from onebody.core.errors import OnebodyError
from onebody.runs import about as abouts
from onebody.runs.about import About
from onebody.runs.numpy_policy import Limited, Memoryless, Recurrent, actor
from onebody.runs.policy_arrays import BELIEF, LIMITED, RECURRENT, layers
from onebody.tasks.limits import LimitedBody

__all__ = ["actor", "arrays", "load", "save"]


def arrays(policies: Any, task: Any, limited: LimitedBody | None = None) -> dict[str, np.ndarray]:
    """All arrays that the first of stacked policies needs to act on a task [feature], by name.

    `limited`: a body whose limits it shall keep by itself, given the body's own observations.
    """
    import jax

    from onebody.learning.policies import DeployedBelief, DeployedGRU

    deployed = jax.tree.map(lambda x: x[0], policies).deployed(jax.device_put(task))
    limits = {} if limited is None else limited.arrays()
    if isinstance(deployed, DeployedGRU):
        return {name: np.asarray(x) for name, x in deployed._asdict().items()} | limits
    if isinstance(deployed, DeployedBelief):
        of_encoder = _layers(deployed.encoder_weights, deployed.encoder_biases, "encoder_")
        latent = len(deployed.encoder_biases[-1]) // 2
        count = {BELIEF: np.asarray(deployed.exploration_episodes)}
        return for_any_task(policies, latent, limited) | of_encoder | count
    return _memoryless(deployed) | limits


def for_any_task(policies: Any, task_size: int, limited: LimitedBody | None = None) -> dict[str, np.ndarray]:
    """All arrays that the first of stacked policies, which sees the task (`sees_task`), needs to act on any task: those
    of `arrays`, with `task_mean` and `task_std`, for the normalised observation and task as one vector.

    `limited`: as in `arrays`.
    """
    import jax

    whole = _memoryless(jax.tree.map(lambda x: x[0], policies).for_any_task())
    parts = {name: np.split(whole[f"observation_{name}"], [-task_size]) for name in ("mean", "std")}
    each = {f"{kind}_{name}": part[i] for name, part in parts.items() for i, kind in enumerate(("observation", "task"))}
    return whole | each | ({} if limited is None else limited.arrays())


def _memoryless(deployed: Any) -> dict[str, np.ndarray]:
    weights, biases, normalizer, activation, limit = deployed
    return _layers(weights, biases) | {
        "observation_mean": np.asarray(normalizer.mean),
        "observation_std": np.asarray(normalizer.scale),
        "activation": np.array(activation),
        "limit": np.array(limit),
    }


def _layers(weights: Any, biases: Any, prefix: str = "") -> dict[str, np.ndarray]:
    parts = {"weight": weights, "bias": biases}
    return {f"{prefix}{name}{i}": np.asarray(x) for name, part in parts.items() for i, x in enumerate(part)}


def save(policies: Any, task: Any, path: Path, about: About | None = None, limited: LimitedBody | None = None) -> Path:
    """Write the first of stacked policies for a task [feature], with its description; as `NumpyPolicy.save`.

    `limited`: as in `arrays`.
    """
    return actor(arrays(policies, task, limited), about).save(path)


def load(path: Path | str) -> Memoryless | Recurrent | Limited:
    """Load a saved policy as a function: observations [..., observation] -> actions [..., action] in [-1, 1].

    A policy with memory also takes, after its first action, the reward of the previous step and whether that step
    ended an episode. One of a body with limits keeps them: it remembers its actions, and `policy.reset()` begins an
    episode. `print(policy)` shows what it is for and where it comes from; `policy.about` has that by name.

    Raises:
        OnebodyError: there is no such file, it is not a saved policy, or a later version of onebody wrote it.
    """
    if not Path(path).is_file():
        raise OnebodyError(f"there is no file {path}; to write one: onebody adapt RUN --task … --save {path}")
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is not an .npz file")
        with np.load(path, allow_pickle=False) as file:
            policy = dict(file)
        if any(name.startswith(".net") for name in policy):
            raise ValueError(f"it has one for any task, which opens with: onebody play {path}")
        text = policy.pop("about", None)
        about = None if text is None else abouts.from_json(str(text), path)
        names = {f"{kind}{i}" for kind in ("weight", "bias") for i in range(layers(policy))}
        names |= {"observation_mean", "observation_std", "activation", "limit"}
        if BELIEF in policy:
            raise ValueError("it has a belief about its task: policy.py beside it loads it")
        if "task_mean" in policy:
            raise ValueError("it takes the task as an input: policy.py beside it loads it")
        limits = policy.keys() & LIMITED
        if policy.keys() - LIMITED not in (RECURRENT, names) or limits not in (set(), LIMITED):
            raise ValueError("it has other arrays; to write one: onebody adapt RUN --task … --save policy.npz")
        if any(np.isnan(x).any() for x in policy.values() if x.dtype.kind == "f"):
            raise ValueError("it has numbers that are NaN")
        actor(policy)(np.zeros(actor(policy).observation_size))  # its arrays fit together
    except (OSError, ValueError, TypeError, LookupError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise OnebodyError(f"{path} is not a saved policy: {error}") from error
    return actor(policy, about)
