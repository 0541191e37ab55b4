"""`python -m tests.faults.robot [--samples N] [--out FILE]`: trains OMNI on a robot with faults, and prints figures.

The robot (`robot_process`) runs at 50 Hz in a process of its own. Training ends by an error or a hang of the robot, by
SIGKILL and by SIGINT at random moments, and is resumed each time. In the end, what the robot did, by its own log, is
compared with what is in the replay buffer. Fails if more is missing than the steps under way at signals.
"""

import argparse
import dataclasses
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import tests.conftest  # programs are compiled in a hurry, and kept

RATES = {"drop": 0.01, "error": 0.0004, "hang": 0.0003, "stop": 0.001}
"""probability of each fault per step of the robot"""
HORIZON, EPISODES = 100, 3
"""steps per episode, and episodes per iteration"""
STEPS_UNTIL_SIGNAL = 500, 1500
"""bounds of the number of steps between the start of a process and a signal to it"""
assert tests.conftest


def train(log: Path, run: Path, samples: int) -> None:
    """Train, or resume, in this process."""
    import onebody
    from tests.faults import fake_robot

    family = fake_robot.register(log, HORIZON, **RATES)
    config = onebody.preset("omni", "smoke", family.id)
    config = dataclasses.replace(config, n_iterations=64, real_episodes=EPISODES, n_model=100, n_updates=100)
    onebody.train("omni", family, config=config, samples=samples, out=run)


def interrupted(log: Path, run: Path, samples: int) -> Counter[str]:
    """Train until the end, in one process after the other; returns how each of them ended."""
    rng, ends = random.Random(0), Counter[str]()
    command = [sys.executable, "-m", "tests.faults.robot", "--train", str(log), str(run), "--samples", str(samples)]
    while True:
        until = _size(log) + rng.randint(*STEPS_UNTIL_SIGNAL)
        with tempfile.TemporaryFile("w+") as output, subprocess.Popen(command, stderr=output) as process:
            signum: signal.Signals | None = None
            while process.poll() is None:
                time.sleep(0.005 * rng.random())
                if signum is None and _size(log) >= until:
                    process.send_signal(signum := rng.choice([signal.SIGKILL, signal.SIGINT]))
            output.seek(0)
            said = output.read()
        print(said, file=sys.stderr, flush=True)
        if process.returncode == 0:
            return ends
        if signum is not None and process.returncode in (-signum, 128 + signum):
            ends[signum.name] += 1
        elif "the robot says error" in said:
            ends["error"] += 1
        elif "takes over" in said:
            ends["hang"] += 1
        else:
            raise SystemExit(f"training ended with {process.returncode}: {said}")


def _size(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def figures(log: Path, run: Path, ends: Counter[str]) -> dict[str, Any]:
    import numpy as np

    from onebody.runs import checkpoint, folder
    from onebody.runs import log as metrics
    from tests.faults import fake_robot

    fake_robot.register(log.with_name("nothing"), HORIZON)
    steps, lines = fake_robot.executed(log), metrics.read(run)
    last = checkpoint.latest(run, folder.structure(folder.read_config(run)), print)
    assert last is not None
    kept = np.clip(last.state.data.action[: int(last.state.data.size), 0], -1.0, 1.0)
    actions, missing, i = [np.float32(step["action"]) for step in steps], 0, 0
    for action in actions:  # in the order of time, as in the replay buffer
        same = i < len(kept) and kept[i] == action
        i, missing = i + same, missing + (not same)
    if i < len(kept) or missing > ends["SIGKILL"] + ends["SIGINT"]:
        raise SystemExit(f"{missing} steps are missing, and {len(kept) - i} were not made by the robot")
    response = 1000 * np.array([step["response"] for step in steps])
    pairs = itertools.pairwise(steps)
    period = 1000 * np.array([b["at"] - a["at"] for a, b in pairs if a["episode"] == b["episode"]])
    spread = lambda x: {  # noqa: E731
        "mean": round(float(x.mean()), 2),
        "99th percentile": round(float(np.percentile(x, 99)), 2),
        "longest": round(float(x.max()), 2),
    }
    return {
        "steps executed": len(steps),
        "steps kept": len(kept),
        "steps lost": missing,
        "robot time (s)": round(len(steps) * fake_robot.DT),
        "ends of processes": dict(sorted(ends.items())),
        "emergency stops": int(sum(line["real/stops"] for line in lines)),
        "dropped observations": int(sum(line["real/dropped"] for line in lines)),
        "control period (ms)": spread(period),
        "time to the action (ms)": spread(response),
        "late steps by the robot's clock": sum(step["missed"] > 0 for step in steps),
        "late steps by the clock of the training": int(sum(line["real/late"] for line in lines)),
        "return of the first and last 5 iterations": [
            round(float(np.mean([line["real/return"] for line in part])), 1) for part in (lines[:5], lines[-5:])
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.robot")
    parser.add_argument("--samples", type=int, default=9000, help="steps of the robot to train for")
    parser.add_argument("--out", type=Path, help="JSON file to write, such as results/reliability/robot.json")
    parser.add_argument("--train", type=Path, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train:
        from onebody.core.errors import OnebodyError, Stopped

        try:
            return train(*given.train, given.samples)
        except OnebodyError as error:
            sys.exit(f"onebody: {error}")
        except Stopped as stopped:
            sys.exit(128 + stopped.signum)
    with tempfile.TemporaryDirectory() as place:
        os.environ["XDG_STATE_HOME"] = place
        log, run = Path(place, "robot.log"), Path(place, "run")
        result = figures(log, run, interrupted(log, run, given.samples))

        from onebody.runs import folder

        typed = f"python -m tests.faults.robot --samples {given.samples}"
        text = json.dumps({"versions": folder.versions(), "command": typed, **result}, indent=1)
        print(text)
        if given.out:
            given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
