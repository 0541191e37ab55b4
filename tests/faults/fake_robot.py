"""The driver of the robot that `robot_process` is, and its family."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import onebody
from tests.faults import robot_process
from tests.faults.robot_process import DT, FAULTS


class FakeRobot(gymnasium.Env[Any, Any]):
    """Drives the robot's process."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    dt = DT

    def __init__(self, log: Path, seed: int = 0, **rates: float):
        """`rates`: probability of each fault per step."""
        given = json.dumps({name: rates.get(name, 0.0) for name in FAULTS})
        self._process = subprocess.Popen(
            [sys.executable, robot_process.__file__, log, str(seed), given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self._told("reset")

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, info = self._told(f"step {float(action[0])!r}")
        return observation, 0.0, False, False, info

    def _told(self, command: str) -> tuple[np.ndarray, dict[str, Any]]:
        assert self._process.stdin and self._process.stdout
        print(command, file=self._process.stdin, flush=True)
        kind, *numbers = self._process.stdout.readline().split() or ["nothing"]
        if kind == "stop":
            raise onebody.EmergencyStop
        if kind not in ("seen", "drop"):
            raise RuntimeError(f"the robot says {kind}")
        return np.array(numbers, np.float32), {"dropped": kind == "drop"}

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()


def register(log: Path, horizon: int, seed: int = 0, timeout: float = 2.0, **rates: float) -> onebody.TaskFamily:
    """The family robot/cart of this robot."""
    family = onebody.from_gymnasium(
        lambda: FakeRobot(log, seed, **rates),
        reward=lambda observation, action, next_observation, task: (
            -((next_observation[0] - task[0]) ** 2) - 0.01 * (action**2).sum()
        ),
        space=onebody.Box((-1.0,), (1.0,)),
        id="robot/cart",
        horizon=horizon,
        labels=("position (m)", "velocity (m/s)"),
        copies=1,
        real_time=True,
        timeout=timeout,
    )
    return onebody.register(family)


def executed(log: Path) -> list[dict[str, Any]]:
    """What the robot has done, step by step."""
    return [json.loads(line) for line in log.read_text().splitlines()]
