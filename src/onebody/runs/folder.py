"""A run folder: what was asked for (`config.json`) and how to get it back."""

import fcntl
import json
import os
import platform
import shlex
import sys
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from onebody.algorithms import presets
from onebody.algorithms.protocol import Algorithm
from onebody.core.errors import OnebodyError
from onebody.runs import checkpoint, configs, log
from onebody.tasks import registry
from onebody.tasks.family import TaskFamily
from onebody.worlds.simulator import Simulator

CONFIG = "config.json"
LOCK = ".lock"
IDENTITY = ("algorithm", "family", "family_version", "seed", "config")
FIELDS = {*IDENTITY, "preset", "samples", "evaluate_every", "versions"}
"""of config.json"""


def claim(run: Path, record: dict[str, Any], state: Any) -> tuple[dict[str, Any], checkpoint.Checkpoint | None]:
    """Make `run` the folder of this run, new or one to go on with; its record and last whole checkpoint.

    Raises:
        OnebodyError: the folder holds another run, or none of the checkpoints that it had is whole or there; nothing
            is written.
    """
    path = run / CONFIG
    there = _read(path) if path.exists() else {}
    if there:
        check_same(run, there, record)
    found = latest(run, record, state)
    record = record | {"versions": there.get("versions", record["versions"])}
    write_json(path, record)
    return record, found


def identity(record: dict[str, Any]) -> dict[str, Any]:
    """What may not change in a run that goes on; each checkpoint has it too."""
    return {name: record[name] for name in IDENTITY}


def check_same(run: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    """Raises OnebodyError that says what differs, when what the folder holds is not the run that is asked for."""
    if different := [name for name in IDENTITY if there.get(name) != here[name]]:
        if "algorithm" in different:
            different = [name for name in different if name != "config"]
        listed = ", ".join(_difference(name, there.get(name), here[name]) for name in different)
        raise OnebodyError(f"{run} holds another run ({listed}); choose another --out")


def read_config(run: Path) -> dict[str, Any]:
    """`config.json` of a run.

    Raises:
        OnebodyError: the folder is no run, or the file is damaged.
    """
    path = run / CONFIG
    if not path.is_file():
        raise OnebodyError(f"{run} is no run folder: it has no {CONFIG}")
    if record := _read(path):
        return record
    raise OnebodyError(f"{path} is damaged; give the command of the training again, with --out {run}")


def _read(path: Path) -> dict[str, Any]:
    """The record in a config.json, or nothing when it is damaged."""
    try:
        record = json.loads(path.read_text())
    except ValueError:
        return {}
    return record if isinstance(record, dict) and record.keys() >= FIELDS else {}


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Whole or not at all."""
    beside = path.with_name(f".{path.name}.partial")
    with beside.open("w") as file:
        file.write(json.dumps(record) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a folder for one training; it is made if there is none. The lock goes with the process, however it ends.

    Raises:
        OnebodyError: another process trains there, or it is a file or the folder of something else.
    """
    if run.exists() and not run.is_dir():
        raise OnebodyError(f"{run} is a file; choose another --out")
    own = {LOCK, f".{CONFIG}.partial"}  # a kill may have left these alone
    if run.exists() and not (run / CONFIG).exists() and any(path.name not in own for path in run.iterdir()):
        raise OnebodyError(f"{run} is not empty and is no run folder; choose another --out")
    run.mkdir(parents=True, exist_ok=True)
    with (run / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OnebodyError(f"another process is training in {run}; wait for it or choose another --out") from error
        yield


def family_of(record: dict[str, Any]) -> TaskFamily:
    """The family of a run; a user's file that it came from is run if need be.

    Raises:
        OnebodyError: there is none of this id, its file is gone or fails, or it has another version by now.
    """
    name, file = record["family"], record.get("family_file")
    if name not in registry.families():
        if file is None or not Path(file).is_file():
            gone = "" if file is None else f", and there is no file {file}"
            raise OnebodyError(
                f"the run is of {name}, which is not known here{gone}: call onebody.register first, or name the file "
                f'that does as "family_file" in the run\'s {CONFIG}'
            )
        name = f"{file}:{name}"
    family = registry.make(name)
    if family.version != record["family_version"]:
        raise OnebodyError(
            f"the run is of {family.id} version {record['family_version']}, and here it has version {family.version}: "
            f"use {file or 'onebody ' + record['versions']['onebody']} as it was when the run began, or train again"
        )
    return family


def build(record: dict[str, Any], *, tested: bool = False) -> Algorithm[Any]:
    """The algorithm that a run's `config.json` describes, with a simulator that has counted nothing.

    `tested`: on what adaptation and evaluation meet, where the family says that it is not what training meets.
    """
    kind, family = presets.algorithm(record["algorithm"]), family_of(record)
    family = family.tested if tested else family
    try:
        config = configs.from_json(typing.get_type_hints(kind)["config"], record["config"])
    except (KeyError, TypeError) as error:
        written = record["versions"]["onebody"]
        raise OnebodyError(f"the configuration was written by onebody {written}, with other fields: {error}") from error
    presets.check(record["algorithm"], config)
    return kind(family, config, Simulator(family))


def check_fields(record: dict[str, Any], algorithm: Algorithm[Any]) -> None:
    """Raises OnebodyError where a run's settings are not all that the algorithm has: it would go on as another one."""
    if _names(configs.to_json(algorithm.config)) != _names(record["config"]):
        raise OnebodyError(
            f"the run was begun by onebody {record['versions']['onebody']} as it was then, with fewer settings: go on "
            "with that one, or train again"
        )


def initial_state(record: dict[str, Any], algorithm: Algorithm[Any]) -> Any:
    """The state before training; it follows from the seed. The algorithm is on the family that is trained on."""
    return algorithm.init(jax.random.fold_in(jax.random.key(record["seed"]), 0))


def latest(run: Path, record: dict[str, Any], state: Any) -> checkpoint.Checkpoint | None:
    """The last whole checkpoint, into the structure of `state`; a damaged one is named on stderr and passed over.

    Raises:
        OnebodyError: none is whole, it is of another run than the record, or there are metrics alone.
    """
    found = checkpoint.latest(run, state, lambda message: print(f"onebody: {message}", file=sys.stderr))
    if found is not None:
        check_same(run, found.facts["identity"], record)
    elif lines := log.read(run):
        raise OnebodyError(
            f"{run} has the metrics of {len(lines)} iteration(s), but its checkpoints are gone; "
            "train again with another --out"
        )
    return found


def untrained(record: dict[str, Any]) -> Any:
    """The state before training, on the family that is trained on."""
    return initial_state(record, build(record))


def last(run: Path, record: dict[str, Any], structure: Any) -> checkpoint.Checkpoint:
    """As `latest`. Raises OnebodyError, too, where there is no checkpoint yet."""
    found = latest(run, record, structure)
    if found is None:
        raise OnebodyError(f"{run} has no checkpoint yet; train it with: onebody resume {run}")
    return found


def command(record: dict[str, Any]) -> str:
    """What to type for the same training, with the settings that differ from its preset.

    Of an older onebody, whose presets and settings were others, it says so in place of them.
    """
    family = record["family"] if record.get("family_file") is None else f"{record['family_file']}:{record['family']}"
    words = ["onebody", "train", record["algorithm"], family, "--preset", record["preset"], "--seed", record["seed"]]
    words += ["--samples", record["samples"]] if record["samples"] is not None else []
    words += ["--evaluate-every", record["evaluate_every"]] if record["evaluate_every"] else []
    try:
        preset = configs.to_json(presets.preset(record["algorithm"], record["preset"], family_of(record)))
    except OnebodyError:
        preset = {}
    if of_today := _names(preset) == _names(record["config"]):
        words += _options("--config.", preset, record["config"])
    note = "" if of_today else f"  # by onebody {record['versions']['onebody']}, with the settings of its config.json"
    return shlex.join(map(str, words)) + note


def _names(config: Any) -> Any:
    """Of nested settings."""
    return {name: _names(value) for name, value in config.items()} if isinstance(config, dict) else None


def _options(prefix: str, preset: dict[str, Any], config: dict[str, Any]) -> Iterator[Any]:
    """Words for the settings that differ."""
    for name, value in config.items():
        if value == preset[name]:
            continue
        option = prefix + name.replace("_", "-")
        if isinstance(value, dict):
            yield from _options(f"{option}.", preset[name], value)
        elif isinstance(value, bool):
            yield option if value else f"{prefix}no-{name.replace('_', '-')}"
        else:
            yield from (option, *(value if isinstance(value, list) else [value]))


def versions() -> dict[str, str]:
    """What a result depends on."""
    names = ("onebody", "jax", "jaxlib", "equinox", "optax", "mujoco", "gymnasium", "numpy")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


def note_other_versions(record: dict[str, Any]) -> None:
    """Say on stderr what has another version than when the run began: the bytes it gives may differ from here on."""
    here = versions()
    if changed := [
        f"{name} {old}, now {here.get(name)}" for name, old in record["versions"].items() if old != here[name]
    ]:
        print(f"onebody: the run began with {', '.join(changed)}; its bytes may differ from here on", file=sys.stderr)


def _difference(name: str, there: Any, here: Any) -> str:
    """The first place where two configurations differ, as `name is … there and … here`."""
    if isinstance(there, dict) and isinstance(here, dict):
        key = next(key for key in [*there, *here] if there.get(key) != here.get(key))
        return _difference(f"{name}.{key}", there.get(key), here.get(key))
    return f"{name} is {there} there and {here} here"
