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
        there = _read(path)
        if reason := _abandoned(path, there):
            _remove(path, there)
            if there:
                print(f"onebody: {folder}: takes over the lock of {_holder(there)}, {reason}", file=sys.stderr)
            continue
        if time.monotonic() >= deadline:
            raise OnebodyError(
                f"another process is training in {folder} ({_holder(there)}); wait for it or choose another --out"
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
        if _read(path) != own:
            raise OnebodyError(f"another process has taken over {folder}, because this one was suspended; it ends here")

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield confirm
    finally:
        released.set()
        thread.join()
        if _read(path) == own:
            path.unlink(missing_ok=True)


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
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _holder(there: dict[str, Any]) -> str:
    return f"process {there['process']} on {there['host']}" if there else "a process that has just started"


def _abandoned(path: Path, there: dict[str, Any]) -> str:
    """Why a lock is not held any more; empty if it is."""
    if there and there["host"] == platform.node() and not _alive(there["process"]):
        return "which has ended"
    silent = _age(path)
    return f"which gave no sign of life for {silent:.0f} s" if silent > LIFETIME else ""


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


def _remove(path: Path, there: dict[str, Any]) -> None:
    """Remove an abandoned lock, unless another process has taken it over in the meantime."""
    taken = path.with_name(f"{NAME}.{uuid.uuid4().hex}")
    try:
        path.rename(taken)
    except FileNotFoundError:
        return
    if _read(taken) != there:
        with contextlib.suppress(FileExistsError):
            os.link(taken, path)
    taken.unlink()
