"""Feeds the log of a run to loggers, during training or afterwards.

Each logger of a run has a file `RUN/loggers/NAME.json`: under which identifier it knows the run, and what was sent to
it. Only iterations whose checkpoint is saved are sent, and the file is written before a point is sent, so that a run
that is killed and resumed never sends one twice. A point whose sending fails is sent again.
"""

import contextlib
import hashlib
import json
import math
import queue
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from onebody.core.errors import OnebodyError
from onebody.runs import evaluate, folder, log, loggers
from onebody.worlds.refusals import first_line

FOLDER = "loggers"
"""folder in a run folder with a file for each of its loggers"""
LAST_WAIT = 30.0
"""time (s) that the end of training waits for loggers"""
STOPPED_WAIT = 1.0
"""time (s) that training which is stopped, or fails, waits for loggers"""
SUMMARY = ("mean", "iqm", "worst", "cvar10")
"""numbers of each stage of an evaluation that are sent"""


@dataclass(frozen=True)
class Sent:
    """What was sent to a logger."""

    id: str = field(default_factory=lambda: secrets.token_hex(8))
    """identifier of the run"""
    points: int = 0
    """number of points"""
    iteration: int = -1
    """last iteration; -1: none"""
    evaluation: str = ""
    """checksum of the `evaluation.json` that was sent; empty: none"""


class Sender:
    """Sends the points of a run to one logger; a context manager.

    Args:
        run: run folder.
        record: its `config.json`.
        name: a key of `loggers.KINDS`.

    Raises:
        OnebodyError: the file of what was sent is damaged. Its methods also raise any error of the logger.
    """

    def __init__(self, run: Path, record: Mapping[str, Any], name: str):
        self._run, self._record, self._name = run, record, name
        self._path = run / FOLDER / f"{name}.json"
        self.is_stopped = threading.Event()
        """set by another thread to send no further point"""

    def __enter__(self) -> "Sender":
        self._sent, self._logger = self._read(), None
        return self

    def __exit__(self, *_: object) -> None:
        if self._logger is not None:
            self._logger.close()

    def open(self) -> loggers.Logger:
        """Open the logger, unless it is open; otherwise the first point that is sent opens it."""
        if self._logger is None:
            self._path.parent.mkdir(exist_ok=True)
            self._keep(self._sent)
            self._logger = loggers.KINDS[self._name].open(self._run, self._record, self._sent.id)
        return self._logger

    @property
    def points(self) -> int:
        """Number of points that the logger has."""
        return self._sent.points

    def send(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Send lines of the metrics file that were not sent before, and the evaluations of these iterations."""
        first = [{"iteration": 0, loggers.SAMPLES: 0}] if self._sent.iteration < 0 else []
        for line in [*first, *lines]:
            iteration = line["iteration"]
            path = self._run / "evaluations" / f"{iteration:06d}.json"
            if iteration > self._sent.iteration and (iteration or path.exists()):
                test = _returns("evaluation", evaluate.read(path)) if path.exists() else {}
                self._write(line, {**line, **test}, iteration=iteration)

    def send_evaluation(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Send `RUN/evaluation.json`, at the iteration with its number of training samples, unless it was sent."""
        path = self._run / "evaluation.json"
        if not path.exists():
            return
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
        if checksum == self._sent.evaluation:
            return
        test = evaluate.read(path)
        at = {"iteration": 0, loggers.SAMPLES: test["training_samples"]}
        for line in lines:
            if line[loggers.SAMPLES] <= test["training_samples"]:
                at["iteration"] = line["iteration"]
        self._write(at, _returns("final_evaluation", test), evaluation=checksum)

    def _write(self, at: Mapping[str, Any], numbers: Mapping[str, Any], **sent: Any) -> None:
        logger, before, axes = self.open(), self._sent, (loggers.ITERATION, loggers.SAMPLES)
        values = {name: x for name, x in numbers.items() if x is not None and math.isfinite(x) and name not in axes}
        point = loggers.Point(before.points, at[loggers.ITERATION], at[loggers.SAMPLES], values)
        if self.is_stopped.is_set():
            raise OnebodyError("stopped")
        self._keep(replace(before, points=before.points + 1, **sent))
        try:
            logger.write(point)
        except Exception:
            self._keep(before)
            raise

    def _keep(self, sent: Sent) -> None:
        folder.write_json(self._path, asdict(sent))
        self._sent = sent

    def _read(self) -> Sent:
        if not self._path.exists():
            return Sent()
        try:
            return Sent(**json.loads(self._path.read_bytes()))
        except (ValueError, TypeError) as error:
            raise OnebodyError(f"{self._path} is damaged; delete it to log the run anew") from error


def _returns(prefix: str, test: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an evaluation that are sent, by name."""
    return {
        f"{prefix}/stage_{stage['stage']}/{name}": stage[name]
        for stage in test["stages"]
        for name in SUMMARY
        if name in stage
    }


def send_all(run: Path, names: Sequence[str]) -> dict[str, int]:
    """Send to each of these loggers what it lacks of a run; returns the number of points sent, by logger.

    Raises:
        OnebodyError: no name is given, one is wrong or its package is not installed, the folder is no run folder, a
            process is training in it, or a logger fails.
    """
    if not names:
        raise OnebodyError(f"--to needs the name of a logger: {', '.join(loggers.KINDS)}")
    loggers.check(names, "--to")
    record, counts = folder.read_config(run), {}
    with folder.locked(run):
        lines = log.read(run)
        for name in names:
            try:
                with Sender(run, record, name) as sender:
                    before = sender.points
                    sender.send(lines)
                    sender.send_evaluation(lines)
                    counts[name] = sender.points - before
            except OnebodyError:
                raise
            except Exception as error:
                raise OnebodyError(
                    f"{name} failed ({first_line(error)}); send the rest with: onebody log {run} --to {name}"
                ) from error
    return counts


class _Follower:
    """Sends to one logger in a thread of its own; an error is one line on stderr, after which it sends nothing."""

    def __init__(self, run: Path, record: Mapping[str, Any], name: str, lines: Sequence[Mapping[str, Any]]):
        self._run, self.name, self._sender = run, name, Sender(run, record, name)
        self._lines: queue.SimpleQueue[Sequence[Mapping[str, Any]] | None] = queue.SimpleQueue()
        self._lines.put(lines)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def put(self, line: Mapping[str, Any]) -> None:
        self._lines.put([line])

    def end(self) -> None:
        """No more lines follow."""
        self._lines.put(None)

    def join(self, until: float) -> None:
        """Wait until all is sent, or this time of the monotonic clock."""
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            self._sender.is_stopped.set()
            self._warn("is not responding")

    def _work(self) -> None:
        try:
            with self._sender as sender:
                sender.open()
                while (lines := self._lines.get()) is not None:
                    sender.send(lines)
        except Exception as error:
            if not self._sender.is_stopped.is_set():
                self._warn(f"failed ({error if isinstance(error, OnebodyError) else first_line(error)})")

    def _warn(self, what: str) -> None:
        advice = f"training does not depend on it; afterwards: onebody log {self._run} --to {self.name}"
        print(f"onebody: {self._run}: {self.name} {what}; {advice}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def following(
    run: Path, record: Mapping[str, Any], names: Sequence[str], lines: Sequence[Mapping[str, Any]], quiet: bool
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Feeds loggers during training: those of `names`, and those that the run already has.

    Args:
        lines: the metrics of the iterations so far.
        quiet: do not say that the end waits for loggers.

    Yields:
        a function to be called with each further line, after the checkpoint of its iteration was saved. It never
        raises, nor waits.
    """
    there = sorted(path.stem for path in (run / FOLDER).glob("*.json") if path.stem in loggers.KINDS)
    followers = [_Follower(run, record, name, list(lines)) for name in dict.fromkeys([*names, *there])]

    def put(line: Mapping[str, Any]) -> None:
        for follower in followers:
            follower.put(line)

    wait = STOPPED_WAIT
    try:
        yield put
        wait = LAST_WAIT
    finally:
        for follower in followers:
            follower.end()
        until = time.monotonic() + wait
        with log.announce_if_slow(f"waiting for {', '.join(follower.name for follower in followers)}", quiet):
            for follower in followers:
                follower.join(until)
