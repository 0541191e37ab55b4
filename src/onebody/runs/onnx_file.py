"""A policy as an ONNX model, for other runtimes."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from onebody.core.errors import OnebodyError
from onebody.runs import extras
from onebody.runs.about import About
from onebody.runs.policy_arrays import NORM_EPSILON, RECURRENT, layers


def model(policy: Mapping[str, np.ndarray], about: About | None) -> bytes:
    """The policy as an ONNX model: `observation` [batch, observation] -> `action` [batch, action], float32.

    A policy that keeps limits which depend on past commands has a second input, `state` [batch, n_commands · action],
    and a second output, `next_state`, its value in the next step; at the start of an episode it is the field
    `commands` of the metadata.

    Its description is in the model's metadata: texts as they are, other fields as JSON.
    """
    if policy.keys() >= RECURRENT:
        raise OnebodyError("a policy with memory can only be saved as .npz, not as .onnx")
    extras.check("onnx", "onnx", "saving as .onnx")
    from onnx import TensorProto, helper, numpy_helper

    last = layers(policy) - 1
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
    commands = policy.get("commands", np.zeros(0))
    observation = node("Concat", "observation", "state", axis=1) if len(commands) else "observation"
    x = node("Div", node("Sub", observation, "observation_mean"), "observation_std")
    for i in range(last):
        x = functions[str(policy["activation"])](node("Gemm", x, f"weight{i}", f"bias{i}"))
    action = functions[str(policy["limit"])](node("Gemm", x, f"weight{last}", f"bias{last}"))
    size = len(policy[f"bias{last}"])
    if "commands" in policy:
        action = node("Min", node("Max", action, "command_low"), "command_high")
    if len(commands):
        before = node("Slice", "state", "minus_size", "end", "axis")
        slowest, fastest = (node(each, before, "command_rate") for each in ("Sub", "Add"))
        action = node("Min", node("Max", action, slowest), fastest)
        node("Slice", node("Concat", "state", action, axis=1), "size", "end", "axis")
        nodes[-1].output[0] = "next_state"
    node("Identity", action)
    nodes[-1].output[0] = "action"
    constants = {name: value for name, value in policy.items() if value.dtype == np.float32}
    constants |= {"one": np.ones(1, np.float32), "low": np.float32(-1), "high": np.float32(1)}
    places = {"size": size, "minus_size": -size, "end": np.iinfo(np.int64).max, "axis": 1}
    constants |= {name: np.array([value]) for name, value in places.items()}
    used = {name for each in nodes for name in each.input}
    state = {"state": len(commands)} if len(commands) else {}
    inputs = {"observation": len(policy["observation_mean"]) - len(commands)} | state
    outputs = {"action": size} | {f"next_{name}": n for name, n in state.items()}
    first, final = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n]) for name, n in ends.items()]
        for ends in (inputs, outputs)
    )
    initializers = [
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used
    ]
    graph = helper.make_graph(nodes, "policy", first, final, initializers)
    opset = helper.make_opsetid("", 17)  # the first with LayerNormalization
    made = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    fields = dataclasses.asdict(about) if about else {}
    fields |= {"commands": commands.tolist()} if len(commands) else {}
    helper.set_model_props(made, {k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items()})
    return made.SerializeToString()
