"""Writes the transitions that a run has kept as a log, from which other runs can learn."""

import os
import re
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import jax
import numpy as np

from onebody.core.errors import OnebodyError
from onebody.learning.replay import Replay
from onebody.runs import extras, folder, outputs
from onebody.runs.logged_files import FEATURES, MINARI, Block

NAME = "robot/mine-v0"
"""example of a Minari dataset's name"""


def export(run: Path | str, to: str) -> int:
    """Write the replay buffer of a run's last checkpoint to a log; returns the number of transitions.

    Args:
        to: a new file, .npz or .parquet, or minari:ID for a new Minari dataset on this machine.

    Raises:
        OnebodyError: there is no run or checkpoint, it keeps no transitions, its dynamics vary with the task, or the
            log exists or cannot have this name.
    """
    run, write = Path(run), _writer(to)
    record = folder.read_config(run)
    family = folder.family_of(record)
    if family.physics is not None:
        raise OnebodyError(f"the dynamics of {family.id} vary with the task, which a log does not hold")
    rows = kept(folder.last(run, record).state)
    if not len(rows.ends):
        raise OnebodyError(f"{run} keeps no transitions that could be exported")
    write(to, rows, f"{record['algorithm']} on {record['family']}, seed {record['seed']}")
    return len(rows.ends)


def kept(state: Any) -> Block:
    """The transitions in the replay buffer of a state, from the oldest on; actions are clipped to [-1, 1]."""
    nothing = Replay.empty(0, 0, 0)
    buffers = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, Replay))
    data = next((each for each in buffers if isinstance(each, Replay)), nothing)
    size, head = int(data.size), int(data.head)
    order = np.arange(size) if size < data.capacity else np.roll(np.arange(size), -head)
    observation, action, next_observation, ends = (
        np.asarray(each)[order] for each in (data.observation, data.action, data.next_observation, data.done)
    )
    ends[-1:] = True
    return Block(observation, np.clip(action, -1, 1), next_observation, ends)


def _writer(to: str) -> Any:
    """The function that writes a log of this name; raises OnebodyError if there can be none."""
    if to.startswith(MINARI):
        extras.check("minari", "data", f"--to {to}")
        if not re.fullmatch(r"([\w./-]+/)?\w[\w.-]*-v\d+", to.removeprefix(MINARI)):
            raise OnebodyError(f"--to {to}: the name of a Minari dataset ends with its version, as in minari:{NAME}")
        return _minari
    path = Path(to)
    outputs.check(path, ".npz", ".parquet", option="--to")
    if path.exists():
        raise OnebodyError(f"--to {to} exists; choose another name, or remove it")
    if not path.absolute().parent.is_dir():
        raise OnebodyError(f"--to {to}: there is no folder {path.parent}")
    if path.suffix == ".parquet":
        extras.check("pyarrow", "data", f"--to {to}")
    return _file


def _file(to: str, rows: Block, description: str) -> None:
    path = Path(to)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            if path.suffix == ".npz":
                np.savez_compressed(file, **rows._asdict())
            else:
                _parquet(file, rows)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _parquet(file: Any, rows: Block) -> None:
    arrow, parquet = (extras.load(name, "data", "") for name in ("pyarrow", "pyarrow.parquet"))
    columns: dict[str, Any] = {}
    for name in FEATURES:
        values = getattr(rows, name)
        columns[name] = arrow.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1])
    parquet.write_table(arrow.table(columns | {"ends": rows.ends}), file)


def _minari(to: str, rows: Block, description: str) -> None:
    """Each episode counts as truncated, because the buffer does not say how it ended. One also ends where the next row
    does not begin with its next observation, since a Minari dataset holds each observation once."""
    minari, name = extras.load("minari", "data", ""), to.removeprefix(MINARI)
    buffers = extras.load("minari.data_collector.episode_buffer", "data", "")
    breaks = (rows.next_observation[:-1] != rows.observation[1:]).any(axis=1)
    ends = rows.ends | np.append(breaks, True)
    episodes, begin = [], 0
    for end in (np.flatnonzero(ends) + 1).tolist():
        part = slice(begin, end)
        truncated = ends[part]
        episodes.append(
            buffers.EpisodeBuffer(
                observations=np.concatenate([rows.observation[part], rows.next_observation[end - 1 : end]]),
                actions=rows.action[part],
                rewards=np.zeros(len(truncated)),
                terminations=np.zeros(len(truncated), bool),
                truncations=truncated,
            )
        )
        begin = end
    shapes = rows.observation.shape[1:], rows.action.shape[1:]
    try:
        with warnings.catch_warnings(action="ignore"):  # that it has no author and no environment
            minari.create_dataset_from_buffers(
                name,
                episodes,
                observation_space=gymnasium.spaces.Box(-np.inf, np.inf, shapes[0]),
                action_space=gymnasium.spaces.Box(-1.0, 1.0, shapes[1]),
                description=f"{description}; rewards are left out",
            )
    except (ValueError, FileExistsError) as error:
        raise OnebodyError(f"--to {to} cannot be written: {' '.join(str(error).split())}") from error
