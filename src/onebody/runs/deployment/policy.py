"""The policy of this folder, with NumPy alone.

policy = Policy()
action = policy(observation)                         for the default task of contract.json
action = policy(observation, task=[0.7])             for another one, if contract.json says that task is an input
action = policy(observation, reward=r, ended=False)  if it infers the task from rewards: with that of the step before
command = policy.command(action)                     in the units of the actuators
policy.reset()                                       at the start of each episode, if it does not infer the task

Actions keep the limits in contract.json.
"""

import json
import warnings
from pathlib import Path

import numpy as np


def _clip(x):
    return np.clip(x, -1.0, 1.0)


def _sigmoid(x):
    return 0.5 + 0.5 * np.tanh(0.5 * x)


FUNCTIONS = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0.0), "silu": lambda x: x * _sigmoid(x), "clip": _clip}


def _apply(name, x):
    if name.startswith("normed_"):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
    return FUNCTIONS[name.replace("normed_", "")](x)


def run(arrays, inputs):
    """Outputs by name for the arrays of policy.npz and inputs by name, each float32 [batch, numbers]."""
    with np.errstate(over="ignore", invalid="ignore"):
        if "recurrent" in arrays:
            return _recurrent(arrays, inputs)
        return _believing(arrays, inputs) if "encoder_weight0" in arrays else _memoryless(arrays, inputs)


def _memoryless(arrays, inputs):
    commands = inputs["state"] if len(arrays.get("commands", ())) else None
    if commands is not None:
        inputs = dict(inputs, observation=np.concatenate([inputs["observation"], commands], axis=-1))
    action, commands = _limited(arrays, _action(arrays, inputs), commands)
    return {"action": action} if commands is None else {"action": action, "next_state": commands}


def _action(arrays, inputs):
    names = [name for name in ("observation", "task") if name + "_mean" in arrays]
    x = np.concatenate([(inputs[name] - arrays[name + "_mean"]) / arrays[name + "_std"] for name in names], axis=-1)
    return _apply(str(arrays["limit"]), _network(arrays, x))


def _network(arrays, x, prefix=""):
    last = sum(name.startswith(prefix + "weight") for name in arrays) - 1
    for i in range(last + 1):
        x = x @ arrays[f"{prefix}weight{i}"] + arrays[f"{prefix}bias{i}"]
        x = _apply(str(arrays["activation"]), x) if i < last else x
    return x


def _believing(arrays, inputs):
    latent, size = len(arrays["task_mean"]), len(arrays["observation_mean"])
    actions = len(arrays[f"bias{sum(name.startswith('weight') for name in arrays) - 1}"])
    ends = np.cumsum([latent, latent, latent, size, actions, 1])
    mean, std, z, before, last, episodes, commands = np.split(inputs["state"], ends, axis=-1)
    later, ended = episodes > 0.5, inputs["ended"] > 0.5
    commands = np.where(ended, arrays.get("commands", np.zeros(0, np.float32)), commands)
    observation = np.concatenate([inputs["observation"], commands], axis=-1)

    # the last transition is one more factor of the belief
    context, used = [before, last, inputs["reward"]], later
    if len(arrays["encoder_weight0"]) > size + actions + 1:  # the encoder sees next observations
        context, used = [*context, observation], later & ~ended
    factor, raw = np.split(_network(arrays, np.concatenate(context, axis=-1), "encoder_"), 2, axis=-1)
    variance = np.maximum(np.logaddexp(raw, np.float32(0)), np.float32(1e-7))
    gain = np.where(std > 0, std**2 / (std**2 + variance), np.float32(1))
    mean = np.where(used, mean + gain * (factor - mean), mean)
    std = np.where(used, np.sqrt(gain * variance), std)

    # an episode begins with a new z
    begins = ended | ~later
    unknown = (episodes < arrays["exploration_episodes"]) | (std == 0)
    z = np.where(begins, np.where(unknown, inputs["noise"], mean + std * inputs["noise"]), z)
    action = _action(arrays, {"observation": observation, "task": z})
    limited, kept = _limited(arrays, action, commands if commands.shape[-1] else None)
    state = [mean, std, z, observation, action, episodes + begins] + ([] if kept is None else [kept])
    return {"action": limited, "next_state": np.concatenate(state, axis=-1).astype(np.float32)}


def _recurrent(arrays, inputs):
    units = len(arrays["recurrent"])
    hidden, last, commands = np.split(inputs["state"], [units, units + len(arrays["offset"])], axis=-1)
    commands = np.where(inputs["ended"] > 0.5, arrays.get("commands", np.zeros(0, np.float32)), commands)
    x = np.concatenate([inputs["observation"], commands, last, inputs["reward"], inputs["ended"]], axis=-1)
    x = x @ arrays["inputs"] + arrays["bias"]
    gates = _sigmoid(x[:, : 2 * units] + hidden @ arrays["recurrent"][:, : 2 * units])
    kept, reset = np.split(gates, 2, axis=-1)
    candidate = np.tanh(x[:, 2 * units :] + (reset * hidden) @ arrays["recurrent"][:, 2 * units :])
    hidden = kept * hidden + (1.0 - kept) * candidate
    action = hidden @ arrays["readout"] + arrays["offset"]
    limited, commands = _limited(arrays, _clip(action), commands if commands.shape[-1] else None)
    state = [hidden, action] if commands is None else [hidden, action, commands]
    return {"action": limited, "next_state": np.concatenate(state, axis=-1)}


def _limited(arrays, action, commands):
    """The action within the limits, and the newest actions after it; `commands`: those before it, None without any."""
    size = action.shape[-1]
    if commands is not None:
        last, rate = commands[:, -size:], arrays["command_rate"]
        action = np.clip(action, last - rate, last + rate)
    if "commands" in arrays:
        action = np.clip(action, arrays["command_low"], arrays["command_high"])
    return action, None if commands is None else np.concatenate([commands, action], axis=-1)[:, size:]


class Policy:
    """The policy of one robot, to be called every `dt` seconds.

    Attributes:
        contract: contract.json.
        arrays: policy.npz.
        infers: whether it infers the task from rewards.
        draws: how many standard normal numbers it takes to draw z from its belief; 0 without a belief.
    """

    def __init__(self, folder=None):
        folder = Path(folder or Path(__file__).resolve().parent)
        self.contract = json.loads((folder / "contract.json").read_text(encoding="utf-8"))
        with np.load(folder / "policy.npz", allow_pickle=False) as file:
            self.arrays = dict(file)
        cut = [np.inf if each["cut"] is None else each["cut"] for each in self.contract["observation"]]
        self._cut = np.array(cut, np.float32)
        self._low, self._high = (
            np.array([each[name] for each in self.contract["action"]], np.float32) for name in ("low", "high")
        )
        memory = self.contract["memory"]
        self.infers = memory is not None and memory["reward"] is not None
        self.draws = len(self.arrays["task_mean"]) if "encoder_weight0" in self.arrays else 0
        self._random = np.random.default_rng()
        self.reset()

    def reset(self):
        """Forget all steps so far. A policy that infers the task from rewards then begins a new trial, with an unknown
        task; for others it is the start of an episode."""
        memory = self.contract["memory"]
        self._started, self._steps = False, 0
        self._state = None if memory is None else memory["state"]

    def __call__(self, observation, task=None, reward=None, ended=False, noise=None):
        """The action [action] in [-1, 1] for an observation [observation].

        Args:
            task: [task]; None for the default task. Only where the contract says that the task is an input.
            reward: of the step before; None in the first step. Only for a policy that infers the task from rewards.
            ended: whether the step before ended an episode.
            noise: [draws], standard normal numbers, or zeros for the mean of the belief; None: they are drawn here.
                They are used at the start of an episode. Only for a policy with a belief.

        Raises:
            ValueError: an argument is missing, has another size or is not finite, or the action is not finite. The
                memory does not change then.

        Warns:
            UserWarning: the task is outside the task space, or an episode is longer than those of training, perhaps
                because `ended` was never true.
        """
        accepted, memory = self.contract["task"], self.contract["memory"]
        row = self._row("observation", observation, len(self.contract["observation"]))
        inputs = {"observation": np.clip(row, -self._cut, self._cut)}
        if accepted["input"]:
            given = accepted["default"] if task is None else task
            inputs["task"] = self._row("task", given, len(accepted["numbers"]))
            self._check_task(inputs["task"][0])
        elif task is not None:
            kind = "infers the task from rewards" if self.infers else "was made for one task"
            raise ValueError(f"this policy {kind}, so it takes none")
        if not self.infers and reward is not None:
            raise ValueError("this policy does not infer the task from rewards, so it takes no reward")
        if self.draws:
            drawn = self._random.standard_normal(self.draws) if noise is None else noise
            inputs["noise"] = self._row("noise", drawn, self.draws)
        elif noise is not None:
            raise ValueError("this policy has no belief to draw from, so it takes no noise")
        if memory is not None:
            inputs["state"] = self._row("state", self._state, len(memory["state"]))
            if self.infers:
                if self._started and reward is None:
                    raise ValueError("this policy has a memory: from its second step on it needs the last reward")
                last = (reward, ended) if self._started else (memory["reward"], memory["ended"])
                inputs["reward"], inputs["ended"] = self._row("reward", last[0], 1), self._row("ended", last[1], 1)
        outputs = self.run(inputs)
        if not all(np.isfinite(x).all() for x in outputs.values()):
            raise ValueError("the action is not finite: the observation is too large for this policy")
        self._started, self._state = True, outputs.get("next_state")
        self._steps = 1 if ended else self._steps + 1
        if self.infers and self._steps > self.contract["horizon"]:
            warnings.warn(
                f"this episode is longer than those of training, {self.contract['horizon']} steps: after the last step "
                "of an episode, give ended=True",
                stacklevel=2,
            )
        return outputs["action"][0]

    def command(self, action):
        """An action in [-1, 1], scaled to the ranges of the actuators."""
        command = self._low + 0.5 * (np.asarray(action) + 1.0) * (self._high - self._low)
        return np.clip(command, self._low, self._high)  # rounding may exceed them

    def run(self, inputs):
        """Outputs by name for inputs by name, each float32 [batch, numbers], as in policy.onnx."""
        return run(self.arrays, inputs)

    def _check_task(self, task):
        for number, value in zip(self.contract["task"]["numbers"], task):
            low, high = number["low"], number["high"]
            if low is not None and not np.float32(low) <= value <= np.float32(high):
                warnings.warn(
                    f"{number['name']} of the task is {value:g}, outside the range from {low:g} to {high:g} of the "
                    "task space",
                    stacklevel=3,
                )

    @staticmethod
    def _row(name, value, size):
        row = np.asarray(value, np.float32).reshape(1, -1)
        if row.shape != (1, size):
            raise ValueError(f"{name} has {row.size} numbers, and this policy needs {size}")
        if not np.isfinite(row).all():
            raise ValueError(f"{name} must be finite; number {np.argmin(np.isfinite(row))} is not")
        return row
