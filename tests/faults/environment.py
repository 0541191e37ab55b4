"""A training on machines that are unkind: full and read-only disks, no home, no terminal, few files, a jumping clock.

Each case ends in one of these: `done`, with the bytes of the undisturbed run; `refused`, in one line and with exit code
2, after which the same command in a kind environment ends with these bytes; or `ended`, for a reader of the output that
has gone away.
"""

import contextlib
import errno
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.faults import kills
from tests.faults.kills import Disk, result, watched
from tests.faults.watching import Counts, End, command

ALGORITHM, FAMILY = "trpo", "point/goal"
TRAIN = ["train", ALGORITHM, FAMILY, "--preset", "smoke", "--seed", "3", "--quiet", "--out"]
NO_HOME = """
import pwd, sys
def nobody(*_): raise KeyError
pwd.getpwuid = nobody
from onebody.cli import main
sys.exit(main())
"""
LONG = """
import json, os, sys
from onebody.runs import loop, log
import onebody, dataclasses
sizes, written = {}, log.Log.write
def write(self, iteration, metrics):
    if iteration in (50, 500):
        sizes[iteration] = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    written(self, iteration, metrics)
log.Log.write = write
config = dataclasses.replace(onebody.preset("random-search", "smoke"), n_iterations=500)
onebody.train("random-search", "mbmpo/point", config=config, out=sys.argv[1], quiet=True)
print(json.dumps(sizes))
"""


class Failing(Disk):
    """All changes from number `moment` on fail with an error of the system."""

    def __init__(self, folder: Path, moment: int, number: int):
        super().__init__(folder, moment)
        self._number = number

    def _change(self, event: str, path: str) -> None:
        self.count += 1
        if self.moment is not None and self.count >= self.moment and event not in ("os.remove", "os.rmdir"):
            raise OSError(self._number, os.strerror(self._number), path)


def train(run: Path) -> End:
    return command(*TRAIN, run)


def count(counts: Counts, case: str, end: End, run: Path, whole: dict[str, Any], ended: bool = False) -> None:
    """Count how a training ended and whether the same command ends as the whole run; `ended`: it may end early."""
    if end.hung:
        return counts.add("hang", case)
    if end.code is None or "Traceback" in end.err or not (end.code == 0 or end.refused or ended):
        return counts.add("traceback", f"{case}: code {end.code}, {end.err.strip()[-300:]!r}")
    if end.code == 0 and not ended and result(run) != whole:
        return counts.add("nonsense", f"{case}: exit code 0, but not the whole run")
    again = train(run)
    if again.code != 0 or result(run) != whole:
        there = result(run) if run.exists() else {}
        names = sorted(name for name in there.keys() | whole.keys() if there.get(name) != whole.get(name))
        return counts.add("lost", f"{case}: then {again.err.strip()[-200:]} {names}")
    counts.add("done" if end.code == 0 else "refused" if end.refused else "ended")


def process(*arguments: Any, main: list[str] | None = None, **options: Any) -> End:
    """A command in a process of its own."""
    typed = [sys.executable, *(main or ["-m", "onebody"]), *map(str, arguments)]
    try:
        done = subprocess.run(typed, capture_output=True, timeout=300, stdin=subprocess.DEVNULL, **options)
    except subprocess.TimeoutExpired:
        return End(None, "", "took too long", hung=True)
    return End(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


@contextmanager
def mounted(folder: Path, kilobytes: int) -> Iterator[bool]:
    """A disk of this size at the folder; yields whether it could be mounted."""
    folder.mkdir(parents=True)
    options = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run(options, capture_output=True).returncode == 0:
            try:
                yield True
            finally:
                subprocess.run(["umount", str(folder)], check=True)
            return
    yield False


def failing_disks(place: Path, whole: dict[str, Any], counts: Counts) -> None:
    """The disk is full, or read-only, from each change on."""
    disk = Disk(place / "counted", None)
    with watched(disk):
        assert train(place / "counted").code == 0
    for number in (errno.ENOSPC, errno.EROFS, errno.EIO):
        for moment in range(1, disk.count + 1):
            run = place / f"{number}-{moment}"
            with watched(Failing(run, moment, number)):
                end = train(run)
            kills.forget_process(run)
            name = errno.errorcode[number]
            count(counts, f"{name} from change {moment} on ({disk.calls[moment - 1]})", end, run, whole)
            shutil.rmtree(run, ignore_errors=True)


def small_disks(place: Path, whole: dict[str, Any], counts: Counts) -> None:
    """Disks on which the run does not fit, from nothing to nearly enough; then there is room."""
    needed = sum(len(data) for data in whole.values() if isinstance(data, bytes)) // 1024
    for kilobytes in sorted({4, 8, *range(12, 2 * needed, max(4, needed // 6))}):
        disk, run = place / f"small-{kilobytes}", place / f"from-small-{kilobytes}"
        with mounted(disk, kilobytes) as is_mounted:
            if not is_mounted:
                return counts.add("no disk can be mounted here")
            end = train(disk / "run")
            if (disk / "run").exists():
                shutil.copytree(disk / "run", run)
        count(counts, f"a disk of {kilobytes} KiB", end, run, whole)


def processes(place: Path, whole: dict[str, Any], counts: Counts) -> None:
    """What needs a process of its own."""
    plain = {name: value for name, value in os.environ.items() if name not in ("HOME", "COLUMNS", "LANG")}
    caches = {"XDG_CACHE_HOME": "", "XDG_STATE_HOME": ""}
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}

    def limit(what: int, value: int) -> Callable[[], None]:
        return lambda: resource.setrlimit(what, (value, value))

    evaluate = ["evaluate", str(place / "no-home"), "--tasks", "1"]
    cases: dict[str, dict[str, Any]] = {
        "no home": {"main": ["-c", NO_HOME], "env": plain | caches},
        "C locale": {"env": os.environ | ascii_only},
        "20 columns": {"env": os.environ | {"COLUMNS": "20"}},
        "no terminal, a session of its own": {"start_new_session": True, "env": os.environ | {"TERM": "dumb"}},
        "64 file descriptors": {"preexec_fn": limit(resource.RLIMIT_NOFILE, 64)},
        "1 GB of address space": {"preexec_fn": limit(resource.RLIMIT_AS, 2**30), "ended": True},
        "2 GB of address space": {"preexec_fn": limit(resource.RLIMIT_AS, 2**31), "ended": True},
        "files of at most 4 kB": {"preexec_fn": limit(resource.RLIMIT_FSIZE, 4096)},
        "closed output": {"preexec_fn": lambda: os.close(1)},
        "closed input, output and errors": {"preexec_fn": lambda: [os.close(i) for i in range(3)]},
    }
    for name, options in cases.items():
        run, ended = place / name.replace(" ", "-"), options.pop("ended", False)
        count(counts, name, process(*TRAIN, run, **options), run, whole, ended)
    for name, env in {"C": ascii_only, "ASCII": {"PYTHONIOENCODING": "ascii"}, "narrow": {"COLUMNS": "1"}}.items():
        for typed in (["list"], ["train", "--help"], ["resume", place / "ψ"], evaluate):
            end = process(*typed, env=os.environ | env)
            bad = end.code not in (0, 2) or "Traceback" in end.err
            counts.add("traceback" if bad else "done", f"{name}, {typed}: {end.err[-300:]!r}")
    for typed in (["list"], ["train", "--help"], [*evaluate, "--json"]):
        reading = subprocess.Popen(
            [sys.executable, "-m", "onebody", *typed], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert reading.stdout is not None and reading.stderr is not None
        reading.stdout.close()
        said = reading.stderr.read().decode()
        code = reading.wait(timeout=300)
        bad = "Traceback" in said or code not in (0, 2)
        counts.add("traceback" if bad else "ended", f"{typed}, without a reader: {code} {said[-300:]}")
        reading.stderr.close()


def two_at_once(place: Path, whole: dict[str, Any], counts: Counts) -> None:
    run = place / "two"
    typed = [sys.executable, "-m", "onebody", *TRAIN, str(run)]
    both = [subprocess.Popen(typed, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) for _ in range(2)]
    ends = [End(each.wait(), "", each.communicate()[1].decode()) for each in both]
    for end in ends:
        count(counts, "two processes on one folder", end, run, whole)


def clocks(place: Path, whole: dict[str, Any], counts: Counts) -> None:
    """Every clock that Python shows goes back by up to an hour between any two readings."""
    chance = random.Random(0)
    for i in range(4):
        run = place / f"clock-{i}"
        with contextlib.ExitStack() as stack:
            for name in ("time", "monotonic", "perf_counter"):
                if name == "monotonic" and i % 2:
                    continue
                read = getattr(time, name)
                stack.enter_context(patch.object(time, name, lambda read=read: read() - chance.uniform(0, 3600)))
            end = train(run)
        count(counts, f"clocks that go back {i}", end, run, whole)


def locks(place: Path, whole: dict[str, Any], counts: Counts) -> None:
    """A disk on which the lock cannot be made, read or renewed."""
    original = os.open
    for number in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ESTALE, errno.EACCES):

        def failing(path: Any, flags: int, *rest: Any, number: int = number, **names: Any) -> int:
            if str(path).endswith(".lock"):
                raise OSError(number, os.strerror(number), str(path))
            return original(path, flags, *rest, **names)

        run = place / f"lock-{number}"
        with patch.object(os, "open", failing):
            end = train(run)
        count(counts, f"{errno.errorcode[number]} for the lock", end, run, whole)


def long_run(place: Path, whole: dict[str, Any], counts: Counts) -> None:
    """Memory and disk after 500 iterations are those after 50."""
    done = process(place / "long", main=["-c", LONG])
    if done.code != 0:
        return counts.add("traceback", f"500 iterations: {done.err[-300:]}")
    sizes = json.loads(done.out)
    files = {path.name: path.stat().st_size for path in (place / "long").rglob("*") if path.is_file()}
    counts.facts |= {
        "resident_mib": {name: round(size) for name, size in sizes.items()},
        "folder_kib": sum(files.values()) // 1024,
        "metrics_bytes_per_iteration": files["metrics.jsonl"] // 500,
    }
    grown = sizes["500"] - sizes["50"]
    counts.add("nonsense" if grown > 20 else "done", f"memory grows by {grown:.0f} MiB from iteration 50 to 500")


def campaign(name: str) -> Counts:
    """`name`: of the part, `disks` or `machines`."""
    counts = Counts(name)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        assert train(place / "whole").code == 0
        whole = result(place / "whole")
        parts = {"disks": (locks, failing_disks, small_disks), "machines": (clocks, two_at_once, processes, long_run)}
        for part in parts[name]:
            part(place, whole, counts)
            print(f"{part.__name__}: {dict(counts.ends)}", file=sys.stderr, flush=True)
    return counts
