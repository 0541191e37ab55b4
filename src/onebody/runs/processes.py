"""Worker processes of this machine, which do jobs one after another, each on its own cores."""

import contextlib
import json
import os
import platform
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onebody.core.errors import OnebodyError
from onebody.runs import lock
from onebody.runs.jobs import Job, Outcome

WAIT = 600.0
"""time (s) that a job waits for another process that is training in its folder"""
PATIENCE = 5.0
"""time (s) that a process has to end by itself"""
RESTARTS = 3
"""number of times that a job is done again whose process was killed"""


class Worker:
    """A process that does jobs on its cores, one after another, and is started again if it is killed.

    What a job compiles and loads is there for the next one. A context manager, which ends the process.
    """

    def __init__(self, cores: Sequence[int] | None) -> None:
        """`cores`: of this machine, that the process may use; None: all."""
        self._cores = cores
        self._process: subprocess.Popen[str] | None = None
        self._replies: queue.SimpleQueue[str] = queue.SimpleQueue()
        """lines of the process's standard output; empty: it has ended"""
        self._errors: list[str] = []
        """lines of its standard error since the last job began"""
        self._listeners: list[threading.Thread] = []

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._send(None)
            self._end()

    def do(self, job: Job, stopping: threading.Event | None = None) -> Outcome:
        """Do a job, and again if its process is killed.

        `stopping`: once set, the process is stopped; all complete iterations are saved.
        """
        code = 0
        for attempt in range(RESTARTS + 1):
            if self._process is None:
                self._start()
            self._errors.clear()
            self._send(job)
            if reply := self._reply(stopping):
                return keep_errors(Outcome(**reply["outcome"]), job, reply["errors"])
            code = self._end()
            if stopping is not None and stopping.is_set():
                return Outcome("failed", "stopped")
            killed = -code if code < 0 else code - 128  # a training run exits with 128 + the signal
            if killed not in set(signal.Signals) or attempt == RESTARTS:
                break
            name = signal.Signals(killed).name
            print(f"onebody: {job.out}: worker killed by {name}; restarting it", file=sys.stderr, flush=True)
        reason = (self._errors or [f"its process ended with code {code}"])[-1]
        return keep_errors(Outcome("failed", reason), job, "\n".join(self._errors))

    def _start(self) -> None:
        pipe = subprocess.PIPE
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", "onebody.runs.worker"],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert process.stdout is not None and process.stderr is not None
        self._replies = queue.SimpleQueue()
        self._listeners = [
            threading.Thread(target=_put_lines, args=(process.stdout, self._replies), daemon=True),
            threading.Thread(target=_pass_on, args=(process.stderr, self._errors), daemon=True),
        ]
        for listener in self._listeners:
            listener.start()

    def _send(self, job: Job | None) -> None:
        """Ask for a job; None: no more jobs."""
        assert self._process is not None and self._process.stdin is not None
        request = job and {"job": job.to_json(), "cores": self._cores, "wait": WAIT}
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def _reply(self, stopping: threading.Event | None) -> dict[str, Any] | None:
        """The answer to a job; None if the process has ended, or is to be stopped."""
        while stopping is None or not stopping.is_set():
            with contextlib.suppress(queue.Empty):
                line = self._replies.get(timeout=0.2)
                return json.loads(line) if line else None
        assert self._process is not None
        self._process.terminate()
        return None

    def _end(self) -> int:
        """The exit code of the process, which is killed if it goes on for longer than PATIENCE."""
        process, self._process = self._process, None
        assert process is not None
        try:
            code = process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        for listener in self._listeners:
            listener.join(timeout=5.0)
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        return code


def _put_lines(output: Iterable[str], lines: "queue.SimpleQueue[str]") -> None:
    """Each line of a process's output, and an empty one at its end."""
    for line in output:
        lines.put(line.strip())
    lines.put("")


def _pass_on(output: Iterable[str], errors: list[str]) -> None:
    """Collect what a worker prints to standard error, and print its warnings as they come."""
    for line in output:
        errors.append(line.rstrip())
        if line.startswith("onebody: "):
            print(line.rstrip(), file=sys.stderr, flush=True)


def keep_errors(outcome: Outcome, job: Job, errors: str) -> Outcome:
    """The outcome; the traceback of a failed job is kept in a file beside its run folder."""
    path = job.out.with_name(f"{job.out.name}-errors.txt")
    failed = outcome.status == "failed" and "Traceback" in errors
    try:
        path.unlink(missing_ok=True)
        if failed:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{errors}\n", encoding="utf-8")
    except OSError:
        failed = False
    return outcome._replace(message=f"{outcome.message} ({path})") if failed else outcome


def do_anywhere(job: dict[str, Any], cores: list[int] | None) -> tuple[str, ...]:
    """Do a job, given as JSON, in a worker of this machine; its outcome as plain data."""
    with Worker(cores) as worker:
        return tuple(worker.do(Job.from_json(job)))


def do_on_free_cores(job: dict[str, Any], n: int) -> tuple[str, ...]:
    """`do_anywhere` on n cores of this machine that no other such job uses, or on all if there are fewer."""
    with contextlib.ExitStack() as claimed:
        cores: list[int] = []
        for core in usable_cores():
            folder = Path(tempfile.gettempdir()) / f"onebody-cores-{os.getuid()}-{platform.node()}" / str(core)
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OnebodyError, OSError):
                claimed.enter_context(lock.held(folder))
                cores.append(core)
            if len(cores) == n:
                break
        return do_anywhere(job, cores if len(cores) == n else None)


def usable_cores() -> list[int]:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def share(cores: Sequence[int], i: int, n: int) -> list[int]:
    """The cores of worker i of n: an equal part of them, or one that it shares where there are more workers."""
    if n > len(cores):
        return [cores[i % len(cores)]]
    return [int(core) for core in np.array_split(cores, n)[i]]
