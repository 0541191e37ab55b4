"""Policies for one task that act with NumPy alone."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onebody.core.errors import OnebodyError
from onebody.runs import about as abouts
from onebody.runs import onnx_file, outputs
from onebody.runs.about import About
from onebody.runs.policy_arrays import LIMITED, MEMORY, NORM_EPSILON, RECURRENT, layers
from onebody.tasks.limits import limited_command


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1.0 + np.exp(-x))


def _normed(activation: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    def normed(x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        return activation(centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + NORM_EPSILON))

    return normed


ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0.0),
    "normed_silu": _normed(_silu),
    "normed_tanh": _normed(np.tanh),
}
LIMITS = {"tanh": np.tanh, "clip": lambda x: np.clip(x, -1.0, 1.0)}


class NumpyPolicy:
    """A policy for one task: observations [..., observation] -> deterministic actions [..., action] in [-1, 1].

    `print` shows its description, if it has one.

    Attributes:
        arrays: all that it needs to act, by name.
        about: what it is for and where it comes from; None for a file without a description.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], about: About | None = None):
        self.arrays, self.about = arrays, about

    def __str__(self) -> str:
        return str(self.about) if self.about else f"policy for observations of {self.observation_size} numbers"

    @property
    def observation_size(self) -> int:
        raise NotImplementedError

    def reset(self) -> None:
        """Begin an episode: a policy that keeps the limits of a body forgets its commands; others have nothing to do.

        The memory of a policy that infers its task stays.
        """

    def save(self, path: Path | str) -> Path:
        """Write the policy to a file, .npz for `onebody.load_policy` or .onnx for an ONNX runtime.

        Raises:
            OnebodyError: as `outputs.check`, the package onnx is not installed, or the file cannot be written.
        """
        path = Path(path)
        outputs.check(path, ".npz", ".onnx")
        if path.suffix == ".onnx" and self.arrays.keys() >= RECURRENT:
            raise OnebodyError(
                "a policy with memory can only be saved as .npz; as .onnx, with its state as input and output, it is "
                "part of a bundle: onebody export RUN --to FOLDER"
            )
        try:
            if path.suffix == ".npz":
                about = {"about": np.array(abouts.to_json(self.about))} if self.about else {}
                np.savez(path, **self.arrays, **about)  # pyright: ignore[reportArgumentType]
            else:
                path.write_bytes(onnx_file.model(self.arrays, self.about))
        except OSError as error:
            raise OnebodyError(f"cannot write {path}: {error.strerror}") from error
        return path

    def _checked(self, observation: Any) -> np.ndarray:
        """The observation as finite numbers; raises OnebodyError if it is none of this policy."""
        x, size = _numbers("an observation", observation), self.observation_size
        if x.ndim == 0 or x.shape[-1] != size:
            raise OnebodyError(f"an observation of this policy has shape ({size},), or (batch, {size}), not {x.shape}")
        if not np.isfinite(x).all():
            i = int(np.argwhere(~np.isfinite(x))[0, -1])
            label = f" ({self.about.observation_labels[i]})" if self.about else ""
            value = x[..., i][~np.isfinite(x[..., i])][0]
            raise OnebodyError(f"an observation of this policy must be finite numbers; number {i}{label} is {value}")
        return x


def _numbers(name: str, value: Any) -> np.ndarray:
    """What a policy is given, in float32. Raises OnebodyError if it is no array of numbers."""
    try:
        x = np.asarray(value)
        if x.dtype.kind in "OUSmMc":
            raise TypeError
        with np.errstate(over="ignore"):  # infinite beyond the range of float32
            return x.astype(np.float32)
    except (TypeError, ValueError):
        raise OnebodyError(f"{name} of this policy is an array of numbers, not a {type(value).__name__}") from None


def _column(name: str, value: Any, rows: tuple[int, ...]) -> np.ndarray:
    """A finite number for each of a batch [*rows, 1], or one for all. Raises OnebodyError if it is something else."""
    x = _numbers(name, value)
    if not np.isfinite(x).all():
        raise OnebodyError(f"{name} of this policy must be finite numbers")
    if x.shape not in ((), rows):
        raise OnebodyError(f"{name} of this policy has shape {rows}, one number per observation, not {x.shape}")
    return np.broadcast_to(x[..., None], (*rows, 1))


def _finite_action(action: np.ndarray) -> np.ndarray:
    """The action. Raises OnebodyError if it is not finite."""
    if not np.isfinite(action).all():
        raise OnebodyError(
            "the action is not finite: the observation is too large for this policy, or its file damaged"
        )
    return action


class Memoryless(NumpyPolicy):
    """A feed-forward network of the normalised observation."""

    def __init__(self, arrays: Mapping[str, np.ndarray], about: About | None = None):
        super().__init__(arrays, about)
        self._layers = [(arrays[f"weight{i}"], arrays[f"bias{i}"]) for i in range(layers(arrays))]
        self._activation, self._limit = ACTIVATIONS[str(arrays["activation"])], LIMITS[str(arrays["limit"])]

    @property
    def observation_size(self) -> int:
        return len(self.arrays["observation_mean"])

    def __call__(self, observation: Any) -> np.ndarray:
        """The deterministic action [..., action] in [-1, 1] for observations [..., observation].

        Raises:
            OnebodyError: the observation has another shape, or a number that is not finite.
        """
        x = self._checked(observation)
        with np.errstate(over="ignore", invalid="ignore"):
            x = (x - self.arrays["observation_mean"]) / self.arrays["observation_std"]
            *hidden, (weight, bias) = self._layers
            for w, b in hidden:
                x = self._activation(x @ w + b)
            return _finite_action(self._limit(x @ weight + bias))


class Recurrent(NumpyPolicy):
    """A policy with memory. Its initial memory is the one that it was saved with."""

    def __init__(self, arrays: Mapping[str, np.ndarray], about: About | None = None):
        super().__init__(arrays, about)
        self._memory = tuple(arrays[name] for name in MEMORY)
        self._started = False

    @property
    def observation_size(self) -> int:
        return len(self.arrays["inputs"]) - len(self.arrays["offset"]) - 2

    def __call__(self, observation: Any, reward: Any = None, ended: Any = False) -> np.ndarray:
        """The next deterministic action [..., action] in [-1, 1] for observations [..., observation].

        Args:
            reward: reward of the previous step, [...]; None only in the first call.
            ended: whether the previous step ended its episode, [...].

        Raises:
            OnebodyError: the reward is missing in a later call; an observation, or a batch, has another shape; or a
                number is not finite. The memory does not change then.
        """
        policy, (hidden, action, *last) = self.arrays, self._memory
        x = self._checked(observation)
        rows, units = x.shape[:-1], len(policy["recurrent"])
        if self._started:
            if reward is None:
                raise OnebodyError(
                    "this policy has a memory: after its first action, also give the reward of the previous step and "
                    "whether that step ended an episode, as in policy(observation, reward, ended)"
                )
            if rows != action.shape[:-1]:
                first = action.shape[:-1] + x.shape[-1:]
                raise OnebodyError(
                    f"an observation of this policy has the shape of its first one, {first}, as it remembers each of "
                    f"the batch; this one has shape {x.shape}: load the policy again"
                )
            last = reward, ended
        columns = [_column(name, each, rows) for name, each in zip(("a reward", "`ended`"), last, strict=True)]
        hidden, action = (np.broadcast_to(each, (*rows, each.shape[-1])) for each in (hidden, action))
        with np.errstate(over="ignore", invalid="ignore"):
            inputs = np.concatenate([x, action, *columns], axis=-1) @ policy["inputs"] + policy["bias"]
            gates = inputs[..., : 2 * units] + hidden @ policy["recurrent"][:, : 2 * units]
            kept, reset = np.split(0.5 + 0.5 * np.tanh(0.5 * gates), 2, axis=-1)
            candidate = np.tanh(inputs[..., 2 * units :] + (reset * hidden) @ policy["recurrent"][:, 2 * units :])
            hidden = kept * hidden + (1.0 - kept) * candidate
            action = hidden @ policy["readout"] + policy["offset"]
        limited = _finite_action(LIMITS["clip"](action))
        self._memory, self._started = (hidden, action), True
        return limited


class Limited(NumpyPolicy):
    """A policy that keeps the limits of its body's actions, and remembers the commands that it has to observe."""

    def __init__(self, arrays: Mapping[str, np.ndarray], about: About | None = None):
        super().__init__(arrays, about)
        self._policy = _plain({name: x for name, x in arrays.items() if name not in LIMITED}, about)
        self.reset()

    @property
    def observation_size(self) -> int:
        return self._policy.observation_size - len(self.arrays["commands"])

    def reset(self) -> None:
        """Begin an episode: forget the commands, but not the memory of a policy that infers its task."""
        self._commands = self.arrays["commands"]

    def __call__(self, observation: Any, reward: Any = None, ended: Any = False) -> np.ndarray:
        """The next command [..., action] for the body's own observations [..., observation], within the limits.

        Observations that have the commands, as those of `onebody.gym` have, are taken as they are.

        Args:
            reward, ended: only of a policy with a memory of its own, as of `Recurrent`. An end also begins an episode
                for the limits.

        Raises:
            OnebodyError: as of the policy without limits, a reward where it has no memory, or a batch has another shape
                than the one before it.
        """
        if reward is not None and not isinstance(self._policy, Recurrent):
            raise OnebodyError("this policy has no memory of its own, so it takes no reward")
        x, size, kept = _numbers("an observation", observation), self.observation_size, len(self.arrays["commands"])
        complete = x.ndim > 0 and x.shape[-1] == size + kept
        if complete:
            commands = x[..., size:]
        else:
            x = self._checked(x)
            rows = x.shape[:-1]
            if self._commands is not self.arrays["commands"] and rows != self._commands.shape[:-1]:
                before = self._commands.shape[:-1] + x.shape[-1:]
                raise OnebodyError(
                    f"an observation of this policy has the shape of the one before, {before}, as it remembers the "
                    f"actions of each of the batch; this one has shape {x.shape}: call reset() of the policy first"
                )
            commands = np.broadcast_to(self._commands, (*rows, kept))
            commands = np.where(np.asarray(ended, bool)[..., None], self.arrays["commands"], commands)
            x = np.concatenate([x, commands], axis=-1)
        action = self._policy(x, reward, ended) if isinstance(self._policy, Recurrent) else self._policy(x)
        n, limits = action.shape[-1], (self.arrays[f"command_{name}"] for name in ("low", "high", "rate"))
        command = limited_command(action, commands[..., -n:] if kept else np.zeros_like(action), *limits)
        if not complete:
            self._commands = np.concatenate([commands, command], axis=-1)[..., n:]
        return command


def actor(arrays: Mapping[str, np.ndarray], about: About | None = None) -> Memoryless | Recurrent | Limited:
    """The policy that these arrays are of."""
    return Limited(arrays, about) if arrays.keys() >= LIMITED else _plain(arrays, about)


def _plain(arrays: Mapping[str, np.ndarray], about: About | None) -> Memoryless | Recurrent:
    return (Recurrent if arrays.keys() == RECURRENT else Memoryless)(arrays, about)
