"""One process at a time in a run folder, on local disks and on those that several machines share.

The lock is a file with the host and process of its holder, which renews the file's time while it lives. A lock whose
process has ended on this host, or that was not renewed for LIFETIME, is taken over.
"""

import contextlib
import json
import os
import platform
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onebody.core.errors import OnebodyError
from onebody.runs import documents

NAME = ".lock"
LIFETIME = 60.0
"""time (s) without renewal after which a lock is taken over"""
RENEWAL = 5.0
"""time (s) between renewals"""
POLL = 1.0
"""time (s) between attempts to get a lock that another process holds"""


def files(folder: Path) -> set[Path]:
    """Files in a folder that belong to its lock."""
    return set(folder.glob(f"{NAME}*"))


@contextmanager
def held(folder: Path, wait: float = 0.0) -> Iterator[Callable[[], None]]:
    """Hold the lock of a folder within the block.

    Args:
        wait: time (s) to wait for another process that holds it.

    Yields:
        A function that raises OnebodyError if another process has taken the lock over, because this process was not
            running for longer than LIFETIME.

    Raises:
        OnebodyError: another process holds the lock for longer than `wait`.
    """
    path, own = folder / NAME, {"host": platform.node(), "process": os.getpid(), "token": uuid.uuid4().hex}
    deadline, said = time.monotonic() + wait, False
    while not _created(path, own):
        if taken := _removed_if_abandoned(path):
            print(f"onebody: {folder}: taking over the lock of {taken}", file=sys.stderr, flush=True)
            continue
        there = _read(path)
        if time.monotonic() >= deadline:
            raise OnebodyError(
                f"another process is training in {folder}, or adapting its robot ({_holder(there)}); wait for it, or, "
                "to train, choose another --out"
            )
        if not said:
            print(f"onebody: {folder}: waiting for {_holder(there)}", file=sys.stderr, flush=True)
            said = True
        time.sleep(POLL)
    released = threading.Event()

    def renew() -> None:
        while not released.wait(RENEWAL):
            with contextlib.suppress(OSError):
                if _read(path) == own:
                    os.utime(path)

    def confirm() -> None:
        try:
            there = _read(path)
        except OSError:  # the disk does not answer at the moment
            return
        if there != own:
            raise OnebodyError(f"another process has taken over {folder}, because this one was suspended; it ends here")

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield confirm
    finally:
        released.set()
        thread.join()
        with contextlib.suppress(OSError):
            if _read(path) == own:
                path.unlink()


def _created(path: Path, own: dict[str, Any]) -> bool:
    """Create the lock file, unless there is one."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        json.dump(own, file)
    return True


def _read(path: Path) -> dict[str, Any]:
    """The holder; empty if there is no lock, or none that was written completely."""
    try:
        return documents.parse(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}


def _holder(there: dict[str, Any]) -> str:
    return f"process {there['process']} on {there['host']}" if there else "a process that has just started"


def _abandoned(path: Path, there: dict[str, Any]) -> str:
    """Why a lock is not held any more; empty if it is."""
    if there and there["host"] == platform.node() and not _alive(there["process"]):
        return "it has exited"
    silent = _age(path)
    return f"no sign of life for {silent:.0f} s" if silent > LIFETIME else ""


def _alive(process: int) -> bool:
    """Whether a process of this host is running; assumed where the system cannot tell."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _age(path: Path) -> float:
    """Time (s) since the last renewal, both by the clock of the disk; 0 if there is no lock."""
    probe = path.with_name(f"{NAME}.{uuid.uuid4().hex}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def _removed_if_abandoned(path: Path) -> str:
    """Remove a lock that is not held any more; says whose it was and why, and is empty if the lock was not removed.

    One process at a time judges and removes, so that none removes a lock that another one has just taken.
    """
    if not _abandoned(path, _read(path)):
        return ""
    guard = path.with_name(f"{NAME}.takeover")
    try:
        guard.mkdir()
    except FileExistsError:
        with contextlib.suppress(OSError):
            if time.time() - guard.stat().st_mtime > LIFETIME:  # of a process that was killed in between
                guard.rmdir()
        return ""
    try:
        there = _read(path)
        reason = _abandoned(path, there)
        if reason:
            path.unlink(missing_ok=True)
        return f"{_holder(there) if there else 'an unknown process'} ({reason})" if reason else ""
    finally:
        guard.rmdir()
