"""A policy as an ONNX model, for other runtimes."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from onebody.runs import extras
from onebody.runs.about import About
from onebody.runs.policy_arrays import BELIEF, MIN_VARIANCE, NORM_EPSILON, RECURRENT, belief_sizes, layers


def check() -> None:
    """Raises OnebodyError if the package onnx is not installed."""
    extras.check("onnx", "onnx", "saving as .onnx")


def model(policy: Mapping[str, np.ndarray], about: About | None) -> bytes:
    """The policy as an ONNX model of float32 inputs and outputs, each [batch, numbers].

    `observation` -> `action`. A policy for any task has a second input, `task`. A policy with memory has the inputs
    `observation`, `reward` and `ended` (1 or 0, of the previous step), and `state`, which its output `next_state`
    replaces in the next step; with a belief, also `noise`, standard normal numbers that the z of an episode is drawn
    with. One that keeps limits which depend on past commands has `state`, too, which ends with them: at the start of an
    episode they are the field `commands` of the metadata.

    The description is in the model's metadata: texts as they are, other fields as JSON.

    Raises:
        OnebodyError: the package onnx is not installed.
    """
    check()
    from onnx import TensorProto, helper, numpy_helper

    graph = _Graph(policy)
    if policy.keys() >= RECURRENT:
        inputs, outputs = graph.recurrent()
    else:
        inputs, outputs = graph.believing() if BELIEF in policy else graph.memoryless()
    first, final = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n]) for name, n in ends.items()]
        for ends in (inputs, outputs)
    )
    used = {name for each in graph.nodes for name in each.input} - inputs.keys()
    initializers = [
        numpy_helper.from_array(np.asarray(value), name) for name, value in graph.constants.items() if name in used
    ]
    opset = helper.make_opsetid("", 17)  # the first with LayerNormalization
    whole = helper.make_graph(graph.nodes, "policy", first, final, initializers)
    made = helper.make_model(whole, opset_imports=[opset], ir_version=8)
    fields = dataclasses.asdict(about) if about else {}
    fields |= {"commands": graph.commands.tolist()} if len(graph.commands) else {}
    helper.set_model_props(made, {k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items()})
    return made.SerializeToString()


class _Graph:
    """Nodes of a model, and the constants that they may use. Each method gives the name of its result."""

    def __init__(self, policy: Mapping[str, np.ndarray]):
        self.policy, self.nodes = policy, list[Any]()
        self.commands = policy.get("commands", np.zeros(0, np.float32))
        self.constants = {name: value for name, value in policy.items() if value.dtype == np.float32}
        self.constants |= {
            "one": np.ones(1, np.float32),
            "half": np.float32(0.5),
            "zero": np.float32(0),
            "low": np.float32(-1),
            "high": np.float32(1),
        }

    def memoryless(self) -> tuple[dict[str, int], dict[str, int]]:
        """Adds the nodes of a policy without memory; sizes of its inputs and outputs by name."""
        policy = self.policy
        names = ["observation", "task"] if "task_mean" in policy else ["observation"]
        sizes = {name: len(policy[f"{name}_mean"]) for name in names}
        given = {name: name for name in names}
        if n := len(self.commands):
            given["observation"] = self._node("Concat", "observation", "state", axis=1)
            sizes |= {"observation": sizes["observation"] - n, "state": n}
        x, size = self._action(given), len(policy[f"bias{layers(policy) - 1}"])
        x, kept = self._limited(x, "state", size)
        if n:
            self._node("Concat", *kept, axis=1)
            self._name_last("next_state")
        self._node("Identity", x)
        self._name_last("action")
        return sizes, {"action": size} | ({"next_state": n} if n else {})

    def recurrent(self) -> tuple[dict[str, int], dict[str, int]]:
        """Adds the nodes of a policy with memory: a step of its GRU. Its state is the GRU's, the last action before
        that was limited, and the newest commands, with which an episode begins again after the end of another one."""
        policy, n = self.policy, len(self.commands)
        units, actions = policy["readout"].shape
        gates, candidates = np.split(policy["recurrent"], [2 * units], axis=1)
        self.constants |= {"recurrent_gates": gates, "recurrent_candidates": candidates}
        hidden, last, *commands = self._split("state", units, actions, *([n] if n else []))
        if n:
            begins = self._node("Greater", "ended", "half")
            commands = [self._node("Where", begins, "commands", commands[0])]
        inputs = self._node("Concat", "observation", *commands, last, "reward", "ended", axis=1)
        to_gates, to_candidates = self._split(self._node("Gemm", inputs, "inputs", "bias"), 2 * units, units)
        opened = self._node("Sigmoid", self._node("Add", to_gates, self._node("MatMul", hidden, "recurrent_gates")))
        kept, reset = self._split(opened, units, units)
        memory = self._node("MatMul", self._node("Mul", reset, hidden), "recurrent_candidates")
        candidate = self._node("Tanh", self._node("Add", to_candidates, memory))
        change = self._node("Mul", kept, self._node("Sub", hidden, candidate))
        hidden = self._node("Add", candidate, change)
        action = self._node("Gemm", hidden, "readout", "offset")
        command, kept = self._limited(self._applied("clip", action), commands[0] if n else "", actions)
        self._node("Concat", hidden, action, *kept, axis=1)
        self._name_last("next_state")
        self._node("Identity", command)
        self._name_last("action")
        observation, state = len(policy["inputs"]) - n - actions - 2, units + actions + n
        inputs_by_name = {"observation": observation, "state": state, "reward": 1, "ended": 1}
        return inputs_by_name, {"action": actions, "next_state": state}

    def believing(self) -> tuple[dict[str, int], dict[str, int]]:
        """Adds the nodes of a policy with a belief: a step of `algorithms.context.belief.BeliefPolicy`."""
        policy, n, sizes = self.policy, len(self.commands), belief_sizes(self.policy)
        latent, size, actions = sizes[0], sizes[3], sizes[4]
        mean, std, z, before, last, episodes, *commands = self._split("state", *sizes, *([n] if n else []))
        ended, observation = self._node("Greater", "ended", "half"), "observation"
        if n:
            commands = [self._node("Where", ended, "commands", commands[0])]
            observation = self._node("Concat", observation, *commands, axis=1)
        after = [observation] if len(policy["encoder_weight0"]) > size + actions + 1 else []
        later = self._node("Greater", episodes, "half")
        begins = self._node("Or", self._node("Not", later), ended)
        used = self._node("And", later, self._node("Not", ended)) if after else later

        context = self._node("Concat", before, last, "reward", *after, axis=1)
        factor, raw = self._split(self._network(context, "encoder_"), latent, latent)
        self.constants["min_variance"] = np.full(1, MIN_VARIANCE, np.float32)
        variance = self._node("Max", self._node("Softplus", raw), "min_variance")
        own = self._node("Mul", std, std)
        share = self._node("Div", own, self._node("Add", own, variance))
        gain = self._node("Where", self._node("Greater", std, "zero"), share, "one")
        shifted = self._node("Add", mean, self._node("Mul", gain, self._node("Sub", factor, mean)))
        mean = self._node("Where", used, shifted, mean)
        std = self._node("Where", used, self._node("Sqrt", self._node("Mul", gain, variance)), std)

        known = self._node("Greater", std, "zero")
        unknown = self._node("Or", self._node("Less", episodes, BELIEF), self._node("Not", known))
        drawn = self._node("Add", mean, self._node("Mul", std, "noise"))
        z = self._node("Where", begins, self._node("Where", unknown, "noise", drawn), z)
        episodes = self._node("Add", episodes, self._node("Where", begins, "one", "zero"))
        action = self._action({"observation": observation, "task": z})
        command, kept = self._limited(action, commands[0] if n else "", actions)
        self._node("Concat", mean, std, z, observation, action, episodes, *kept, axis=1)
        self._name_last("next_state")
        self._node("Identity", command)
        self._name_last("action")
        inputs = {"observation": size - n, "state": sum(sizes) + n, "reward": 1, "ended": 1, "noise": latent}
        return inputs, {"action": actions, "next_state": sum(sizes) + n}

    def _action(self, given: Mapping[str, str]) -> str:
        """The action in [-1, 1] of a network; `given`: what stands for `observation` and `task`."""
        parts = [self._node("Div", self._node("Sub", x, f"{name}_mean"), f"{name}_std") for name, x in given.items()]
        x = self._node("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
        return self._applied(str(self.policy["limit"]), self._network(x))

    def _network(self, x: str, prefix: str = "") -> str:
        last = layers(self.policy, prefix) - 1
        for i in range(last + 1):
            x = self._node("Gemm", x, f"{prefix}weight{i}", f"{prefix}bias{i}")
            x = self._applied(str(self.policy["activation"]), x) if i < last else x
        return x

    def _limited(self, x: str, commands: str, size: int) -> tuple[str, list[str]]:
        """An action within the limits (`tasks.limits.limited_command`), and the parts of the newest commands after it.

        Args:
            x: the action in [-1, 1], of `size` numbers.
            commands: the newest commands before it, which are not used if the policy has none.
        """
        if n := len(self.commands):
            before = self._split(commands, n - size, size)[1] if n > size else commands
            slowest, fastest = (self._node(operator, before, "command_rate") for operator in ("Sub", "Add"))
            x = self._node("Min", self._node("Max", x, slowest), fastest)
        if "commands" in self.policy:
            x = self._node("Min", self._node("Max", x, "command_low"), "command_high")
        kept = [self._split(commands, size, n - size)[1]] if n > size else []
        return x, [*kept, x] if n else []

    def _applied(self, function: str, x: str) -> str:
        if function.startswith("normed_"):
            x = self._node("LayerNormalization", x, "one", epsilon=NORM_EPSILON)
        name = function.removeprefix("normed_")
        if name == "silu":
            return self._node("Mul", x, self._node("Sigmoid", x))
        if name == "clip":
            return self._node("Clip", x, "low", "high")
        return self._node({"tanh": "Tanh", "relu": "Relu"}[name], x)

    def _split(self, x: str, *sizes: int) -> list[str]:
        name = f"sizes{len(self.nodes)}"
        self.constants[name] = np.array(sizes, np.int64)
        return self._nodes("Split", x, name, outputs=len(sizes), axis=1)

    def _node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self._nodes(operator, *inputs, outputs=1, **attributes)[0]

    def _nodes(self, operator: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        from onnx import helper

        names = [f"x{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names

    def _name_last(self, name: str) -> None:
        self.nodes[-1].output[0] = name
