"""Which Python files a run folder may have run: those whose content this user has run before, or consents to.

A run folder may come from somebody else, and names the file that registers its family. The SHA-256 of each file that
the user has trained with by its name, or has consented to, is a line of `$XDG_STATE_HOME/onebody/files` (by default
below `~/.local/state`), outside all run folders.
"""

import contextlib
import hashlib
import os
from pathlib import Path

_GIVEN: set[str] = set()
"""SHA-256 of the files that this process was given consent to, in case they cannot be written down"""


def is_given(file: Path) -> bool:
    """Whether this user has trained with a file of the same content by its name, or has consented to running it."""
    return _digest(file) in _GIVEN | _written()


def give(file: Path) -> None:
    """Note that the user has named a file to be run, or consents to running it."""
    digest = _digest(file)
    _GIVEN.add(digest)
    with contextlib.suppress(OSError, RuntimeError):
        if digest not in _written():
            path = _list()
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as known:
                known.write(f"{digest}  {str(file)!r}\n")


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _written() -> set[str]:
    """What `give` has written, in all processes."""
    try:
        return {line.partition(" ")[0] for line in _list().read_text(encoding="utf-8", errors="replace").splitlines()}
    except (OSError, RuntimeError):
        return set()


def _list() -> Path:
    """Raises RuntimeError for a user without a home."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "onebody" / "files"
