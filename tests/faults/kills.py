"""A training is killed at every change that it makes to its folder and at random moments, and then resumed.

The kill at a chosen change is simulated in this process: the change raises `Killed`, and every later one does, too, so
that clean-up code does nothing, as after SIGKILL. Each is tried in two ways. `kill` leaves the files as they are;
`cut`, as a power cut may, halves what was written to a file and not yet flushed. The kills at random moments are
SIGKILL to a process of its own.
"""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from onebody.runs import log, loop
from tests.faults.watching import Clock, Counts, Killed, attempt, contents

TRAININGS = {
    "smt": "point/goal",
    "omni": "point/goal",
    "pearl": "pearl/point",
    "maml": "maml/point",
    "mb-mpo": "point/goal",
    "admrl": "point/goal",
}
"""algorithm -> family"""
COMMAND = "import onebody; onebody.train({!r}, {!r}, preset='smoke', seed=3, out={!r}, quiet=True)"
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
"""audit events of Python that change a disk, besides opening a file for writing"""
NO_PROCESS = 2**22 + 1
"""above the largest number of a process on Linux"""


class Disk:
    """The changes to one folder, in order; raises Killed at the change number `moment` and at all later ones."""

    def __init__(self, folder: Path, moment: int | None, cut: bool = False):
        self.folder, self.moment, self.cut = str(folder.resolve()), moment, cut
        self.count, self.calls = 0, []
        self._flushed: dict[str, int] = {}
        """size of each file that was opened for writing, when it was last flushed"""

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
            path = os.path.abspath(os.fsdecode(path))
        elif event in CHANGES:
            path, folder = arguments[0], arguments[-1]
            if isinstance(path, int):
                return
            base = os.readlink(f"/proc/self/fd/{folder}") if isinstance(folder, int) and folder > 2 else os.getcwd()
            path = os.path.join(base, os.fsdecode(path))
        else:
            return
        if not path.startswith(self.folder):
            return
        self._change(event, path)
        if event == "open" and path not in self._flushed:
            appended = flags & os.O_APPEND and os.path.exists(path)
            self._flushed[path] = os.path.getsize(path) if appended else 0
        elif event == "os.rename":
            there = os.path.abspath(os.fsdecode(arguments[1]))
            for file in [each for each in self._flushed if each.startswith(path)]:
                self._flushed[there + file.removeprefix(path)] = self._flushed.pop(file)

    def fsync(self, handle: int, original: Any = os.fsync) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}")
        if path.startswith(self.folder):
            self._change("fsync", path)
            self._flushed[path] = os.fstat(handle).st_size
        original(handle)

    def _change(self, event: str, path: str) -> None:
        self.count += 1
        self.calls.append(f"{event} {path.removeprefix(self.folder)}")
        if self.moment is not None and self.count >= self.moment:
            if self.cut and self.count == self.moment:
                self._halve()
            raise Killed

    def _halve(self) -> None:
        for file, size in self._flushed.items():
            if os.path.isfile(file) and (now := os.path.getsize(file)) > size:
                with patch.object(_watched, "disk", None):
                    os.truncate(file, size + (now - size) // 2)


class _Watched:
    """The disk that the audit hook reports to; a hook cannot be removed."""

    disk: Disk | None = None
    installed = False


_watched = _Watched()


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched.disk is not None:
        _watched.disk.hook(event, arguments)


@contextmanager
def watched(disk: Disk) -> Iterator[None]:
    if not _watched.installed:
        sys.addaudithook(_hook)
        _watched.installed = True
    with patch.object(os, "fsync", disk.fsync), patch.object(_watched, "disk", disk):
        yield


def train(algorithm: str, run: Path, resume: bool = False) -> None:
    """Train to the end; `resume`: by `resume`, if the run got far enough to be resumed."""
    if resume and (run / "config.json").exists():
        loop.resume(run, quiet=True)
    else:
        loop.train(algorithm, TRAININGS[algorithm], preset="smoke", seed=3, out=run, quiet=True)


def result(run: Path) -> dict[str, Any]:
    """All files of a run, metrics without times."""
    rows = [{name: value for name, value in row.items() if not name.startswith("time/")} for row in log.read(run)]
    return contents(run) | {"metrics.jsonl": json.dumps(rows)}


def forget_process(run: Path) -> None:
    """The lock of this process becomes that of one that has ended, or that was killed a while ago in writing it."""
    path = run / ".lock"
    with contextlib.suppress(FileNotFoundError):
        with contextlib.suppress(ValueError):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"process": NO_PROCESS}))
        os.utime(path, (0, 0))


def at_changes(algorithm: str, whole: dict[str, Any], changes: int, place: Path, counts: Counts) -> None:
    for moment in range(1, changes + 1):
        for cut in (False, True):
            run = place / f"{moment}-{cut}"
            disk = Disk(run, moment, cut)
            with contextlib.suppress(Killed), watched(disk):
                train(algorithm, run)
            forget_process(run)
            kind = "cut" if cut else "kill"
            check(algorithm, whole, run, moment % 2 == 0, counts, kind, f"{kind} at {moment}: {disk.calls[moment - 1]}")
            shutil.rmtree(run, ignore_errors=True)


def at_random(algorithm: str, whole: dict[str, Any], number: int, place: Path, counts: Counts) -> None:
    """SIGKILL at random moments between the lock and the end of a training; the first one goes through to the end, to
    measure how long that takes."""
    chance, length = random.Random(algorithm), 0.0
    for i in range(number + 1):
        run = place / f"random-{i}"
        process = subprocess.Popen([sys.executable, "-c", COMMAND.format(algorithm, TRAININGS[algorithm], str(run))])
        while not (run / ".lock").exists() and process.poll() is None:
            time.sleep(0.002)
        began = Clock()
        if i == 0:
            process.wait()
            length = began()
        else:
            time.sleep(chance.uniform(0, length))
            process.kill()
            process.wait()
        if i == 0 or process.returncode < 0:
            kind = "SIGKILL" if i else "in another process"
            check(algorithm, whole, run, i % 2 == 0, counts, kind, f"{kind} {i}")
        else:
            counts.add("ended before the kill")
        shutil.rmtree(run, ignore_errors=True)


def check(algorithm: str, whole: dict[str, Any], run: Path, resume: bool, counts: Counts, kind: str, case: str) -> None:
    end = attempt(lambda: train(algorithm, run, resume))
    case = f"{algorithm}, {case}"
    if end.hung:
        return counts.add("hang", case)
    if end.code is None:
        return counts.add("lost", f"{case}: {end.err}")
    there = result(run)
    different = sorted(name for name in there.keys() | whole.keys() if there.get(name) != whole.get(name))
    if different:
        counts.add("lost", f"{case}: {', '.join(different)} differ")
    else:
        counts.add(kind)


def campaign(algorithms: list[str], real: int) -> Counts:
    """`real`: number of SIGKILLs at random moments, for each algorithm."""
    counts = Counts("kills")
    for algorithm in algorithms:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            disk = Disk(place / "whole", None)
            with watched(disk):
                train(algorithm, place / "whole")
            whole = result(place / "whole")
            counts.facts.setdefault("changes", {})[algorithm] = disk.count
            at_changes(algorithm, whole, disk.count, place, counts)
            at_random(algorithm, whole, real, place, counts)
        print(f"{algorithm}: {dict(counts.ends)}", file=sys.stderr, flush=True)
    counts.facts["kills"] = sum(counts.ends[kind] for kind in ("kill", "cut", "SIGKILL"))
    return counts
