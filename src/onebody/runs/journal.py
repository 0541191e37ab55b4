"""The journal of a robot (`RUN/robot.jsonl`): what it did in the iteration under way, one line per reset and step.

    {"iteration": 7}
    {"reset": [observation]}
    {"step": [action], "observation": [after it], "ended": false}
    {"stop": true}

Each line is given to the operating system before the next step, so that the end of the process loses at most the step
under way; a power cut, at most the episode. A resumed run computes the iteration anew, with these observations in place
of a robot that moves. An episode that was under way ends with its last step. With the checkpoint of the iteration, the
journal begins again. Before damaged lines, or lines of other sizes, are cut off, it is copied to
`RUN/robot-damaged.jsonl`.
"""

import errno
import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from onebody.core.errors import OnebodyError
from onebody.runs import documents
from onebody.worlds.robot import Entry
from onebody.worlds.simulator import Simulator

NAME = "robot.jsonl"
SET_ASIDE = "robot-damaged.jsonl"
"""copy of a journal that cannot be read to its end"""
DAMAGE = "is damaged"


class Journal:
    """The journal in a run folder; `recorded` is what it holds of the iteration when it is opened."""

    def __init__(self, run: Path, iteration: int, sizes: tuple[int, int]):
        """`iteration`: that under way. `sizes`: of an observation and an action."""
        self.path, self.recorded = run / NAME, deque[Entry]()
        with self._writing():
            whole = self._read(iteration, *sizes) if self.path.exists() else 0
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self._file, whole)
        if not whole:
            self._write({"iteration": iteration})
        if self.recorded and self.recorded[-1].kind == "step":  # the robot cannot go on in the middle of an episode
            self.append(stop := Entry("stop"))
            self.recorded.append(stop)

    def _read(self, iteration: int, observation_size: int, action_size: int) -> int:
        """Read the entries; returns the number of bytes to keep."""
        first, *lines = self.path.read_bytes().splitlines(keepends=True) or [b""]
        if (began := _parsed(first)) != {"iteration": iteration}:
            if lines and not (isinstance(began, dict) and began.keys() == {"iteration"}):
                self._set_aside(1, DAMAGE)
            return 0
        kept = whole = len(first)
        for i, line in enumerate(lines):
            if (entry := _entry(_parsed(line))) is None:
                if i < len(lines) - 1:  # the last one may be unfinished
                    self._set_aside(i + 2, DAMAGE)
                break
            if difference := _difference(entry, observation_size, action_size):
                self._set_aside(i + 2, difference)
                break
            whole += len(line)
            self.recorded.append(entry)
            if entry.kind != "reset":
                kept = whole
        while self.recorded and self.recorded[-1].kind == "reset":  # it is done again
            self.recorded.pop()
        return kept

    def _set_aside(self, number: int, reason: str) -> None:
        """Keep a copy of the journal, which is then cut before the line of this number, and say why."""
        copy = self.path.with_name(SET_ASIDE)
        shutil.copyfile(self.path, copy)
        print(
            f"onebody: line {number} of {self.path} {reason}: what the robot did from there on is not used; the whole "
            f"journal is kept as {copy}",
            file=sys.stderr,
        )

    def begin(self, iteration: int) -> None:
        """Forget everything, and begin with this iteration."""
        self.recorded.clear()
        with self._writing():
            os.ftruncate(self._file, 0)
        self._write({"iteration": iteration})

    def append(self, entry: Entry) -> None:
        """Raises OnebodyError if the disk is full or not writable."""
        if entry.kind == "stop":
            return self._write({"stop": True})
        assert entry.observation is not None
        observation = entry.observation.tolist()
        if entry.action is None:
            return self._write({"reset": observation})
        self._write({"step": entry.action.tolist(), "observation": observation, "ended": entry.ended})

    def sync(self) -> None:
        """Flush it to the disk, which can take longer than a control step."""
        with self._writing():
            os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)

    def _write(self, record: dict[str, Any]) -> None:
        line = (json.dumps(record) + "\n").encode()
        with self._writing():
            if os.write(self._file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OnebodyError(
                f"cannot write {self.path} ({error.strerror}); free some disk space, then: "
                f"onebody resume {self.path.parent}"
            ) from error


@contextmanager
def kept(run: Path, simulator: Simulator, iteration: int) -> Iterator[Callable[[int], None]]:
    """Within the block, a simulator of a robot keeps its journal in the run folder, and repeats what is in it already.

    Nothing is written for any other body.

    Args:
        iteration: that under way.

    Yields:
        What begins the journal of the next iteration, to be called with its number once this one is saved.
    """
    if simulator.robot is None:
        yield lambda iteration: None
        return
    body = simulator.family.body
    journal = Journal(run, iteration, (body.observation_size, body.action_size))
    if steps := sum(entry.kind == "step" for entry in journal.recorded):
        print(f"onebody: {run}: {steps:,} steps of iteration {iteration} are taken from {NAME}", file=sys.stderr)
    simulator.robot.journal = journal
    try:
        yield journal.begin
    finally:
        simulator.robot.journal = None
        journal.close()


def _parsed(line: bytes) -> Any:
    """What a complete line says; None if it is damaged."""
    try:
        return documents.parse(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


def _difference(entry: Entry, observation_size: int, action_size: int) -> str:
    """Says which of its sizes differs from those of the family; empty if none does."""
    for name, row, size in (
        ("observation", entry.observation, observation_size),
        ("action", entry.action, action_size),
    ):
        if row is not None and len(row) != size:
            return f"has an {name} of {len(row)} numbers, and the family now has {size}, as with other limits"
    return ""


def _entry(record: Any) -> Entry | None:
    """The entry that a line says; None if it is damaged."""
    if record == {"stop": True}:
        return Entry("stop")
    if not isinstance(record, dict):
        return None
    if record.keys() == {"reset"}:
        observation = _row(record["reset"])
        return None if observation is None else Entry("reset", observation)
    if record.keys() != {"step", "observation", "ended"} or type(record["ended"]) is not bool:
        return None
    action, observation = _row(record["step"]), _row(record["observation"])
    if action is None or observation is None:
        return None
    return Entry("step", observation, action, record["ended"])


def _row(values: Any) -> np.ndarray | None:
    """A list of finite numbers as an array; None if it is something else."""
    if not isinstance(values, list) or not all(type(x) in (int, float) for x in values):
        return None
    try:
        with np.errstate(over="ignore"):
            row = np.array(values, np.float64).astype(np.float32)
    except OverflowError:
        return None
    return row if np.isfinite(row).all() else None
