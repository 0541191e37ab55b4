"""What a run writes down (`RUN/metrics.jsonl`, one JSON object an iteration) and what it shows while it works."""

import contextlib
import errno
import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, SupportsFloat

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from onebody.core.errors import OnebodyError

METRICS = "metrics.jsonl"
SOON = 1.0
"""seconds after which what takes long is said"""


class Log:
    """Appends to the run's metrics; a context manager. A line has left the process when `write` returns."""

    def __init__(self, run: Path):
        self.path = run / METRICS

    def __enter__(self) -> "Log":
        self._file = self.path.open("ab", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, iteration: int, metrics: Mapping[str, SupportsFloat]) -> None:
        """Append one line. A value that is not finite becomes null, for JSON has no other word for it.

        Raises OnebodyError when the disk is full or refuses.
        """
        line = json.dumps({"iteration": iteration} | {name: _plain(value) for name, value in metrics.items()}) + "\n"
        try:
            if self._file.write(line.encode()) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise OnebodyError(
                f"cannot write {self.path} ({error.strerror}); make room, then go on with: "
                f"onebody resume {self.path.parent}"
            ) from error


def read(run: Path) -> list[dict[str, Any]]:
    """The lines of the run's metrics, null as NaN; without a half-written last line; [] when there is no file."""
    records = [record for _, record in _lines(run / METRICS)]
    return [{key: math.nan if value is None else value for key, value in record.items()} for record in records]


def truncate(run: Path, iteration: int) -> None:
    """Drop the lines after `iteration`, and a half-written last line: what a kill leaves behind."""
    path = run / METRICS
    if not path.exists():
        return
    beside = path.with_name(f".{METRICS}.partial")
    with beside.open("wb") as file:
        file.writelines(line for line, record in _lines(path) if record["iteration"] <= iteration)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def _lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Each whole line, as bytes and as JSON."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):  # a damaged line is no line
            found.append((line, json.loads(line)))
    return [(line, record) for line, record in found if line.endswith(b"}\n")]


def _plain(value: SupportsFloat) -> int | float | None:
    number = value if isinstance(value, int) else float(value)
    return number if math.isfinite(number) else None


@contextmanager
def said_soon(words: str, quiet: bool) -> Iterator[None]:
    """Says it on stderr where the block takes more than `SOON`, unless `quiet`."""
    timer = threading.Timer(SOON, print, (words,), {"file": sys.stderr, "flush": True})
    timer.daemon = True
    if not quiet:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


@dataclass
class Progress:
    """Progress on stderr, a context manager: a bar on a terminal, plain lines elsewhere, nothing when `quiet`.

    Plain lines read `iteration 3/30 · 12,000 samples · 0:01:10, 0:08:30 left`; at most one comes every `every`
    seconds, and always the last. `start` units were done before (a resumed run) and say nothing of the speed; nor does
    the first one after them, which compiles.
    """

    total: int
    unit: str
    label: str
    start: int = 0
    quiet: bool = False
    every: float = 5.0

    def __enter__(self) -> "Progress":
        self._began, self._last_line, self._bar = time.monotonic(), -math.inf, None
        self._compiled: tuple[float, int] | None = None
        compiling = f"{self.unit} {self.start + 1:,}/{self.total:,} · compiling"
        if not self.quiet:
            print(self.label, file=sys.stderr, flush=True)
        if sys.stderr.isatty() and not self.quiet:
            columns = (BarColumn(10), TextColumn("{task.fields[text]}"), TimeElapsedColumn())
            self._bar = Bar(*columns, console=Console(stderr=True), redirect_stdout=False)
            self._bar.add_task("", total=self.total, completed=self.start, text=compiling)
            self._bar.start()
        elif not self.quiet:
            print(compiling, file=sys.stderr, flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, text: str, last: int | None = None) -> None:
        """`done` of `total` units are done; `text` says what came out. `last`: the unit that will end it all, if it is
        another than `total`."""
        now, last = time.monotonic(), self.total if last is None else last
        left = ""
        if self._compiled is None:
            self._compiled = now, done
        else:
            left = f"{_clock((now - self._compiled[0]) * (last - done) / (done - self._compiled[1]))} left"
        head = f"{self.unit} {done:,}/{self.total:,} · {text}"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=last, text=f"{head} · {left}".rstrip(" ·"))
        elif not self.quiet and (done >= last or now - self._last_line >= self.every):
            self._last_line = now
            print(f"{head} · {_clock(now - self._began)}, {left}".rstrip(" ,"), file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(max(seconds, 0.0))))
