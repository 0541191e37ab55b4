"""What may be written where: the parts of a run, and files that users name for policies, videos and reports."""

from pathlib import Path

from onebody.core.errors import OnebodyError

CONFIG = "config.json"
"""file that makes a folder a run folder"""
FILES = {CONFIG, "metrics.jsonl", "robot.jsonl", "robot-damaged.jsonl", "evaluation.json", "diverged.txt"}
FOLDERS = {"adaptations", "checkpoints", "evaluations", "loggers"}
"""the parts of a run"""


def check(path: Path, *suffixes: str, option: str = "") -> None:
    """Check that a result can be written to a file without loss of another kind of file or of a part of a run.

    Args:
        suffixes: how its name may end.
        option: command-line option that names the file, for the message.

    Raises:
        OnebodyError: it ends otherwise, links to a file that does, is a folder, or has the name of a part of the run
            whose folder it is in.
    """
    check_name(path)
    named, real = f"{option} {path}".strip(), path.resolve()
    if not {path.suffix, real.suffix} <= set(suffixes):
        link = f" (it links to {real})" if path.is_symlink() else ""
        raise OnebodyError(f"{named} must end in {' or '.join(suffixes)}{link}")
    if real.is_dir():
        raise OnebodyError(f"{named} is a folder; give the name of a file instead")
    check_no_part(real, named)


def check_name(path: Path) -> None:
    """Raises OnebodyError if no file can have this name."""
    if "\0" in str(path):
        raise OnebodyError(f"the path {str(path)!r} contains a NUL character")


def check_no_part(path: Path, named: str = "") -> None:
    """Raises OnebodyError if a file or folder has the name of a part of the run whose folder it is in, with any ending.

    `named`: how the message calls it, by default by its path.
    """
    real = path.resolve()
    reserved = {part.partition(".")[0] for part in FILES | FOLDERS} | {""}  # hidden files, such as the lock
    for run in real.parents:
        if (run / CONFIG).is_file() and real.relative_to(run).parts[0].partition(".")[0] in reserved:
            raise OnebodyError(f"{named or path} has the name of a part of the run {run}; choose another name")


def check_parts(run: Path) -> None:
    """Raises OnebodyError if a part of a run is a file in place of a folder, a folder in place of a file, or a link to
    nothing, so that it could not be written."""
    check_name(run)
    for name in sorted(FILES | FOLDERS):
        path = run / name
        if path.is_symlink() and not path.exists():
            raise OnebodyError(f"{path} is a link to nothing; restore what it links to, or remove it")
        if path.exists() and path.is_dir() != (name in FOLDERS):
            kinds = ("file", "folder") if name in FOLDERS else ("folder", "file")
            raise OnebodyError(f"{path} is a {kinds[0]} and should be a {kinds[1]}; restore it, or remove it")
