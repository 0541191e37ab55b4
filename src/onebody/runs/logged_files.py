"""Files of logged transitions, read in blocks of rows, so that a file may be larger than the memory.

FILE.npz, FILE.parquet   arrays or columns with a row per step: observation, action, next_observation, terminated,
                         truncated, ends
minari:ID, FOLDER        a Minari dataset by its name, or by its folder
"""

import contextlib
import hashlib
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from onebody.core.errors import OnebodyError
from onebody.runs import extras

BLOCK = 8192
"""rows that are read at once"""
FEATURES = ("observation", "action", "next_observation")
"""arrays [row, feature]; the last one may be missing where episode ends are known"""
ENDS = ("terminated", "truncated", "ends")
"""arrays [row] that mark the last step of an episode: by termination, by truncation, or by either"""
MINARI = "minari:"
"""what the name of a Minari dataset begins with"""


class Block(NamedTuple):
    """Consecutive rows of a log."""

    observation: Float[np.ndarray, "row observation"]
    action: Float[np.ndarray, "row action"]
    next_observation: Float[np.ndarray, "row observation"]
    ends: Bool[np.ndarray, " row"]
    """whether each row is the last of its episode"""


class Located(NamedTuple):
    """A block, and where it is in its log."""

    block: Block
    row: Int[np.ndarray, " row"]
    """of the log, of each observation and action; counted from 0"""
    next_row: Int[np.ndarray, " row"]
    """of the log, of each next observation; another one where that is the observation of the next row"""


def exists(source: str) -> bool:
    """Whether a log is there, as far as it can be known without reading it: datasets by ID are not looked for."""
    return _is_dataset(source) or Path(source).is_file()


def blocks(source: str) -> Iterator[Located]:
    """The transitions of a log.

    Raises:
        OnebodyError: there is no such log, its format is unknown, it is damaged, or it lacks an array.
    """
    path = Path(source)
    if _is_dataset(source):
        read = _minari
    elif path.suffix not in (".npz", ".parquet"):
        raise OnebodyError(f"{source} must be a file .npz or .parquet, or a Minari dataset: minari:ID or its folder")
    elif not path.is_file():
        raise OnebodyError(f"there is no file {source}")
    else:
        read = _npz if path.suffix == ".npz" else _parquet
    try:
        yield from read(source)
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise OnebodyError(f"{source} cannot be read ({' '.join(str(error).split())}); restore a good copy") from error


def sha256(source: str) -> str:
    """SHA-256 of a file; of a dataset, that of the names and checksums of its files."""
    if not _is_dataset(source):
        with open(source, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    path = Path(_dataset(source).storage.data_path)
    files = sorted(each for each in path.rglob("*") if each.is_file())
    lines = [f"{sha256(str(each))}  {each.relative_to(path).as_posix()}\n" for each in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _is_dataset(source: str) -> bool:
    return source.startswith(MINARI) or Path(source).is_dir()


def _check_names(source: str, names: Collection[str]) -> list[str]:
    """The names among these that are read; raises OnebodyError if others are missing."""
    for name in FEATURES[:2]:
        if name not in names:
            has = f"; it has {', '.join(names)}" if names else "; it is empty"
            raise OnebodyError(f"{source} has no {name}{has}, and needs {', '.join(FEATURES)} and ends")
    if FEATURES[2] not in names and not set(ENDS) & set(names):
        raise OnebodyError(
            f"{source} has no next_observation; add it or, if its rows are consecutive steps, ends [row]: true in the "
            "last row of each episode"
        )
    return [name for name in (*FEATURES, *ENDS) if name in names]


def _joined(source: str, rows: Iterator[Mapping[str, np.ndarray]], first: int = 0) -> Iterator[Located]:
    """Blocks of arrays by name, of which the first one begins at row `first`. Where next observations are missing, they
    are those of the next rows, so that the last row of each episode is left out."""
    held: dict[str, np.ndarray] = {}
    for arrays in rows:
        for name, array in arrays.items():
            if array.ndim != (2 if name in FEATURES else 1) or array.dtype.kind not in "fiub":
                wanted = "[row, feature]" if name in FEATURES else "[row]"
                raise OnebodyError(
                    f"{source}: {name} must hold numbers {wanted}, and it is {array.dtype} of {array.ndim} dimensions"
                )
        with np.errstate(over="ignore"):  # infinite in float32, which is then refused
            features = [arrays[name].astype(np.float32) for name in FEATURES if name in arrays]
        ends = np.zeros(len(features[0]), bool)
        for name in filter(arrays.__contains__, ENDS):
            if not np.isin(arrays[name], (0, 1)).all():
                raise OnebodyError(f"{source}: {name} must be true or false, or 1 or 0, in each row")
            ends |= arrays[name].astype(bool)
        row, first = np.arange(first, first + len(ends)), first + len(ends)
        if len(features) == 3:
            observation, action, next_observation = features
            yield Located(Block(observation, action, next_observation, ends), row, row)
            continue
        new = {"observation": features[0], "action": features[1], "ends": ends, "row": row}
        both = {name: np.concatenate([held[name], array]) for name, array in new.items()} if held else new
        held = {name: array[-1:] for name, array in both.items()}
        observation, action, ends, row = both.values()
        inside = ~ends[:-1]
        block = Block(observation[:-1][inside], action[:-1][inside], observation[1:][inside], ends[1:][inside])
        yield Located(block, row[:-1][inside], row[1:][inside])


def _npz(source: str) -> Iterator[Located]:
    with zipfile.ZipFile(source) as archive, contextlib.ExitStack() as stack:
        names = _check_names(source, [name.removesuffix(".npy") for name in archive.namelist()])
        columns = {name: _Column(stack.enter_context(archive.open(f"{name}.npy"))) for name in names}
        lengths = {name: column.length for name, column in columns.items()}
        if len({*lengths.values()}) > 1:
            listed = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
            raise OnebodyError(f"{source}: its arrays must have equally many rows, and they have {listed}")
        for name, column in columns.items():
            if column.by_columns:
                raise OnebodyError(f"{source}: {name} is stored by columns; save numpy.ascontiguousarray({name})")
        n = lengths["observation"]
        parts = (min(BLOCK, n - begin) for begin in range(0, n, BLOCK))
        yield from _joined(source, ({name: column.read(rows) for name, column in columns.items()} for rows in parts))


class _Column:
    """An array in a .npz file, read from its first row on."""

    def __init__(self, file: Any):
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, self.by_columns, self._dtype = header[np.lib.format.read_magic(file)](file)
        if self._dtype.hasobject:
            raise ValueError("it holds Python objects, not numbers")
        (self.length, *self._row), self._file = shape or (0,), file

    def read(self, rows: int) -> np.ndarray:
        """The next rows."""
        size = rows * self._dtype.itemsize * int(np.prod(self._row))
        data = self._file.read(size)
        if len(data) < size:
            raise EOFError("it ends early")
        return np.frombuffer(data, self._dtype).reshape(rows, *self._row)


def _parquet(source: str) -> Iterator[Located]:
    extras.check("pyarrow", "data", f"reading {source}")
    parquet = extras.load("pyarrow.parquet", "data", "")
    with parquet.ParquetFile(source) as file:
        names = _check_names(source, file.schema_arrow.names)
        batches = file.iter_batches(BLOCK, columns=names)
        yield from _joined(source, ({name: _array(batch.column(name), name) for name in names} for batch in batches))


def _array(column: Any, name: str) -> np.ndarray:
    """A column of numbers [row], or of lists of numbers [row, feature]."""
    if not hasattr(column, "value_lengths"):
        return column.to_numpy(zero_copy_only=False)
    lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
    if len(lengths) != 1 or not np.isfinite(lengths[0]):
        raise ValueError(f"the lists of {name} differ in length")
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)


def _dataset(source: str) -> Any:
    minari = extras.load("minari", "data", f"reading {source}")
    if not source.startswith(MINARI):
        return minari.MinariDataset(Path(source) / "data")
    name = source.removeprefix(MINARI)
    try:
        return minari.load_dataset(name)
    except FileNotFoundError as error:
        raise OnebodyError(f"there is no Minari dataset {name} on this machine: minari download {name}") from error


def _minari(source: str) -> Iterator[Located]:
    first = 0
    for episode in _dataset(source).iterate_episodes():
        observation, action = episode.observations, episode.actions
        if not isinstance(observation, np.ndarray) or not isinstance(action, np.ndarray):
            raise OnebodyError(f"{source}: its observations and actions must be arrays of numbers, not dictionaries")
        ends = np.arange(len(action)) == len(action) - 1
        arrays = dict(zip(FEATURES, (observation[:-1], action, observation[1:]), strict=True)) | {"ends": ends}
        yield from _joined(source, iter([arrays]), first)
        first += len(ends)
