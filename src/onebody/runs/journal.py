"""The journals of a robot: what it did in the iteration under way (`RUN/robot.jsonl`), or in an adaptation
(`RUN/adaptations/*.jsonl`), one line per reset and step.

    {"iteration": 7}
    {"reset": [observation]}
    {"step": [action], "observation": [after it], "ended": false}
    {"stop": true}

Each line is given to the operating system before the next step, so that the end of the process loses at most the step
under way; a power cut, at most the episode. A resumed run computes the iteration anew, with these observations in place
of a robot that moves; so does an adaptation that is started again. An episode that was under way ends with its last
step. With the checkpoint of the iteration, the journal begins again; that of an adaptation is removed at its end.
Before damaged lines, or lines of other sizes, are cut off, the journal is copied to a file beside it whose name ends in
`-damaged.jsonl`.
"""

import errno
import hashlib
import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from onebody.core.errors import BodyFailed, OnebodyError
from onebody.runs import checkpoint, documents, lock, outputs
from onebody.tasks.body import GymnasiumBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.limits import bare
from onebody.worlds.robot import Entry
from onebody.worlds.simulator import Simulator

NAME = "robot.jsonl"
ADAPTATIONS = "adaptations"
"""folder of the journals of adaptations"""
DAMAGE = "is damaged"


class Journal:
    """A journal on the disk; `recorded` is what it holds of the iteration or adaptation when it is opened."""

    def __init__(self, path: Path, head: dict[str, Any], sizes: tuple[int, int], remedy: str):
        """
        Args:
            head: its first line, which says of what it is; what a file holds of something else is forgotten.
            sizes: of an observation and an action.
            remedy: what to do after the disk was full, for the message.
        """
        self.path, self.remedy, self.recorded = path, remedy, deque[Entry]()
        with self._writing():
            path.parent.mkdir(exist_ok=True)
            whole = self._read(head, *sizes) if path.exists() else 0
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self._file, whole)
        if not whole:
            self._write(head)
        self.steps = sum(entry.kind == "step" for entry in self.recorded)
        if self.recorded and self.recorded[-1].kind == "step":  # the robot cannot go on in the middle of an episode
            self.append(stop := Entry("stop"))
            self.recorded.append(stop)

    def _read(self, head: dict[str, Any], observation_size: int, action_size: int) -> int:
        """Read the entries; returns the number of bytes to keep."""
        first, *lines = self.path.read_bytes().splitlines(keepends=True) or [b""]
        if (began := _parsed(first)) != head:
            if lines and not (isinstance(began, dict) and began.keys() == head.keys()):
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
        copy = self.path.with_stem(f"{self.path.stem}-damaged")
        shutil.copyfile(self.path, copy)
        print(
            f"onebody: line {number} of {self.path} {reason}: what the robot did from there on is not used; the whole "
            f"journal is kept as {copy}",
            file=sys.stderr,
        )

    def begin(self, head: dict[str, Any]) -> None:
        """Forget everything, and begin with this first line."""
        self.recorded.clear()
        with self._writing():
            os.ftruncate(self._file, 0)
        self._write(head)

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
                f"cannot write {self.path} ({error.strerror}); free some disk space, then: {self.remedy}"
            ) from error


@contextmanager
def kept(run: Path, simulator: Simulator, iteration: int) -> Iterator[Callable[[int], None]]:
    """Within the block, a simulator of a robot keeps the journal of a training run, and repeats what is in it already.

    Nothing is written for any other body.

    Args:
        iteration: that under way.

    Yields:
        What begins the journal of the next iteration, to be called with its number once this one is saved.
    """
    if simulator.robot is None:
        yield lambda iteration: None
        return
    with _open(run / NAME, {"iteration": iteration}, [simulator], f"onebody resume {run}") as journal:
        if journal.steps:
            said = f"{journal.steps:,} steps of iteration {iteration} are taken from {NAME}"
            print(f"onebody: {run}: {said}", file=sys.stderr)
        yield lambda iteration: journal.begin({"iteration": iteration})


@contextmanager
def adaptation(
    run: Path,
    last: checkpoint.Checkpoint,
    simulators: Sequence[Simulator],
    tasks: Array,
    stages: int,
    real_episodes: int = 0,
    untrained: bool = False,
) -> Iterator[None]:
    """Within the block, simulators of a robot keep the journal of an adaptation, and repeat what is in it already.

    It is removed at the end of the block, but not after an exception. The run folder is locked. Nothing is written for
    any other body, or where the robot does not move.

    Args:
        last: the checkpoint that it begins with.
        simulators: all that the robot moves in, of families with the reward of the adaptation.
        tasks, stages, real_episodes, untrained: as of `adapt_many`; with the checkpoint and the reward, they name the
            file.
    """
    if simulators[0].robot is None or not (stages or real_episodes):
        yield
        return
    family = simulators[0].family
    body, text = bare(family.body), jax.jit(family.outcome).lower(*_transition(family)).as_text()
    assert isinstance(body, GymnasiumBody)
    head = {
        "adaptation": {
            "tasks": tasks.tolist(),
            "stages": stages,
            "real_episodes": real_episodes,
            "untrained": untrained,
            "iteration": last.iteration,
            "state_sha256": checkpoint.digest(last.state),
            "outcome_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "horizon": family.horizon,
            "dt": body.dt,
            "action_bounds": [list(body.action_low), list(body.action_high)],
        }
    }
    name = hashlib.sha256(json.dumps(head).encode()).hexdigest()[:12]
    path, again = run / ADAPTATIONS / f"{name}.jsonl", "start the same adaptation again, which goes on where it stopped"
    outputs.check_parts(run)
    with lock.held(run) as confirm, _open(path, head, simulators, again) as journal:
        if journal.steps:
            print(
                f"onebody: {journal.steps:,} steps of this adaptation are taken from {path}; to move the robot for all "
                "of its steps again, delete that file first",
                file=sys.stderr,
            )
        try:
            yield
        except BodyFailed as error:
            raise BodyFailed(f"{error}; {again}") from error
        confirm()
        path.unlink()
        with suppress(OSError):  # it has the journal of another adaptation
            path.parent.rmdir()


def _transition(family: TaskFamily) -> list[jax.ShapeDtypeStruct]:
    """The arguments of `family.outcome` for one transition, without their numbers."""
    body = family.body
    sizes = (body.observation_size, body.action_size, body.observation_size, family.space.size)
    return [jax.ShapeDtypeStruct((size,), np.float32) for size in sizes]


@contextmanager
def _open(path: Path, head: dict[str, Any], simulators: Sequence[Simulator], remedy: str) -> Iterator[Journal]:
    """The journal of simulators of one robot, which they keep within the block; arguments as of `Journal`."""
    body = simulators[0].family.body
    journal = Journal(path, head, (body.observation_size, body.action_size), remedy)
    robots = [simulator.robot for simulator in simulators if simulator.robot is not None]
    try:
        for robot in robots:
            robot.journal = journal
        yield journal
    finally:
        for robot in robots:
            robot.journal = None
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
