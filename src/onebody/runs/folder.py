"""A run folder: what was asked for (`config.json`) and how to get it back."""

import fcntl
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from onebody.algorithms.protocol import Algorithm
from onebody.core.errors import OnebodyError
from onebody.runs import checkpoint, presets
from onebody.tasks import registry
from onebody.tasks.family import TaskFamily
from onebody.worlds.simulator import Simulator

CONFIG = "config.json"
IDENTITY = ("algorithm", "family", "family_version", "seed", "config")
"""what may not change in a run that goes on"""


def write_config(run: Path, record: dict[str, Any]) -> None:
    """Make `run` the folder of this run; it may hold one of the same configuration already.

    Raises:
        OnebodyError: the folder is a file, or holds something else or another run; nothing is written.
    """
    if run.exists() and not run.is_dir():
        raise OnebodyError(f"{run} is a file; choose another --out")
    beside = run / f".{CONFIG}.partial"  # a kill may have left it
    if run.exists() and any(path != beside for path in run.iterdir()):
        if not (run / CONFIG).exists():
            raise OnebodyError(f"{run} is not empty and is no run folder; choose another --out")
        there = read_config(run)
        if different := [name for name in IDENTITY if there.get(name) != record[name]]:
            listed = ", ".join(_difference(name, there.get(name), record[name]) for name in different)
            raise OnebodyError(f"{run} holds another run ({listed}); choose another --out")
    run.mkdir(parents=True, exist_ok=True)
    beside.write_text(json.dumps(record, indent=1) + "\n")
    os.replace(beside, run / CONFIG)


def read_config(run: Path) -> dict[str, Any]:
    """`config.json` of a run.

    Raises:
        OnebodyError: the folder is no run, or the file is damaged.
    """
    path = run / CONFIG
    if not path.is_file():
        raise OnebodyError(f"{run} is no run folder: it has no {CONFIG}")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise OnebodyError(f"{path} is damaged ({error}); give the command of the training again") from error


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the folder for one training at a time; the lock goes with the process, however it ends.

    Raises:
        OnebodyError: another process trains there.
    """
    with (run / CONFIG).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OnebodyError(f"another process is training in {run}; wait for it or choose another --out") from error
        yield


def family_of(record: dict[str, Any]) -> TaskFamily:
    """The family of a run.

    Raises:
        OnebodyError: there is none of this id, or it has another version by now.
    """
    family = registry.make(record["family"])
    if family.version != record["family_version"]:
        raise OnebodyError(
            f"the run is of {family.id} version {record['family_version']}, this onebody has version {family.version}: "
            f"use onebody {record['versions']['onebody']} or train again"
        )
    return family


def build(record: dict[str, Any]) -> Algorithm[Any]:
    """The algorithm that a run's `config.json` describes, with a simulator that has counted nothing."""
    kind, family = presets.algorithm(record["algorithm"]), family_of(record)
    return kind(family, presets.from_json(kind.Config, record["config"]), Simulator(family))


def initial_state(record: dict[str, Any], algorithm: Algorithm[Any]) -> Any:
    """The state before training; it follows from the seed."""
    return algorithm.init(jax.random.fold_in(jax.random.key(record["seed"]), 0))


def latest(run: Path, state: Any) -> checkpoint.Checkpoint | None:
    """The last whole checkpoint, into the structure of `state`; a damaged one is named on stderr and passed over."""
    return checkpoint.latest(run, state, lambda message: print(f"onebody: {message}", file=sys.stderr))


def versions() -> dict[str, str]:
    """What a result depends on."""
    names = ("onebody", "jax", "jaxlib", "equinox", "optax", "mujoco", "gymnasium", "numpy")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


def _difference(name: str, there: Any, here: Any) -> str:
    """The first place where two configurations differ, as `name is … there and … here`."""
    if isinstance(there, dict) and isinstance(here, dict):
        key = next(key for key in [*there, *here] if there.get(key) != here.get(key))
        return _difference(f"{name}.{key}", there.get(key), here.get(key))
    return f"{name} is {there} there and {here} here"
