"""The metrics file of a run (`RUN/metrics.jsonl`, one JSON object per iteration) and its progress display."""

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

import jax
from rich.console import Console, RenderableType
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from onebody.core.errors import OnebodyError
from onebody.runs import documents

METRICS = "metrics.jsonl"
ANNOUNCE_AFTER = 1.0
"""time (s) after which `announce_if_slow` prints its message"""


class Log:
    """Appends to the metrics file of a run; a context manager. What `write` has written is on the disk."""

    def __init__(self, run: Path):
        self.path = run / METRICS

    def __enter__(self) -> "Log":
        self._file = self.path.open("ab", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, iteration: int, metrics: Mapping[str, SupportsFloat]) -> dict[str, int | float | None]:
        """Append one line, and return it. A value that is not finite becomes null, because JSON cannot represent it.

        Raises OnebodyError when the disk is full or not writable.
        """
        record = {"iteration": iteration} | {name: _plain(value) for name, value in metrics.items()}
        line = json.dumps(record) + "\n"
        try:
            if self._file.write(line.encode()) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())  # the checkpoint that follows must not be the only one to survive a power cut
        except OSError as error:
            raise OnebodyError(
                f"cannot write {self.path} ({error.strerror}); free some disk space, then: "
                f"onebody resume {self.path.parent}"
            ) from error
        return record


def read(run: Path) -> list[dict[str, Any]]:
    """Metrics of a run, one dictionary per line, null as NaN; omits an incomplete last line; [] if there is no file."""
    records = [record for _, record in _lines(run / METRICS)]
    return [{key: math.nan if value is None else value for key, value in record.items()} for record in records]


def damaged(run: Path) -> int:
    """Number of lines of the metrics file that `read` leaves out."""
    path = run / METRICS
    return len(path.read_bytes().splitlines()) - len(_lines(path)) if path.exists() else 0


def truncate(run: Path, iteration: int) -> None:
    """Remove the lines after `iteration` and an incomplete last line, which a kill may leave."""
    path = run / METRICS
    if not path.exists():
        return
    partial = path.with_name(f".{METRICS}.partial")
    with partial.open("wb") as file:
        file.writelines(line for line, record in _lines(path) if record["iteration"] <= iteration)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Each complete line, as bytes and as JSON."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [(line, record) for line in lines if line.endswith(b"\n") and (record := parse(line))]


def parse(line: bytes) -> dict[str, Any]:
    """The record in a line of the metrics file: its iteration and numbers or null by name; empty if it is damaged."""
    try:
        record = documents.parse(line)
    except ValueError:
        return {}
    if not isinstance(record, dict) or type(record.get("iteration")) is not int:
        return {}
    return record if all(value is None or type(value) in (int, float) for value in record.values()) else {}


def _plain(value: SupportsFloat) -> int | float | None:
    number = value if isinstance(value, int) else float(value)
    return number if math.isfinite(number) else None


@contextmanager
def announce_if_slow(message: str, quiet: bool) -> Iterator[None]:
    """Print a message on stderr if the block takes longer than ANNOUNCE_AFTER, unless `quiet`."""
    timer = threading.Timer(ANNOUNCE_AFTER, print, (message,), {"file": sys.stderr, "flush": True})
    timer.daemon = True
    if not quiet:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Bar(Bar):
    """A line of text above a bar, so that both fit into 80 columns."""

    def get_renderables(self) -> Iterator[RenderableType]:
        for task in self.tasks:
            yield Text(task.fields["text"], no_wrap=True, overflow="ellipsis")
        yield self.make_tasks_table(self.tasks)


@dataclass
class Progress:
    """Shows progress on stderr, a context manager: a bar on a terminal, otherwise plain lines; nothing if `quiet`.

    Plain lines read `iteration 3/30 · 12,000 samples · 0:01:10, 0:08:30 left`; at most one is printed per `every`
    seconds, and the last one always. `start` is the number of units that were done before (in a resumed run). They do
    not count for the speed, and neither does the first unit after them, which includes compilation: until it is done,
    the bar shows what JAX compiles, and then how long that took, or the loading of programs that were compiled before.
    """

    total: int
    unit: str
    label: str
    start: int = 0
    quiet: bool = False
    every: float = 5.0

    def __enter__(self) -> "Progress":
        self._began, self._last_line, self._bar = time.monotonic(), -math.inf, None
        self._first: tuple[float, int] | None = None
        self._compilation = 0.0
        self._next = f"{self.unit} {self.start + 1:,}/{self.total:,} · compiling"
        if not self.quiet:
            print(self.label, file=sys.stderr, flush=True)
        if sys.stderr.isatty() and not self.quiet:
            columns = (BarColumn(40), TimeElapsedColumn(), TextColumn("{task.fields[left]}"))
            self._bar = _Bar(*columns, console=Console(stderr=True), redirect_stdout=False)
            self._bar.add_task("", total=self.total, completed=self.start, text=self._next, left="")
            self._bar.start()
        elif not self.quiet:
            print(self._next, file=sys.stderr, flush=True)
        jax.monitoring.register_event_duration_secs_listener(self._compiles)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._compiles)
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, text: str, last: int | None = None) -> None:
        """Show that `done` of `total` units are done, with their result as `text`.

        `last`: expected number of the last unit, if it is not `total`.
        """
        now, last = time.monotonic(), self.total if last is None else last
        if self._first is None:
            self._first = now, done
            left = f"{self._compilation:.0f} s of it for compilation" if self._compilation >= 1 else ""
        else:
            left = f"{clock((now - self._first[0]) * (last - done) / (done - self._first[1]))} left"
        head = f"{self.unit} {done:,}/{self.total:,} · {text}"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=last, text=head, left=left)
        elif not self.quiet and (done >= last or now - self._last_line >= self.every):
            self._last_line = now
            print(f"{head} · {clock(now - self._began)}, {left}".rstrip(" ,"), file=sys.stderr, flush=True)

    def _compiles(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        """Receives JAX's events: a function has been translated for the compiler, or compiled."""
        if self._first is not None:
            return
        if event == "/jax/core/compile/backend_compile_duration":
            self._compilation += duration_secs
        elif event == "/jax/core/compile/jaxpr_to_mlir_module_duration" and self._bar is not None:
            name = str(kwargs.get("fun_name", "")).removeprefix("jit(").removesuffix(")")
            self._bar.update(self._bar.task_ids[0], text=f"{self._next} {name}")


def clock(seconds: float) -> str:
    """A duration as h:mm:ss."""
    return str(timedelta(seconds=round(max(seconds, 0.0))))
