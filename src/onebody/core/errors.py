"""The one exception for what a user can mend."""

import difflib
from collections.abc import Iterable


class OnebodyError(Exception):
    """Something the user can mend: one clear line that says what is wrong and what to do.

    The command line prints it and exits with code 2; nothing is written or lost.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'a' or 'b'?"` for the nearest known names, else the list of all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return "; did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "; known: " + ", ".join(known)
