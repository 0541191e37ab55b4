"""Runs Python files of users, for the families that they register and for functions that they define.

A file that a user names is run. One that a run folder names is run only if this user has run the same content before,
or consents: folders may come from somebody else. The SHA-256 of each file that was run by name or with consent is a
line of `$XDG_STATE_HOME/onebody/files` (by default below `~/.local/state`), outside all run folders.
"""

import contextlib
import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from onebody.core.errors import OnebodyError, did_you_mean

_KNOWN: set[str] = set()
"""SHA-256 of the files that this process has run by name or with consent, in case that they cannot be written down"""


def function(text: str) -> Callable[..., Any]:
    """Run the file and return the function that `FILE.py:NAME` names.

    Raises:
        OnebodyError: the text has another form, the file is missing or fails, or it defines no such function.
    """
    path, in_file, name = text.rpartition(".py:")
    if not in_file:
        raise OnebodyError(f"{text} names no function of a file; write FILE.py:NAME")
    file = Path(f"{path}.py").resolve()
    defined = vars(run(file, "name a function of your own as FILE.py:NAME"))
    if name not in defined:
        functions = [each for each, value in defined.items() if getattr(value, "__module__", None) == str(file)]
        near = did_you_mean(name, functions) if functions else "; it defines no functions"
        raise OnebodyError(f"{file} defines no function {name!r}{near}")
    if not callable(defined[name]):
        raise OnebodyError(f"{name} of {file} is of type {type(defined[name]).__name__}, not a function")
    return defined[name]


def run(file: Path, hint: str) -> ModuleType:
    """Run a Python file, unless it is being run already.

    Raises:
        OnebodyError: the file is missing (the message ends with the hint), or it fails.
    """
    if str(file) in sys.modules:
        return sys.modules[str(file)]
    if not file.is_file():
        raise OnebodyError(f"there is no file {file}; {hint}")
    spec = importlib.util.spec_from_file_location(str(file), file)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        if isinstance(error, OnebodyError):
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise OnebodyError(f"{file} cannot be run: {reason}") from error
    finally:
        del sys.modules[spec.name]  # other processes cannot import it by this name, so its objects are pickled by value
    return module


def is_known(file: Path) -> bool:
    """Whether this user has run a file of the same content by its name, or has consented to running it."""
    return _digest(file) in _KNOWN | _written()


def remember(file: Path) -> None:
    """Note that the user has named a file to be run, or consents to running it."""
    digest = _digest(file)
    _KNOWN.add(digest)
    with contextlib.suppress(OSError, RuntimeError):
        if digest not in _written():
            path = _list()
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as known:
                known.write(f"{digest}  {str(file)!r}\n")


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _written() -> set[str]:
    """What `remember` has written, in all processes."""
    try:
        return {line.partition(" ")[0] for line in _list().read_text(encoding="utf-8", errors="replace").splitlines()}
    except (OSError, RuntimeError):
        return set()


def _list() -> Path:
    """Raises RuntimeError for a user without a home."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "onebody" / "files"
