"""Runs Python files of users, for the families that they register and for functions that they define."""

import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from onebody.core.errors import OnebodyError, did_you_mean


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
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        place = f" (line {lines[-1]})" if lines else ""
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise OnebodyError(f"{file} cannot be run: {reason}{place}") from error
    finally:
        del sys.modules[spec.name]  # other processes cannot import it by this name, so its objects are pickled by value
    return module
