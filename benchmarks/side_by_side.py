"""Four training runs in two processes that share two cores, as a share of the time of one after the other on both."""

import itertools
import tempfile
import time
from pathlib import Path

from benchmarks.timing import report
from onebody.runs import executors
from onebody.runs.executors import Executor, InOrder, Processes
from onebody.runs.jobs import Job

SAMPLES = 12_000
"""real samples per training run: three iterations"""
GOAL = 0.6


def seconds(executor: Executor, folder: Path) -> float:
    """Time of four training runs of SMT."""
    todo = [Job("smt", "smt/cheetah-vel", folder / f"s{seed}", seed, samples=SAMPLES, test=None) for seed in range(4)]
    began = time.perf_counter()
    executors.do_all(todo, executor, quiet=True)
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folders = (Path(place) / str(i) for i in itertools.count())
        for executor in (InOrder(quiet=True), Processes(2)):  # compiles, for each number of cores
            warm = Job("smt", "smt/cheetah-vel", next(folders), 0, samples=1, test=None)
            executors.do_all([warm], executor, quiet=True)
        in_order, two = seconds(InOrder(quiet=True), next(folders)), seconds(Processes(2), next(folders))
    report("side-by-side", two / in_order, GOAL, "lower", f"{two:.0f} s, one after the other {in_order:.0f} s")


if __name__ == "__main__":
    main()
