"""Checkpoints: a state on disk, as data and never as code, written completely or not at all.

    RUN/checkpoints/000012/state.safetensors   every array and number of the state, named by its path in the pytree
                           checkpoint.json     iteration, facts, shape and dtype of each array, checksums

A checkpoint is written to a hidden folder and then renamed, so a kill, a power cut or a full disk leaves the previous
checkpoint as it was. The same state gives the same bytes.
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
from onebody.runs import documents, leaves

FORMAT = 1
STATE, RECORD = "state.safetensors", "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint read from disk; `state` has the structure of the `like` that it was read with."""

    iteration: int
    state: Any
    facts: dict[str, Any]
    path: Path


class _Damaged(Exception):
    """One checkpoint folder is damaged; the message says how."""


def save(run: Path, iteration: int, state: PyTree, facts: Mapping[str, Any], keep: int = 2) -> Path:
    """Write `state` and the JSON-serialisable `facts` as the newest checkpoint of `run`; returns its folder.

    Other checkpoints are removed only after that: all but the newest `keep` (at least 1), and any of a later iteration,
    which can only exist because they were damaged and skipped. Saving an iteration again replaces it.

    Raises OnebodyError when the disk is full or not writable; existing checkpoints are then left as they were.
    """
    folder = run / "checkpoints"
    path = folder / f"{iteration:06d}"
    partial, replaced = folder / f".{path.name}.partial", folder / f".{path.name}.old"
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
        for leftover in folder.glob(".*.partial"):
            shutil.rmtree(leftover)
        partial.mkdir()
        (partial / STATE).write_bytes(arrays)
        (partial / RECORD).write_text(json.dumps({**record, "sha256": _checksum(record)}, indent=1))
        for written in (partial / STATE, partial / RECORD, partial):
            _sync(written)
        if path.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            os.rename(path, replaced)  # after a kill at this point, `latest` still finds it under this name
        os.rename(partial, path)
        _sync(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        existing = _listed(folder)
        last = f"the last one, {existing[0][1]}, is unchanged" if existing else "there is no earlier one"
        raise OnebodyError(
            f"cannot save a checkpoint of {run} ({error.strerror or error}); {last}; free some disk space, then: "
            f"onebody resume {run}"
        ) from error
    existing = _listed(folder)
    kept = list({at: each for at, each in reversed(existing) if at <= iteration}.values())[-max(keep, 1) :]
    for _, each in existing:
        if each not in kept:
            shutil.rmtree(each, ignore_errors=True)
    return path


def digest(state: PyTree) -> str:
    """Checksum of a state, the same as that of its checkpoint."""
    return hashlib.sha256(safetensors.numpy.save(leaves.to_arrays(state))).hexdigest()


def latest(run: Path, like: PyTree, on_damage: Callable[[str], None]) -> Checkpoint | None:
    """The newest undamaged checkpoint of `run`, or None if there are no checkpoints.

    `like` has the structure, shapes and dtypes of the saved state; its leaves that are not data (functions) are kept.
    Each damaged checkpoint that is skipped is reported in one line through `on_damage`.

    Raises OnebodyError when every checkpoint is damaged, or when an undamaged one does not fit `like`.
    """
    damages: list[tuple[Path, str]] = []
    for _, path in _listed(run / "checkpoints"):
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
        f"every checkpoint in {run / 'checkpoints'} is damaged: {listed}; restore a good copy, or train again with "
        "another --out"
    )


def remove_leftovers(run: Path, last: Checkpoint, keep: int = 2) -> None:
    """Remove what a kill in `save` leaves: unfinished checkpoints, those older than the newest `keep` up to the
    undamaged one `last`, and the one that `last` replaced. Nothing newer than `last` is removed."""
    folder = run / "checkpoints"
    earlier = [(iteration, path) for iteration, path in _listed(folder) if iteration <= last.iteration]
    kept = sorted({iteration for iteration, _ in earlier})[-keep:]
    replaced = folder / f".{last.path.name}.old"
    old = [path for iteration, path in earlier if iteration < kept[0] or path == replaced]
    for path in [*old, *folder.glob(".*.partial")]:
        shutil.rmtree(path, ignore_errors=True)


def _verified_record(path: Path) -> dict[str, Any]:
    """Content of checkpoint.json after its checksum and that of the state are verified; raises _Damaged."""
    try:
        record = documents.parse((path / RECORD).read_bytes())
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
    """Raises OnebodyError, saying what differs, if an undamaged checkpoint holds a state of another structure."""
    writer = f"checkpoint {path} was written by onebody {record['onebody']}"
    if record["format"] != FORMAT:
        raise OnebodyError(
            f"{writer} in format {record['format']}, and this version reads format {FORMAT}: use that version"
        )
    there: dict[str, str] = record["arrays"]
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            raise OnebodyError(
                f"{writer} with another configuration: state{name} is {there.get(name, 'missing')} in it and "
                f"{here.get(name, 'missing')} here"
            )


def _listed(folder: Path) -> list[tuple[int, Path]]:
    """Iteration and folder of each checkpoint, newest first; a replaced one comes after the one that replaced it."""
    matches = [(re.fullmatch(r"(\d+)|\.(\d+)\.old", path.name), path) for path in folder.glob("*")]
    rows = [(int(match[1] or match[2]), match[1] is not None, path) for match, path in matches if match]
    return [(iteration, path) for iteration, _, path in sorted(rows, reverse=True)]


def _checksum(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
