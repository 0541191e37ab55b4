"""`onebody export`."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from onebody.cli import options
from onebody.cli.options import Flag, Trust
from onebody.cli.printing import print_json
from onebody.core.errors import OnebodyError


@dataclass(frozen=True)
class Export:
    """Write a run's policy as a folder for a robot, or the transitions that it has collected as a log."""

    run: Annotated[Path, tyro.conf.arg(metavar="RUN")]
    """Folder of the training run"""
    to: str = ""
    """What to write. A folder, such as robot: the policy as ONNX and NumPy files, with a contract, a check that runs on
    the robot, and C++ and ROS 2 examples (docs/robots.md). A new file .npz or .parquet, or minari:ID for a new Minari
    dataset on this machine: the run's transitions as a log, which train --data reads"""
    task: str | None = None
    """Task ψ of the policy in the units of the family, as numbers separated by commas; only for a folder. A policy of
    omni or oracle has the task as an input, and this one as its default; one of rl2 or pearl infers the task from
    rewards, so leave it out, unless --stages makes a policy for this task"""
    stages: int = 0
    """Number of adaptation stages that take real samples of the task, for a policy in a folder that is for this task
    alone; 0: none are taken (zero-shot)"""
    extrapolate: Flag = False
    """Allow a task outside the family's task space"""
    trust: Trust = False
    json: Flag = False
    """Print the result as JSON"""

    def __call__(self) -> None:
        if not self.to:
            raise OnebodyError("export needs --to FOLDER, --to FILE.npz, --to FILE.parquet or --to minari:ID")
        if self.trust:
            from onebody.runs import folder

            folder.trust(self.run)
        if self.to.startswith("minari:") or re.fullmatch(r"\.[A-Za-z]\w*", Path(self.to).suffix):
            return self._log()
        self._policy()

    def _log(self) -> None:
        if self.task is not None or self.stages or self.extrapolate:
            raise OnebodyError(
                f"--task, --stages and --extrapolate are for a policy in a folder, and --to {self.to} is a log of "
                "transitions"
            )
        from onebody.runs import logged_export

        n = logged_export.export(self.run, self.to)
        print_json({"log": self.to, "transitions": n}) if self.json else print(f"saved: {self.to}, {n:,} transitions")

    def _policy(self) -> None:
        task, to = None if self.task is None else options.task(self.task), Path(self.to)
        from onebody.runs import bundle, loaded, log

        bundle.check(to)
        run = loaded.load(self.run)
        with log.announce_if_slow("compiling and exporting the policy", quiet=not sys.stderr.isatty()):
            contract = run.export(to, task, stages=self.stages, extrapolate=self.extrapolate)
        if self.json:
            return print_json({"folder": self.to, "contract": contract})
        any_task = ", for any task" if contract["task"]["input"] else ""
        print(f"saved: {to}, policy of {contract['algorithm']} for {contract['family']}{any_task}")
        print(f"next, on the robot: python {to / 'check.py'}")
