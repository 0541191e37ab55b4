"""Runs one case of the campaign, watches how it ends, and counts."""

import contextlib
import io
import json
import os
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onebody.cli import main

SECONDS = 300
"""time (s) after which a case counts as a hang"""


class Hang(BaseException):
    """A case took too long."""


class Killed(BaseException):
    """The process ends at this point: nothing may catch it, and what it would still do to the disk is not done."""


@dataclass
class Counts:
    """What one part of the campaign found: the number of cases, how they ended, and each defect in one line."""

    part: str
    ends: Counter[str] = field(default_factory=Counter)
    """cases by how they ended, defects included"""
    defects: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """further numbers"""

    KINDS = ("traceback", "hang", "nonsense", "lost")

    def add(self, end: str, case: str = "") -> None:
        """Count a case; `case` describes it, for a defect."""
        self.ends[end] += 1
        if end in self.KINDS:
            self.defects.append(f"{end}: {case}")

    def to_json(self) -> dict[str, Any]:
        kinds = {kind: self.ends[kind] for kind in self.KINDS}
        others = {end: number for end, number in sorted(self.ends.items()) if end not in self.KINDS}
        cases = {"cases": self.ends.total()}
        return cases | kinds | {"ends": others} | self.facts | {"defects": self.defects}

    def print(self) -> None:
        print(json.dumps({"part": self.part, **self.to_json()}, ensure_ascii=False), flush=True)


@dataclass(frozen=True)
class End:
    """How a command ended. `code` is None for an exception, whose text is in `err`."""

    code: int | None
    out: str
    err: str
    hung: bool = False

    @property
    def refused(self) -> bool:
        """Whether it was refused as the user is promised: exit code 2 and one line."""
        lines = [line for line in self.err.splitlines() if line.startswith("onebody: ")]
        return self.code == 2 and len(lines) >= 1 and self.err.splitlines() == lines


@contextmanager
def limited(seconds: float = SECONDS) -> Iterator[None]:
    """Raises Hang in the block after some time."""

    def ring(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(function: Callable[[], Any], seconds: float = SECONDS) -> End:
    """Call a function that returns an exit code, or None for success."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), limited(seconds):
            code = function() or 0
    except Hang:
        return End(None, out.getvalue(), "took too long", hung=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return End(None, out.getvalue(), f"{error!r} at {Path(place.filename).name}:{place.lineno}")
    return End(code, out.getvalue(), err.getvalue())


def command(*arguments: Any, seconds: float = SECONDS) -> End:
    """Run one command line in this process."""
    return attempt(lambda: main([str(each) for each in arguments]), seconds)


def contents(folder: Path) -> dict[str, bytes | str]:
    """All files below a folder, and what is neither a file nor a folder, by path."""
    found: dict[str, bytes | str] = {}
    for root, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = Path(root) / name
            if path.is_symlink():
                found[str(path.relative_to(folder))] = f"link to {os.readlink(path)}"
            elif path.is_file():
                found[str(path.relative_to(folder))] = path.read_bytes()
            else:
                found[str(path.relative_to(folder))] = "folder"
    return found


class Clock:
    """Time (s) since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() - self._began
