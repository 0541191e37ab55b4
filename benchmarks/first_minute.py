"""From the prompt to the first finished iteration, with and without compiled programs on disk; and the commands' start.

`python -m benchmarks.first_minute suite` also runs the tests, with nothing compiled and again.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.products import best_seconds
from benchmarks.timing import report

COMMAND = [sys.executable, "-m", "onebody"]
TRAININGS = {
    "omni": (["omni", "smt/cheetah-vel", "--preset", "demo"], 9.5),
    "smt": (["smt", "smt/cheetah-vel", "--preset", "demo"], 9.0),
    "pearl": (["pearl", "pearl/cheetah-vel", "--config.n-tasks", "4", "--config.n-gradient", "100"], 9.0),
    "mb-mpo": (["mb-mpo", "mbmpo/half-cheetah", "--config.n-meta", "2"], 9.0),
}
"""by name: arguments of `onebody train`, and the goal for its compilation"""
STARTS = {"--help": 0.2, "list": 0.2}
"""by command: the goal for its start"""
PRODUCTS = [(1024, 1024, 1024)] * 100
"""what every ratio is relative to"""


def used(command: list[str], cache: str) -> tuple[float, float]:
    """Seconds and CPU-seconds of a command."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"XDG_CACHE_HOME": cache}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu


def first_iteration(name: str, arguments: list[str], goal: float, unit: float) -> None:
    """An iteration with nothing compiled, and the same one again: the difference is compilation."""
    with tempfile.TemporaryDirectory() as folder:
        taken = []
        for which in ("cold", "warm"):
            out = str(Path(folder) / which)
            taken.append(used([*COMMAND, "train", *arguments, "--samples", "1", "--out", out], folder))
    (cold, cold_cpu), (warm, warm_cpu) = taken
    compilation = cold_cpu - warm_cpu
    detail = f"{compilation:.1f} CPU-s of compilation; first iteration after {cold:.1f} s cold, {warm:.1f} s warm"
    report(f"compilation/{name}", compilation / unit, goal, "lower", f"{detail}; {len(PRODUCTS)} products {unit:.2f} s")


def start(command: str, goal: float, unit: float) -> None:
    """A command that computes nothing."""
    with tempfile.TemporaryDirectory() as folder:
        taken = min(used([*COMMAND, command], folder)[1] for _ in range(3))
    report(f"start/{command}", taken / unit, goal, "lower", f"{taken:.2f} CPU-s")


def suite(unit: float) -> None:
    """All tests of `make test`."""
    with tempfile.TemporaryDirectory() as folder:
        for which, minutes in (("cold", 8), ("warm", 3)):
            _, cpu = used([sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile"], folder)
            detail = f"{cpu / 60:.1f} CPU-minutes, of {minutes}; {len(PRODUCTS)} products {unit:.2f} s"
            report(f"suite/{which}", cpu / 60 / minutes, 1.0, "lower", detail)


def main() -> None:
    unit = best_seconds(PRODUCTS)
    for command, goal in STARTS.items():
        start(command, goal, unit)
    for name, (arguments, goal) in TRAININGS.items():
        first_iteration(name, arguments, goal, unit)
    if "suite" in sys.argv:
        suite(unit)


if __name__ == "__main__":
    main()
