"""Checkpoints: a state on disk, as data and never as code, whole or not at all.

    RUN/checkpoints/000012/state.safetensors   every array and number of the state, named by its path in the pytree
                           checkpoint.json     iteration, facts, shape and dtype of each array, checksums

A checkpoint is written into a hidden folder beside its place and renamed into it, so a kill, a power cut or a full
disk leaves the one before it as it was. The same state gives the same bytes.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.numpy
from jaxtyping import PyTree

from onebody.core.errors import OnebodyError
from onebody.runs import leaves

FORMAT = 1
STATE, RECORD = "state.safetensors", "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint read back: `state` has the structure of the `like` it was read with."""

    iteration: int
    state: Any
    facts: dict[str, Any]
    path: Path


class _Damaged(Exception):
    """What is wrong with one checkpoint folder."""


def save(run: Path, iteration: int, state: PyTree, facts: Mapping[str, Any], keep: int = 2) -> Path:
    """Write `state` and the JSON-able `facts` as the newest checkpoint of `run`; returns its folder.

    Only when it is in place are others removed: all but the newest `keep` (at least 1), and any of a later iteration,
    which can only be there because they were passed over as damaged. Saving an iteration again replaces it.

    Raises OnebodyError when the disk is full or refuses; the checkpoints already there are not touched.
    """
    folder = run / "checkpoints"
    place = folder / f"{iteration:06d}"
    partial, aside = folder / f".{place.name}.partial", folder / f".{place.name}.old"
    arrays = safetensors.numpy.save(leaves.to_arrays(state))
    record = {
        "format": FORMAT,
        "onebody": importlib.metadata.version("onebody"),
        "iteration": iteration,
        "facts": dict(facts),
        "arrays": leaves.shapes(state),
        "state_sha256": hashlib.sha256(arrays).hexdigest(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left_over in folder.glob(".*.partial"):
            shutil.rmtree(left_over)
        partial.mkdir()
        (partial / STATE).write_bytes(arrays)
        (partial / RECORD).write_text(json.dumps({**record, "sha256": _checksum(record)}, indent=1))
        for written in (partial / STATE, partial / RECORD, partial):
            _sync(written)
        if place.exists():
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(place, aside)  # killed here, `latest` still finds it under this name
        os.rename(partial, place)
        _sync(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        before = _found(folder)
        untouched = f"the last one, {before[0][1]}, is untouched" if before else "there is none before it"
        raise OnebodyError(
            f"cannot save a checkpoint of {run} ({error.strerror or error}); {untouched}; make room, then go on with: "
            f"onebody resume {run}"
        ) from error
    found = _found(folder)
    kept = list({at: path for at, path in reversed(found) if at <= iteration}.values())[-max(keep, 1) :]
    for _, path in found:
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)
    return place


def latest(run: Path, like: PyTree, on_damage: Callable[[str], None]) -> Checkpoint | None:
    """The newest whole checkpoint of `run`, or None when there is none at all.

    `like` has the structure, shapes and dtypes of the saved state; its leaves that are no data (functions) are kept.
    Each damaged checkpoint that is passed over is named in one line through `on_damage`.

    Raises OnebodyError when every checkpoint is damaged, or when a whole one does not fit `like`.
    """
    damages: list[tuple[Path, str]] = []
    for _, path in _found(run / "checkpoints"):
        try:
            record = _verified_record(path)
        except _Damaged as damage:
            damages.append((path, str(damage)))
            continue
        _check_fits(path, record, leaves.shapes(like))
        for damaged, reason in damages:
            on_damage(f"checkpoint {damaged} is damaged ({reason}); using {path.name}")
        with safetensors.safe_open(path / STATE, framework="np") as file:  # one array in memory at a time
            state = leaves.from_arrays(file.get_tensor, like)
        return Checkpoint(record["iteration"], state, record["facts"], path)
    if not damages:
        return None
    listed = ", ".join(f"{path.name} ({reason})" for path, reason in damages)
    raise OnebodyError(
        f"no checkpoint in {run / 'checkpoints'} is whole: {listed}; put a good copy back, or train again with another "
        "--out"
    )


def _verified_record(path: Path) -> dict[str, Any]:
    """checkpoint.json, when it and the state beside it have their checksums; raises _Damaged."""
    try:
        record = json.loads((path / RECORD).read_bytes())
        if not isinstance(record, dict) or record.pop("sha256", None) != _checksum(record):
            raise _Damaged(f"checksum of {RECORD} differs")
        with (path / STATE).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != record["state_sha256"]:
                raise _Damaged("checksum differs")
    except OSError as error:
        raise _Damaged(f"{Path(error.filename or path).name}: {error.strerror}") from error
    except ValueError as error:
        raise _Damaged(f"{RECORD} is not JSON") from error
    return record


def _check_fits(path: Path, record: dict[str, Any], here: dict[str, str]) -> None:
    """Raises OnebodyError that says what differs, when an undamaged checkpoint is not of this state."""
    writer = f"checkpoint {path} was written by onebody {record['onebody']}"
    if record["format"] != FORMAT:
        raise OnebodyError(
            f"{writer} in format {record['format']}, and this one reads format {FORMAT}: use that onebody"
        )
    there: dict[str, str] = record["arrays"]
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            raise OnebodyError(
                f"{writer} with another configuration: state{name} is {there.get(name, 'missing')} in it and "
                f"{here.get(name, 'missing')} here"
            )


def _found(folder: Path) -> list[tuple[int, Path]]:
    """Iteration and folder, newest first; one that was moved aside comes after the one that replaced it."""
    matches = [(re.fullmatch(r"(\d+)|\.(\d+)\.old", path.name), path) for path in folder.glob("*")]
    found = [(int(match[1] or match[2]), match[1] is not None, path) for match, path in matches if match]
    return [(iteration, path) for iteration, _, path in sorted(found, reverse=True)]


def _checksum(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()


def _sync(path: Path) -> None:
    """Force a file or folder out to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
