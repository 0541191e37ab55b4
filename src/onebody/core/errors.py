"""The one exception for what a user can mend, and the checks that raise it."""

import difflib
import math
from collections.abc import Iterable
from typing import Any


class OnebodyError(Exception):
    """Something the user can mend: one clear line that says what is wrong and what to do.

    The command line prints it and exits with code 2; nothing is written or lost.
    """


class NotFinite(OnebodyError):
    """A number that should be finite is not."""


class Stopped(Exception):
    """A signal asked the training in the folder `run` to stop; everything up to its last whole iteration is saved."""

    def __init__(self, signum: int, run: Any):
        super().__init__(f"stopped; go on with: onebody resume {run}")
        self.signum, self.run = signum, run


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'a' or 'b'?"` for the nearest known names, else the list of all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return "; did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "; known: " + ", ".join(known)


def at_least(low: int, config: Any, *names: str) -> None:
    """Check fields of a configuration; of tuples, each element.

    Raises:
        OnebodyError: one is below `low` or not finite.
    """
    for name in names:
        _check(config, name, lambda x: x >= low, f"at least {low}")


def at_most(high: int, config: Any, *names: str) -> None:
    """Check fields of a configuration.

    Raises:
        OnebodyError: one is above `high` or not finite.
    """
    for name in names:
        _check(config, name, lambda x: x <= high, f"at most {high}")


def positive(config: Any, *names: str) -> None:
    """Check fields of a configuration.

    Raises:
        OnebodyError: one is not a finite number above zero.
    """
    for name in names:
        _check(config, name, lambda x: x > 0, "above 0")


def _check(config: Any, name: str, holds: Any, words: str) -> None:
    value = getattr(config, name)
    for x in value if isinstance(value, tuple) else (value,):
        if not (math.isfinite(x) and holds(x)):
            words = f"{words} and finite" if math.isinf(x) else words
            raise OnebodyError(f"{type(config).__name__}: {name.replace('_', '-')} must be {words}, not {x}")
