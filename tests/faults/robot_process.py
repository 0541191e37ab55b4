"""A robot in a process of its own, at 50 Hz: a cart that drives to the position that is its task.

`python robot_process.py LOG SEED RATES` reads commands from stdin. It keeps time by itself: where an action comes too
late, it goes on with the last one. Each step that it has made is a line of its log. With given probabilities per step
it drops an observation, reports an error, hangs, or has its stop button pressed.
"""

import json
import random
import sys
import time
from pathlib import Path

DT = 0.02
"""seconds per control step"""
FAULTS = ("drop", "error", "hang", "stop")


def robot(log: Path, seed: int, rates: dict[str, float]) -> None:
    """Obey `reset` and `step ACTION`, one a line, until stdin ends; answers with the position and velocity."""
    executed = len(log.read_bytes().splitlines()) if log.exists() else 0
    rng, position, velocity, tick = random.Random(f"{seed} {executed}"), 0.0, 0.0, 0.0
    seen, action, episode = (0.0, 0.0), 0.0, ""
    with log.open("a", buffering=1) as lines:
        for command in iter(sys.stdin.readline, ""):
            if command == "reset\n":
                time.sleep(0.05)
                position, velocity, action, tick = rng.uniform(-0.1, 0.1), 0.0, 0.0, time.monotonic()
                seen, episode = (position, velocity), f"{rng.random():.9f}"
                print("seen", *seen, flush=True)
                continue
            response, fault = time.monotonic() - tick, rng.random()
            missed = int(response / DT)
            fault = next((name for i, name in enumerate(FAULTS) if fault < sum(rates[x] for x in FAULTS[: i + 1])), "")
            if fault == "hang":
                sys.stdin.read()
                return
            if fault in ("error", "stop"):
                print(fault, flush=True)
                continue
            for latest in [action] * missed + [float(command.split()[1])]:
                action, tick = latest, tick + DT
                velocity += DT * (8.0 * max(-1.0, min(1.0, action)) - 2.0 * velocity)
                position += DT * velocity
            time.sleep(max(0.0, tick - time.monotonic()))
            row = {"episode": episode, "action": action, "response": response, "missed": missed, "at": time.time()}
            lines.write(json.dumps(row) + "\n")
            if fault != "drop":
                seen = position, velocity
            print("drop" if fault else "seen", *seen, flush=True)


if __name__ == "__main__":
    robot(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))
