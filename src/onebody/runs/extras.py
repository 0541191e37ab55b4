"""Optional packages, which the extras of `onebody` install."""

import importlib
import importlib.util
from typing import Any

from onebody.core.errors import OnebodyError


def check(module: str, extra: str, what: str) -> None:
    """Raises OnebodyError if an optional package is not installed; `what` is what needs it."""
    if importlib.util.find_spec(module) is None:
        raise OnebodyError(f"{what} needs: pip install 'onebody[{extra}]'")


def load(module: str, extra: str, what: str) -> Any:
    """An optional package.

    Raises: as `check`.
    """
    check(module, extra, what)
    return importlib.import_module(module)
