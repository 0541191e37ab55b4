"""Every argument of the public functions and classes of `onebody` gets every kind of wrong value.

A value is refused by an OnebodyError of one line, or accepted. As in any Python library, a value of a type that the
annotations exclude may raise a TypeError, and a path that cannot exist an error of the system. Everything else is a
`traceback`; a number that is not finite and is accepted for a number is `nonsense`. Types are not checked here, as for
a user, so this part must not run within pytest.
"""

import dataclasses
import functools
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import onebody
from onebody.core.errors import OnebodyError
from tests.faults.watching import Counts, End, attempt, contents

VALUES: dict[str, Any] = {
    "None": None,
    "0": 0,
    "-1": -1,
    "nan": float("nan"),
    "inf": float("inf"),
    "1e30": 1e30,
    "2.5": 2.5,
    "2**70": 2**70,
    "empty text": "",
    "a word": "word",
    "NUL": "a\0b",
    "long": "x" * 5000,
    "bytes": b"x",
    "empty list": [],
    "list": [1.0, 2.0],
    "dictionary": {},
    "array": np.ones(3),
    "array of nan": jnp.full(2, jnp.nan),
    "object": object(),
    "function": len,
    "class": int,
}
FIELDS = ("horizon", "space", "reward", "body")
NUMBERS = {"nan", "inf", "array of nan"}
UNLIMITED = {"wait": "inf"}
"""arguments that may be infinite"""


def calls(run: Path, policy: Path) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Function and good arguments, by name."""
    point, act = onebody.make("point/goal"), onebody.load_policy(policy)
    training = {"algorithm": "trpo", "family": "point/goal", "out": "new", "seed": 0, "preset": "smoke", "config": None}
    training |= {"samples": 0, "evaluate_every": 0, "test": onebody.MetaTest(), "wait": 0.0}
    return {
        "train": (onebody.train, training),
        "resume": (onebody.resume, {"run": run}),
        "adapt": (onebody.adapt, {"run": run, "task": (0.5, 0.0), "stages": 0, "refine": 0.0, "reward": None}),
        "evaluate": (onebody.evaluate, {"run": run, "test": onebody.MetaTest(tasks=1, stages=0)}),
        "MetaTest": (onebody.MetaTest, {"tasks": 1, "stages": 0, "grid": 2, "beyond": 1.0, "training_stages": 0}),
        "make": (onebody.make, {"name": "point/goal"}),
        "preset": (onebody.preset, {"algorithm": "trpo", "name": "smoke"}),
        "load_policy": (onebody.load_policy, {"path": policy}),
        "policy": (act, {"observation": np.zeros(2)}),
        "Box": (onebody.Box, {"low": (-1.0,), "high": (1.0,)}),
        "Disk": (onebody.Disk, {"radius": 1.0}),
        "Arc": (onebody.Arc, {"angle": 1.0}),
        "FiniteSet": (onebody.FiniteSet, {"tasks": ((0.0,), (1.0,))}),
        "register": (registered, {"id": "fuzz/point"} | {name: getattr(point, name) for name in FIELDS}),
    }


def registered(**fields: Any) -> Any:
    return onebody.register(dataclasses.replace(onebody.make("point/goal"), **fields))


def cases(run: Path, policy: Path) -> Iterator[tuple[str, bool, Callable[[], Any]]]:
    """Each with its name, and whether a number that is not finite is given for a number."""
    for name, (function, good) in calls(run, policy).items():
        for argument, usual in good.items():
            for kind, value in VALUES.items():
                wrong = kind in NUMBERS and isinstance(usual, int | float | tuple) and kind != UNLIMITED.get(argument)
                call = functools.partial(_called, function, good | {argument: value})
                yield f"{name}({argument}: {kind})", wrong, call


def _called(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    function(**arguments)


def campaign() -> Counts:
    counts = Counts("Python calls")
    with tempfile.TemporaryDirectory() as place, chdir(place):
        run, policy = Path(place) / "run", Path(place) / "policy.npz"
        onebody.train("trpo", "point/goal", preset="smoke", out=run, quiet=True)
        onebody.adapt(run, (0.5, 0.0)).save(policy)
        onebody.evaluate(run, onebody.MetaTest(tasks=1, stages=0))
        before = contents(run)
        for case, wrong, call in cases(run, policy):
            _count(counts, case, wrong, call)
            after = contents(run)
            if any(after.get(path) != before[path] for path in before):
                counts.add("lost", case)
                before = after
            if counts.ends.total() % 100 == 0:
                print(f"Python calls: {dict(counts.ends)}", file=sys.stderr, flush=True)
    return counts


def _count(counts: Counts, case: str, wrong: bool, call: Callable[[], Any]) -> None:
    raised: list[BaseException] = []

    def function() -> None:
        try:
            call()
        except Exception as error:
            raised.append(error)
            raise

    end: End = attempt(function)
    if end.hung:
        counts.add("hang", case)
    elif not raised and end.code != 0:
        counts.add("traceback", f"{case}: {end.code} {end.err}")
    elif not raised:
        counts.add("nonsense" if wrong else "accepted", f"{case} is accepted")
    elif isinstance(raised[0], OnebodyError):
        counts.add("refused" if "\n" not in str(raised[0]) else "traceback", f"{case}: {raised[0]}")
    elif isinstance(raised[0], TypeError):
        counts.add("type error")
    elif isinstance(raised[0], OSError) or str(raised[0]) == "embedded null byte":
        counts.add("error of the system")
    else:
        counts.add("traceback", f"{case}: {end.err[:300]}")
