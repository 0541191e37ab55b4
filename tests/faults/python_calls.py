"""Every argument of the public functions and classes of `onebody` gets every kind of wrong value.

A value is refused by an OnebodyError of one line, or accepted. A value of a type that the annotations exclude may also
raise a TypeError that names it, as in any Python library. Everything else is a `traceback`; a number that is not finite
and is accepted is `nonsense`. Types are not checked here, as for a user, so this part must not run within pytest.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from tests.faults.watching import Counts, End, attempt, contents

import onebody
from onebody.core.errors import OnebodyError

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
NUMBERS = {"nan", "inf", "array of nan"}


def calls(run: Path, policy: Path) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Function and good arguments, by name."""
    point, act = onebody.make("point/goal"), onebody.load_policy(policy)
    training = {"algorithm": "trpo", "family": "point/goal", "out": "new", "seed": 0, "preset": "smoke", "config": None}
    training |= {"samples": 0, "evaluate_every": 0, "test": onebody.MetaTest(), "quiet": True, "wait": 0.0}
    feature = {"source": "qpos", "index": None}
    return {
        "train": (onebody.train, training),
        "resume": (onebody.resume, {"run": run, "quiet": True}),
        "adapt": (onebody.adapt, {"run": run, "task": (0.5, 0.0), "stages": 0, "refine": 0.0, "reward": None}),
        "evaluate": (onebody.evaluate, {"run": run, "test": onebody.MetaTest(tasks=1, stages=0)}),
        "MetaTest": (onebody.MetaTest, {"tasks": 1, "stages": 0, "grid": 2, "beyond": 1.0, "training_stages": 0}),
        "make": (onebody.make, {"name": "point/goal"}),
        "preset": (onebody.preset, {"algorithm": "trpo", "name": "smoke"}),
        "load_policy": (onebody.load_policy, {"path": policy}),
        "policy": (act, {"observation": np.zeros(2)}),
        "Box": (onebody.Box, {"low": (-1.0,), "high": (1.0,)}),
        "Disk": (onebody.Disk, {"radius": 1.0}),
        "Arc": (onebody.Arc, {"radius": 1.0}),
        "FiniteSet": (onebody.FiniteSet, {"tasks": ((0.0,), (1.0,))}),
        "register": (registered, {name: getattr(point, name) for name in ("id", "horizon", "space", "reward", "body")}),
    } | {"Feature": (onebody.Feature, {"field": "qpos"} if "field" in _parameters(onebody.Feature) else feature)}


def registered(**fields: Any) -> Any:
    import dataclasses

    fields = {"id": f"fuzz/{len(str(fields))}"} | ({} if fields["id"] == "point/goal" else {"id": fields["id"]}) | {
        name: value for name, value in fields.items() if name != "id"
    }
    return onebody.register(dataclasses.replace(onebody.make("point/goal"), **fields))


def _parameters(function: Any) -> set[str]:
    import inspect

    return set(inspect.signature(function).parameters)


def cases(run: Path, policy: Path) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    for name, (function, good) in calls(run, policy).items():
        known = {key: value for key, value in good.items() if key in _parameters(function) or name == "register"}
        for argument in known:
            for kind, value in VALUES.items():
                yield f"{name}({argument}: {kind})", kind, lambda f=function, k=known, a=argument, v=value: f(**k | {a: v})


def campaign() -> Counts:
    counts = Counts("Python calls")
    with tempfile.TemporaryDirectory() as place, chdir(place):
        run, policy = Path(place) / "run", Path(place) / "policy.npz"
        onebody.train("trpo", "point/goal", preset="smoke", out=run, quiet=True)
        onebody.adapt(run, (0.5, 0.0)).save(policy)
        onebody.evaluate(run, onebody.MetaTest(tasks=1, stages=0))
        before = contents(run)
        for case, kind, call in cases(run, policy):
            _count(counts, case, kind, call)
            after = contents(run)
            if any(after.get(path) != before[path] for path in before):
                counts.add("lost", case)
                before = after
            if counts.ends.total() % 100 == 0:
                print(f"Python calls: {dict(counts.ends)}", file=sys.stderr, flush=True)
    return counts


def _count(counts: Counts, case: str, kind: str, call: Callable[[], Any]) -> None:
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
        counts.add("nonsense" if kind in NUMBERS else "accepted", f"{case} is accepted")
    elif isinstance(raised[0], OnebodyError):
        counts.add("refused" if "\n" not in str(raised[0]) else "traceback", f"{case}: {raised[0]}")
    elif isinstance(raised[0], TypeError) and "\n" not in str(raised[0]):
        counts.add("type error")
    else:
        counts.add("traceback", f"{case}: {end.err[:300]}")
