"""A policy as data: an .npz file that acts with NumPy alone, or an .onnx file for other runtimes."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onebody.core.errors import OnebodyError

NORM_EPSILON = 1e-6
"""added to the variance of a layer's units (`core.nets`)"""


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
    """Everything that the first of stacked policies acts with for a task [feature]."""
    import jax
    import jax.numpy as jnp

    from onebody.learning.policies import DeployedGRU

    found = jax.tree.map(lambda x: x[0], policies).deployed(jnp.asarray(task))
    if isinstance(found, DeployedGRU):
        return {name: np.asarray(x) for name, x in found._asdict().items()}
    weights, biases, normalizer, activation, limit = found
    layers = {f"weight{i}": w for i, w in enumerate(weights)} | {f"bias{i}": b for i, b in enumerate(biases)}
    return {name: np.asarray(x) for name, x in layers.items()} | {
        "observation_mean": np.asarray(normalizer.mean),
        "observation_std": np.asarray(normalizer.scale),
        "activation": np.array(activation),
        "limit": np.array(limit),
    }


def actor(policy: Mapping[str, np.ndarray]) -> Callable[..., np.ndarray]:
    """Observations [..., observation] -> deterministic actions [..., action] in [-1, 1]; or `Recurrent`."""
    if policy.keys() == RECURRENT:
        return Recurrent(policy)
    mean, std, last = policy["observation_mean"], policy["observation_std"], _layers(policy) - 1
    hidden = [(policy[f"weight{i}"], policy[f"bias{i}"]) for i in range(last)]
    weight, bias = policy[f"weight{last}"], policy[f"bias{last}"]
    activation, limit = ACTIVATIONS[str(policy["activation"])], LIMITS[str(policy["limit"])]

    def act(observation: Any) -> np.ndarray:
        x = (np.asarray(observation, np.float32) - mean) / std
        for w, b in hidden:
            x = activation(x @ w + b)
        return limit(x @ weight + bias)

    return act


class Recurrent:
    """A policy with memory, in NumPy. It begins with the memory that it was saved with."""

    def __init__(self, policy: Mapping[str, np.ndarray]):
        self._policy = policy
        self._memory = tuple(policy[name] for name in MEMORY)
        self._begun = False

    def __call__(self, observation: Any, reward: Any = None, ended: Any = False) -> np.ndarray:
        """The next deterministic action [..., action] in [-1, 1] for observations [..., observation].

        Args:
            reward: of the step before, [...]; left out of the first call alone.
            ended: whether that step ended its episode, [...].

        Raises:
            OnebodyError: the reward is left out of a later call.
        """
        policy, (hidden, action, *last) = self._policy, self._memory
        if self._begun:
            if reward is None:
                raise OnebodyError(
                    "this policy has a memory: after its first action call it with the reward of the last step, too, "
                    "and whether that ended an episode, as in policy(observation, reward, ended)"
                )
            last = reward, ended
        x = np.asarray(observation, np.float32)
        rows, units = x.shape[:-1], len(policy["recurrent"])
        columns = [np.broadcast_to(np.asarray(each, np.float32)[..., None], (*rows, 1)) for each in last]
        hidden, action = (np.broadcast_to(each, (*rows, each.shape[-1])) for each in (hidden, action))
        entering = np.concatenate([x, action, *columns], axis=-1) @ policy["inputs"] + policy["bias"]
        gates = entering[..., : 2 * units] + hidden @ policy["recurrent"][:, : 2 * units]
        kept, reset = np.split(0.5 + 0.5 * np.tanh(0.5 * gates), 2, axis=-1)
        candidate = np.tanh(entering[..., 2 * units :] + (reset * hidden) @ policy["recurrent"][:, 2 * units :])
        hidden = kept * hidden + (1.0 - kept) * candidate
        action = hidden @ policy["readout"] + policy["offset"]
        self._memory, self._begun = (hidden, action), True
        return LIMITS["clip"](action)


def save(policies: Any, task: Any, path: Path) -> Path:
    """Write the first of stacked policies, for a task [feature]: `.npz` for `load`, `.onnx` for an ONNX runtime.

    Raises:
        OnebodyError: the name ends otherwise, the package onnx is not there, or the folder refuses.
    """
    if path.suffix not in (".npz", ".onnx"):
        raise OnebodyError(f"a policy is saved as .npz or .onnx, not as {path}")
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
    """`actor` in ONNX: `observation` [batch, observation] -> `action` [batch, action], float32."""
    if policy.keys() == RECURRENT:
        raise OnebodyError("a policy with memory is saved as .npz alone; an .onnx file holds none")
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise OnebodyError("an .onnx file needs a package more: pip install 'onebody[onnx]'") from error
    last = _layers(policy) - 1
    nodes: list[Any] = []

    def then(operator: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [f"x{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def normed(x: str) -> str:
        return then("LayerNormalization", x, "one", epsilon=NORM_EPSILON)

    def silu(x: str) -> str:
        return then("Mul", x, then("Sigmoid", x))

    functions: dict[str, Callable[[str], str]] = {
        "tanh": lambda x: then("Tanh", x),
        "relu": lambda x: then("Relu", x),
        "clip": lambda x: then("Clip", x, "low", "high"),
        "normed_silu": lambda x: silu(normed(x)),
        "normed_tanh": lambda x: then("Tanh", normed(x)),
    }
    x = then("Div", then("Sub", "observation", "observation_mean"), "observation_std")
    for i in range(last):
        x = functions[str(policy["activation"])](then("Gemm", x, f"weight{i}", f"bias{i}"))
    then("Identity", functions[str(policy["limit"])](then("Gemm", x, f"weight{last}", f"bias{last}")))
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
    """The saved policy as a function: observations [..., observation] -> actions [..., action] in [-1, 1]. One with
    memory is told, after its first action, also the last step's reward and whether it ended an episode.

    Raises:
        OnebodyError: there is no such file, or it holds no policy.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            policy = dict(file)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise OnebodyError(f"{path} is no saved policy: {error}") from error
    layers = _layers(policy)
    names = {f"{kind}{i}" for kind in ("weight", "bias") for i in range(layers)}
    names |= {"observation_mean", "observation_std", "activation", "limit"}
    if policy.keys() != RECURRENT and (not layers or policy.keys() != names):
        raise OnebodyError(f"{path} is no saved policy; write one with: onebody adapt RUN --task ... --save policy.npz")
    return actor(policy)
