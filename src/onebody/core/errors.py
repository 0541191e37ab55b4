"""The exception for errors that a user can correct, and checks that raise it."""

import difflib
import math
import operator
import sys
from collections.abc import Iterable
from typing import Any


class OnebodyError(Exception):
    """An error that the user can correct: one line that says what is wrong and what to do.

    The command line prints it and exits with code 2; nothing is lost or overwritten.
    """


class NotFinite(OnebodyError):
    """A number that should be finite is not."""


class BodyFailed(OnebodyError):
    """An environment, or a function of a user's body or family, raised an exception while it was simulated."""


class EmergencyStop(Exception):
    """For a robot's environment to raise in `step` when its stop button is pressed.

    The episode ends at once and keeps the steps before this one; the next call of the environment is `reset`.
    """


class Stopped(Exception):
    """A signal stopped the training in the folder `run`; everything up to its last complete iteration is saved."""

    def __init__(self, signum: int, run: Any, advice: str = ""):
        super().__init__(f"stopped; {advice or f'go on with: onebody resume {run}'}")
        self.signum, self.run = signum, run


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'a' or 'b'?"` for the nearest known names, or a list of all names if none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return "; did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "; known: " + ", ".join(known)


def whole(name: str, value: Any) -> int:
    """A whole number that a user gave, of Python, NumPy or JAX, as Python's int; `name` is what the message calls it.

    Raises:
        OnebodyError: it is not a whole number.
    """
    try:
        number = int(operator.index(value))
    except TypeError:
        raise OnebodyError(f"{name} must be a whole number, not {value!r}") from None
    if not -sys.maxsize <= number <= sys.maxsize:
        raise OnebodyError(f"{name} must be from {-sys.maxsize} to {sys.maxsize}")
    return number


def real(name: str, value: Any) -> float:
    """A number that a user gave, of Python, NumPy or JAX, as Python's float; `name` is what the message calls it.

    Raises:
        OnebodyError: it is not one number.
    """
    try:
        return float(value + 0)  # not a text, which float would take
    except OverflowError:
        raise OnebodyError(f"{name} is too large") from None
    except (TypeError, ValueError):
        raise OnebodyError(f"{name} must be a number, not {value!r}") from None


def at_least(low: int, config: Any, *names: str) -> None:
    """Check that fields of a configuration are at least `low`; in a tuple, each element.

    Raises:
        OnebodyError: one is below `low` or not finite.
    """
    for name in names:
        _check(config, name, lambda x: x >= low, f"at least {low}")


def at_most(high: int, config: Any, *names: str) -> None:
    """Check that fields of a configuration are at most `high`.

    Raises:
        OnebodyError: one is above `high` or not finite.
    """
    for name in names:
        _check(config, name, lambda x: x <= high, f"at most {high}")


def positive(config: Any, *names: str) -> None:
    """Check that fields of a configuration are above zero.

    Raises:
        OnebodyError: one is not a finite number above zero.
    """
    for name in names:
        _check(config, name, lambda x: x > 0, "above 0")


def _check(config: Any, name: str, holds: Any, condition: str) -> None:
    value = getattr(config, name)
    values = value if isinstance(value, tuple | list) else (value,)
    setting = f"{type(config).__name__}: {name.replace('_', '-')}"
    for x in values:
        try:
            allowed = math.isfinite(x) and holds(x)
        except TypeError:
            raise OnebodyError(f"{setting} must be {condition}, not {x!r}") from None
        if not allowed:
            condition = f"{condition} and finite" if math.isinf(x) else condition
            raise OnebodyError(f"{setting} must be {condition}, not {x}")
