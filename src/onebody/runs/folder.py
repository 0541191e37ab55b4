"""A run folder: writes its `config.json` and rebuilds the run from it."""

import json
import os
import platform
import shlex
import sys
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from onebody.algorithms import presets
from onebody.algorithms.protocol import Algorithm
from onebody.core.errors import OnebodyError
from onebody.runs import checkpoint, compilation_cache, configs, consent, documents, leaves, lock, log, logged, outputs
from onebody.runs.outputs import CONFIG
from onebody.tasks import randomized, registry
from onebody.tasks.family import TaskFamily
from onebody.tasks.limited import is_single
from onebody.worlds.simulator import Simulator, Unsimulated

IDENTITY = ("algorithm", "family", "family_version", "randomize", "seed", "data", "config")
NOTHING = type(None)
FIELDS = {
    "algorithm": {str},
    "family": {str},
    "family_version": {int},
    "family_file": {str, NOTHING},
    "seed": {int},
    "config": {dict},
    "preset": {str},
    "samples": {int, NOTHING},
    "evaluate_every": {int},
    "data": {list, NOTHING},
    "randomize": {dict, NOTHING},
    "versions": {dict},
}
"""fields of config.json and their types"""
OPTIONAL = {"family_file", "data", "randomize"}
"""those that may be missing"""


def claim(run: Path, record: dict[str, Any], state: Any) -> tuple[dict[str, Any], checkpoint.Checkpoint | None]:
    """Make `run` the folder of a new run or resume the run in it; returns its record and its last undamaged checkpoint.

    Raises:
        OnebodyError: the folder holds another run, or all of its checkpoints are damaged or missing; nothing is written
            then.
    """
    path = run / CONFIG
    there = _read(path) if path.exists() else {}
    if there:
        check_same(run, there, record)
    last_checkpoint = latest(run, record, state)
    record = record | {"versions": there.get("versions", record["versions"])}
    write_json(path, record)
    return record, last_checkpoint


def identity(record: dict[str, Any]) -> dict[str, Any]:
    """The part of the record that may not change when a run is resumed; each checkpoint holds it, too."""
    return {name: record.get(name) for name in IDENTITY if name != "randomize" or record.get(name)}


def check_same(run: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    """Raises OnebodyError, saying what differs, if the folder holds another run (`there`) than the requested one."""
    there, here = ({name: each.get(name) for name in IDENTITY} | {"data": _logs(each)} for each in (there, here))
    if different := [name for name in IDENTITY if there[name] != here[name]]:
        if {"algorithm", "data"}.intersection(different):
            different = [name for name in different if name != "config"]
        listed = ", ".join(_difference(name, there[name], here[name]) for name in different)
        raise OnebodyError(f"{run} holds another run ({listed}); choose another --out")


def _logs(record: dict[str, Any]) -> str:
    """The logs that a run learns from, by the beginnings of their checksums."""
    return " and ".join(each["sha256"][:12] for each in record.get("data") or ()) or "none"


def read_config(run: Path) -> dict[str, Any]:
    """`config.json` of a run.

    Raises:
        OnebodyError: the folder is not a run folder, or the file is damaged.
    """
    path = run / CONFIG
    if not path.is_file():
        raise OnebodyError(f"{run} is not a run folder: it has no {CONFIG}")
    if record := _read(path):
        return record
    raise OnebodyError(f"{path} is damaged; repeat the training command with --out {run}")


def _read(path: Path) -> dict[str, Any]:
    """The record in a config.json; empty if the file is damaged."""
    try:
        record = documents.parse(path.read_bytes())
    except ValueError:
        return {}
    if not isinstance(record, dict) or not record.keys() >= FIELDS.keys() - OPTIONAL:
        return {}
    if any(type(record.get(name)) not in kinds for name, kinds in FIELDS.items()):
        return {}
    if not all(isinstance(each, dict) and isinstance(each.get("sha256"), str) for each in record.get("data") or ()):
        return {}
    if not all(configs.is_range(each) for each in (record.get("randomize") or {}).values()):
        return {}
    record["versions"].setdefault("onebody", "of an unknown version")
    return record if all(isinstance(version, str) for version in record["versions"].values()) else {}


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a JSON file completely or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def locked(run: Path, wait: float = 0.0) -> Iterator[Callable[[], None]]:
    """Lock a folder for one training run; creates it if there is none.

    Args and yields: as `lock.held`.

    Raises:
        OnebodyError: another process is training there, the path is a file or a folder that is not a run folder, or a
            part of the run is of another kind (`outputs.check_parts`).
    """
    if run.exists() and not run.is_dir():
        raise OnebodyError(f"{run} is a file; choose another --out")
    own = (lock.NAME, f".{CONFIG}.partial")  # a kill may leave only these
    if run.exists() and not (run / CONFIG).exists() and any(not path.name.startswith(own) for path in run.iterdir()):
        raise OnebodyError(f"{run} is not empty and is not a run folder; choose another --out")
    outputs.check_parts(run)
    run.mkdir(parents=True, exist_ok=True)
    with lock.held(run, wait) as confirm:
        yield confirm


def family_of(record: dict[str, Any]) -> TaskFamily:
    """The family of a run; if it is not registered, the user's file that registers it is run.

    Raises:
        OnebodyError: there is no family of this id, its file is missing, is not known to be the user's own (`trust`) or
            fails, or its version has changed.
    """
    name, file = record["family"], record.get("family_file")
    if name in registry.families():
        family = registry.families()[name]
    else:
        if file is None or not Path(file).is_file():
            missing = "" if file is None else f", and there is no file {file}"
            raise OnebodyError(
                f"the run's family {name} is not registered{missing}: call onebody.register first, or give the file "
                f'that does so as "family_file" in the run\'s {CONFIG}'
            )
        file = Path(file).resolve()
        if not consent.is_given(file):
            raise OnebodyError(
                f"the run's family {name!r} needs the Python file {str(file)!r}, which you have not run before as it "
                "is: read it and, if you trust it, add --trust (in Python: trust=True)"
            )
        print(f"onebody: running {str(file)!r}, which registers {name!r}", file=sys.stderr, flush=True)
        family = registry.of_file(file, name)
    if family.version != record["family_version"]:
        raise OnebodyError(
            f"the run used version {record['family_version']} of {family.id}, but it is now version {family.version}: "
            f"use {file or 'onebody ' + record['versions']['onebody']} as it was when the run started, or train again"
        )
    if ranges := record.get("randomize"):
        return randomized.in_training(family, tuple((name, *values) for name, values in ranges.items()))
    return family


def trust(run: Path) -> None:
    """Consent to running the Python file that registers the run's family, from now on and for this content."""
    file = read_config(run).get("family_file")
    if file is not None and Path(file).is_file():
        consent.give(Path(file).resolve())


def build(record: dict[str, Any], *, tested: bool = False, simulator: type[Simulator] = Simulator) -> Algorithm[Any]:
    """The algorithm that a run's `config.json` describes, with a new simulator.

    `tested`: on the family for adaptation and evaluation, which may differ from that of training. What is compiled from
    now on is kept (`compilation_cache`).
    """
    compilation_cache.enable()
    name = record["algorithm"]
    if name not in presets.names():
        raise OnebodyError(
            f"the run's algorithm is {name!r}, which no installed package provides: install the one it is of"
        )
    kind, family = presets.algorithm(name), family_of(record)
    family = family.tested if tested else family
    try:
        config = configs.from_json(typing.get_type_hints(kind)["config"], record["config"])
    except (KeyError, TypeError) as error:
        written, reason = record["versions"]["onebody"], " ".join(map(str, error.args))
        raise OnebodyError(f"the configuration (of onebody {written}) does not fit {name} here: {reason}") from error
    presets.check(name, config)
    return kind(family, config, simulator(family))


def check_fields(record: dict[str, Any], algorithm: Algorithm[Any]) -> None:
    """Raises OnebodyError if a run's configuration lacks fields that the algorithm's has now.

    Resuming it would use their defaults, with which the run may not have been started.
    """
    if _names(configs.to_json(algorithm.config)) != _names(record["config"]):
        raise OnebodyError(
            f"the run was started by onebody {record['versions']['onebody']} with other configuration fields: resume "
            "it with that version, or train again"
        )


def initial_state(record: dict[str, Any], algorithm: Algorithm[Any]) -> Any:
    """The state before training, which depends only on the seed; `algorithm` must be on the family of training.

    That of a run that learns from logs is without them, and made without a step or reset of the simulator. So is that
    of a single environment, such as a robot, which lacks its initial states.
    Raises OnebodyError if the state holds what a checkpoint could not.
    """
    if record.get("data") or is_single(algorithm.family.body):
        algorithm = build(record, simulator=Unsimulated)
    state = algorithm.init(jax.random.fold_in(jax.random.key(record["seed"]), 0))
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if not leaves.is_data(leaf) and not callable(leaf):
            name = jax.tree_util.keystr(path) or "it"
            raise OnebodyError(
                f"the state of {record['algorithm']} cannot be saved: {name} is a {type(leaf).__name__}, and neither "
                "an array nor a pytree of arrays, such as an eqx.Module"
            )
    return state


def latest(run: Path, record: dict[str, Any], state: Any) -> checkpoint.Checkpoint | None:
    """The last undamaged checkpoint, in the structure of `state`; damaged ones are reported on stderr and skipped.

    Raises:
        OnebodyError: all checkpoints are damaged, it belongs to another run than the record, or there are only metrics.
    """
    last_checkpoint = checkpoint.latest(run, state, lambda message: print(f"onebody: {message}", file=sys.stderr))
    if last_checkpoint is not None:
        check_same(run, last_checkpoint.facts["identity"], record)
    elif lines := log.read(run):
        raise OnebodyError(
            f"{run} has the metrics of {len(lines)} iteration(s), but its checkpoints are missing; "
            "train again with another --out"
        )
    return last_checkpoint


def untrained(record: dict[str, Any]) -> Any:
    """The state before training, on the family of training."""
    return initial_state(record, build(record))


def structure(record: dict[str, Any]) -> Any:
    """The state of a run without its numbers: each array is a `jax.ShapeDtypeStruct`.

    Where an algorithm's `init` cannot be traced, because it needs the numbers, it is the state before training.
    """
    try:
        return eqx.filter_eval_shape(build(record, simulator=Unsimulated).init, jax.random.key(0))
    except jax.errors.JAXTypeError:
        return untrained(record)


def last(run: Path, record: dict[str, Any]) -> checkpoint.Checkpoint:
    """As `latest`, but raises OnebodyError if there is no checkpoint yet."""
    last_checkpoint = latest(run, record, structure(record))
    if last_checkpoint is None:
        raise OnebodyError(f"{run} has no checkpoint yet; train it with: onebody resume {run}")
    return last_checkpoint


def command(record: dict[str, Any]) -> str:
    """The command line that repeats the training run, with the options that differ from its preset.

    If an older onebody with other configuration fields trained it, a comment says so instead of those options.
    """
    family = record["family"] if record.get("family_file") is None else f"{record['family_file']}:{record['family']}"
    words = ["onebody", "train", record["algorithm"], family, "--preset", record["preset"], "--seed", record["seed"]]
    words += ["--samples", record["samples"]] if record["samples"] is not None else []
    words += ["--evaluate-every", record["evaluate_every"]] if record["evaluate_every"] else []
    ranges = (f"{name}={low}:{high}" for name, (low, high) in (record.get("randomize") or {}).items())
    words += ["--randomize", ",".join(ranges)] if record.get("randomize") else []
    words += [word for each in record.get("data") or () for word in ("--data", each["source"])]
    try:
        config = presets.preset(record["algorithm"], record["preset"], family_of(record))
        preset = configs.to_json(logged.settings(record["algorithm"], config) if record.get("data") else config)
    except OnebodyError:
        preset = {}
    if same_fields := _names(preset) == _names(record["config"]):
        words += _options("--config.", preset, record["config"])
    note = "" if same_fields else f"  # onebody {record['versions']['onebody']}, with the settings in its config.json"
    return shlex.join(map(str, words)) + note


def _names(config: Any) -> Any:
    """Names of the fields of a nested configuration, without their values."""
    return {name: _names(value) for name, value in config.items()} if isinstance(config, dict) else None


def _options(prefix: str, preset: dict[str, Any], config: dict[str, Any]) -> Iterator[Any]:
    """Command-line options for the settings that differ from the preset."""
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
    """Versions of Python and of the packages that a result depends on."""
    names = ("onebody", "jax", "jaxlib", "equinox", "optax", "mujoco", "gymnasium", "numpy")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


def note_other_versions(record: dict[str, Any]) -> None:
    """Warn on stderr about packages whose version has changed since the run started."""
    there = record["versions"]
    if changed := [
        f"{name} {there[name]}, now {new}" for name, new in versions().items() if there.get(name, new) != new
    ]:
        print(f"onebody: the run started with {', '.join(changed)}; its results may now differ", file=sys.stderr)


def _difference(name: str, there: Any, here: Any) -> str:
    """The first field in which two configurations differ, as `name is … there and … here`."""
    if isinstance(there, dict) and isinstance(here, dict):
        key = next(key for key in [*there, *here] if there.get(key) != here.get(key))
        return _difference(f"{name}.{key}", there.get(key), here.get(key))
    return f"{name} is {there} there and {here} here"
