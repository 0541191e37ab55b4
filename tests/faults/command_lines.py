"""Every option of every command gets every kind of wrong value.

The options are those of the command's dataclass, as in `onebody COMMAND --help`. A value is refused with exit code 2
and in one line, or accepted. `nonsense`: a number is accepted that is not one, or not finite. `lost`: a file of the run
changed, or a refused command wrote something.
"""

import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, chdir
from pathlib import Path
from typing import Any
from unittest.mock import patch

from onebody.cli import commands, options
from onebody.core.errors import OnebodyError
from onebody.reports import demo, play
from onebody.runs import executors, tuning
from tests.faults.kills import TRAININGS
from tests.faults.watching import Counts, End, command, contents

VALUES = ["0", "-1", "nan", "inf", "1e30", "", "word", "x" * 5000, "ψ\n\x1b[31m", "a\0b", "--", "../..", "None", "1,2"]
NUMBERS = (int, float)
LINES = {
    "list": [],
    "resume": ["run", "--quiet"],
    "adapt": ["run", "--task", "0,0"],
    "evaluate": ["run", "--tasks", "1", "--stages", "0", "--quiet"],
    "compare": ["point", "trpo", "--seeds", "1", "--preset", "smoke", "--tasks", "1", "--stages", "0", "--quiet"],
    "reproduce": ["smt-1a", "--seeds", "1", "--scale", "smoke", "--quiet", "--out", "study"],
    "tune": ["trpo", "point", "--preset", "smoke", "--quiet"],
    "log": ["run"],
    "export": ["run", "--to", "log.npz"],
    "report": ["run"],
    "play": ["run"],
    "demo": ["--quiet", "--out", "demo"],
}
"""a good command line of each command but `train`"""
POSITIONAL = {"--run", "--runs", "--algorithm", "--algorithms", "--family", "--study", "--config"}


class Accepted(OnebodyError):
    """A command would begin its work, which is left out."""


def begins(*_: Any, **__: Any) -> Any:
    raise Accepted("accepted")


def lines() -> Iterator[tuple[str, list[str], str, Any]]:
    """Name, a good command line, an option, and its default."""
    for name, kind in commands.COMMANDS.items():
        if name != "train":
            for option, default in options._defaults(kind):
                if option not in POSITIONAL:
                    yield name, [name, *LINES[name]], option, default
    for algorithm, family in TRAININGS.items():
        typed = [algorithm, family, "--preset", "smoke", "--samples", "0", "--quiet", "--out", "new"]
        for option, default in options._defaults(commands.with_config(typed)):
            if option not in POSITIONAL:
                yield f"train {algorithm}", ["train", *typed], option, default


def campaign(share: float, seed: int = 0) -> Counts:
    """`share`: part of all cases that is run, chosen at random."""
    counts, chance = Counts("command lines"), random.Random(seed)
    counts.facts["options"] = 0
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        for module, name in ((executors, "do_all"), (demo, "demo"), (play, "play"), (tuning, "tune")):
            stack.enter_context(patch.object(module, name, begins))
        whole, here = Path(place) / "whole", Path(place) / "here"
        whole.mkdir()
        with chdir(whole):
            typed = ["train", "trpo", "point", "--preset", "smoke", "--quiet", "--out", "run"]
            assert command(*typed).code == 0
            assert command("evaluate", *LINES["evaluate"]).code == 0
        for name, good, option, default in lines():
            counts.facts["options"] += 1
            for value in [*VALUES, None]:
                if chance.random() > share:
                    continue
                shutil.rmtree(here, ignore_errors=True)
                shutil.copytree(whole, here)
                before = contents(here)
                typed = [*good, option, *([] if value is None else [value])]
                with chdir(here):
                    end = command(*typed)
                _count(counts, f"{name} {option} {value!r:.30}", end, value, default, before, contents(here))
            if counts.facts["options"] % 20 == 0:
                print(f"{name}: {dict(counts.ends)}", file=sys.stderr, flush=True)
    return counts


def _count(
    counts: Counts,
    case: str,
    end: End,
    value: str | None,
    default: Any,
    before: dict[str, bytes | str],
    after: dict[str, bytes | str],
) -> None:
    changed = {path for path in before if after.get(path) != before[path] and path != "run/evaluation.json"}
    accepted = end.code == 0 or "onebody: accepted" in end.err
    if end.hung:
        return counts.add("hang", case)
    if end.code is None or "Traceback" in end.err:
        return counts.add("traceback", f"{case}: {end.err[-300:]}")
    if not accepted and not end.refused:
        return counts.add("traceback", f"{case}: code {end.code}, {end.err[-300:]!r}")
    if changed or (not accepted and after != before):
        return counts.add("lost", f"{case}: {sorted(changed or after.keys() - before.keys())}: {end.err[-200:]!r}")
    number = type(default) in NUMBERS or (isinstance(default, tuple) and default and type(default[0]) in NUMBERS)
    if accepted and number and value in ("nan", "inf", "", "word"):
        return counts.add("nonsense", f"{case} is accepted")
    counts.add("accepted" if accepted else "refused")
