"""Untrained policies, and folders that they are exported to."""

import importlib.util
import json
import subprocess
import sys

import jax
import numpy as np

from onebody.algorithms.protocol import Adapted
from onebody.core.nets import Normalizer
from onebody.runs import loaded
from onebody.runs.checkpoint import Checkpoint
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

TASK = (0.5, -0.25)
ROWS = np.random.default_rng(0).normal(0.3, 0.7, (20, 4)).astype(np.float32)


@jax.jit
def seen(rows):
    return Normalizer(rows.shape[1]).update(rows)


def large(policy):
    """With biases, and with actions at their limits; its last layer has four outputs or two."""
    return jax.tree.map(lambda x: 400 * x + 0.1 if x.ndim == 2 and x.shape[-1] in (2, 4) else x, policy)


class Giving:
    """An algorithm that gives each task this policy."""

    config = None

    def __init__(self, policy, task_is_known):
        self.policies, self.task_is_known = jax.tree.map(lambda x: x[None], policy), task_is_known
        self.family = registry.make("point/goal")
        self.simulator = Simulator(self.family)

    def init(self, key): ...

    def step(self, state, key): ...

    def adapt(self, state, tasks, key):
        for _ in range(2):
            yield Adapted(self.policies)
            self.simulator.samples += self.family.horizon


class Untrained(loaded.Run):
    """A run whose adaptation gives this policy."""

    def __init__(self, path, policy, task_is_known=True):
        self.path, self.algorithm = path, Giving(policy, task_is_known)
        self.record = json.loads((path / "config.json").read_text())
        self.__dict__["checkpoint"] = Checkpoint(3, None, {"samples": 80}, path)


def module_of(path):
    """A module of an exported folder."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parity_of(folder):
    """Inputs and outputs of the parity check."""
    arrays = dict(np.load(folder / "parity.npz"))
    return tuple(
        {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}
        for prefix in ("input_", "output_")
    )


def checked(folder):
    return subprocess.run([sys.executable, folder / "check.py"], capture_output=True, text=True)
