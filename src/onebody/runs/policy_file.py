"""Policies as data files: .npz, which needs only NumPy to act, or .onnx for other runtimes."""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onebody.core.errors import OnebodyError
from onebody.runs import outputs

NORM_EPSILON = 1e-6
"""added to the variance in layer normalisation, as in `core.nets`"""


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
MEMORY = ("hidden", "action", "reward", "ended")
RECURRENT = {"inputs", "recurrent", "bias", "readout", "offset", *MEMORY}
"""arrays of a policy with memory (`learning.policies.DeployedGRU`)"""


def arrays(policies: Any, task: Any) -> dict[str, np.ndarray]:
    """All arrays that the first of stacked policies needs to act on a task [feature], by name."""
    import jax

    from onebody.learning.policies import DeployedGRU

    deployed = jax.tree.map(lambda x: x[0], policies).deployed(jax.device_put(task))
    if isinstance(deployed, DeployedGRU):
        return {name: np.asarray(x) for name, x in deployed._asdict().items()}
    weights, biases, normalizer, activation, limit = deployed
    layers = {f"weight{i}": w for i, w in enumerate(weights)} | {f"bias{i}": b for i, b in enumerate(biases)}
    return {name: np.asarray(x) for name, x in layers.items()} | {
        "observation_mean": np.asarray(normalizer.mean),
        "observation_std": np.asarray(normalizer.scale),
        "activation": np.array(activation),
        "limit": np.array(limit),
    }


def actor(policy: Mapping[str, np.ndarray]) -> Callable[..., np.ndarray]:
    """A function from observations [..., observation] to deterministic actions [..., action] in [-1, 1].

    For a policy with memory it is an instance of `Recurrent`. Raises OnebodyError for an observation of another shape,
    or with a number that is not finite.
    """
    if policy.keys() == RECURRENT:
        return Recurrent(policy)
    mean, std, last = policy["observation_mean"], policy["observation_std"], _layers(policy) - 1
    hidden = [(policy[f"weight{i}"], policy[f"bias{i}"]) for i in range(last)]
    weight, bias = policy[f"weight{last}"], policy[f"bias{last}"]
    activation, limit = ACTIVATIONS[str(policy["activation"])], LIMITS[str(policy["limit"])]

    def act(observation: Any) -> np.ndarray:
        x = (_finite("an observation", observation, len(mean)) - mean) / std
        for w, b in hidden:
            x = activation(x @ w + b)
        return limit(x @ weight + bias)

    return act


def _finite(name: str, value: Any, size: int | None = None) -> np.ndarray:
    """What a policy is given, as finite numbers [..., size], or of any shape.

    Raises:
        OnebodyError: it has another shape, or a number that is not finite.
    """
    try:
        x = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise OnebodyError(f"{name} of this policy is an array of numbers, not a {type(value).__name__}") from None
    if size is not None and (x.ndim == 0 or x.shape[-1] != size):
        raise OnebodyError(f"{name} of this policy has {size} numbers, [..., {size}]; this one has shape {x.shape}")
    if not np.isfinite(x).all():
        raise OnebodyError(f"{name} of this policy must be finite numbers")
    return x


class Recurrent:
    """A policy with memory, in NumPy. Its initial memory is the one that it was saved with."""

    def __init__(self, policy: Mapping[str, np.ndarray]):
        self._policy = policy
        self._memory = tuple(policy[name] for name in MEMORY)
        self._started = False

    def __call__(self, observation: Any, reward: Any = None, ended: Any = False) -> np.ndarray:
        """The next deterministic action [..., action] in [-1, 1] for observations [..., observation].

        Args:
            reward: reward of the previous step, [...]; None only in the first call.
            ended: whether the previous step ended its episode, [...].

        Raises:
            OnebodyError: the reward is missing in a later call; an observation has another shape; or a number is not
                finite.
        """
        policy, (hidden, action, *last) = self._policy, self._memory
        if self._started:
            if reward is None:
                raise OnebodyError(
                    "this policy has a memory: after its first action, also give the reward of the previous step and "
                    "whether that step ended an episode, as in policy(observation, reward, ended)"
                )
            last = reward, ended
        x = _finite("an observation", observation, len(policy["inputs"]) - action.shape[-1] - len(last))
        rows, units = x.shape[:-1], len(policy["recurrent"])
        columns = [np.broadcast_to(_finite("a reward", each)[..., None], (*rows, 1)) for each in last]
        hidden, action = (np.broadcast_to(each, (*rows, each.shape[-1])) for each in (hidden, action))
        inputs = np.concatenate([x, action, *columns], axis=-1) @ policy["inputs"] + policy["bias"]
        gates = inputs[..., : 2 * units] + hidden @ policy["recurrent"][:, : 2 * units]
        kept, reset = np.split(0.5 + 0.5 * np.tanh(0.5 * gates), 2, axis=-1)
        candidate = np.tanh(inputs[..., 2 * units :] + (reset * hidden) @ policy["recurrent"][:, 2 * units :])
        hidden = kept * hidden + (1.0 - kept) * candidate
        action = hidden @ policy["readout"] + policy["offset"]
        self._memory, self._started = (hidden, action), True
        return LIMITS["clip"](action)


def save(policies: Any, task: Any, path: Path) -> Path:
    """Write the first of stacked policies for a task [feature]: `.npz` for `load`, or `.onnx` for an ONNX runtime.

    Raises:
        OnebodyError: as `outputs.check`, the package onnx is not installed, or the file cannot be written.
    """
    outputs.check(path, ".npz", ".onnx")
    policy = arrays(policies, task)
    try:
        if path.suffix == ".npz":
            np.savez(path, **policy)  # pyright: ignore[reportArgumentType]
        else:
            path.write_bytes(_graph(policy))
    except OSError as error:
        raise OnebodyError(f"cannot write {path}: {error.strerror}") from error
    return path


def _graph(policy: Mapping[str, np.ndarray]) -> bytes:
    """The policy as an ONNX model: `observation` [batch, observation] -> `action` [batch, action], float32."""
    if policy.keys() == RECURRENT:
        raise OnebodyError("a policy with memory can only be saved as .npz, not as .onnx")
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise OnebodyError("saving as .onnx needs: pip install 'onebody[onnx]'") from error
    last = _layers(policy) - 1
    nodes: list[Any] = []

    def node(operator: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [f"x{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def normed(x: str) -> str:
        return node("LayerNormalization", x, "one", epsilon=NORM_EPSILON)

    def silu(x: str) -> str:
        return node("Mul", x, node("Sigmoid", x))

    functions: dict[str, Callable[[str], str]] = {
        "tanh": lambda x: node("Tanh", x),
        "relu": lambda x: node("Relu", x),
        "clip": lambda x: node("Clip", x, "low", "high"),
        "normed_silu": lambda x: silu(normed(x)),
        "normed_tanh": lambda x: node("Tanh", normed(x)),
    }
    x = node("Div", node("Sub", "observation", "observation_mean"), "observation_std")
    for i in range(last):
        x = functions[str(policy["activation"])](node("Gemm", x, f"weight{i}", f"bias{i}"))
    node("Identity", functions[str(policy["limit"])](node("Gemm", x, f"weight{last}", f"bias{last}")))
    nodes[-1].output[0] = "action"
    constants = {name: value for name, value in policy.items() if value.dtype == np.float32}
    constants |= {"one": np.ones(1, np.float32), "low": np.float32(-1), "high": np.float32(1)}
    ends = {"observation": len(policy["observation_mean"]), "action": len(policy[f"bias{last}"])}
    first, final = (helper.make_tensor_value_info(k, TensorProto.FLOAT, ["batch", n]) for k, n in ends.items())
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "policy", [first], [final], initializers)
    opset = helper.make_opsetid("", 17)  # the first with LayerNormalization
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def _layers(policy: Mapping[str, np.ndarray]) -> int:
    return sum(name.startswith("weight") for name in policy)


def load(path: Path | str) -> Callable[..., np.ndarray]:
    """Load a saved policy as a function: observations [..., observation] -> actions [..., action] in [-1, 1].

    A policy with memory also takes, after its first action, the reward of the previous step and whether that step
    ended an episode.

    Raises:
        OnebodyError: there is no such file, or it is not a saved policy.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            policy = dict(file)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise OnebodyError(f"{path} is not a saved policy: {error}") from error
    layers = _layers(policy)
    names = {f"{kind}{i}" for kind in ("weight", "bias") for i in range(layers)}
    names |= {"observation_mean", "observation_std", "activation", "limit"}
    if policy.keys() != RECURRENT and (not layers or policy.keys() != names):
        raise OnebodyError(f"{path} is not a saved policy; to write one: onebody adapt RUN --task … --save policy.npz")
    return actor(policy)
