"""Parses a command line into a dataclass; a mistake is reported in one line that names the nearest option."""

import contextlib
import dataclasses
import io
import itertools
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from onebody.core.errors import OnebodyError, did_you_mean
from onebody.runs import extras, outputs

T = TypeVar("T")
NARROWEST = 20
"""columns of the narrowest terminal that help is written for; in a few columns, tyro never ends"""
Trust = Annotated[
    tyro.conf.FlagCreatePairsOff[bool],
    tyro.conf.arg(
        help="Run the Python file that registers the run's family, even if you have not run it before: for a run "
        "folder of somebody else, whose file you have read"
    ),
]
Flag = tyro.conf.FlagCreatePairsOff[bool]
"""an option that is off unless it is given; unlike a boolean setting of --config, it has no --no-… form"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ManyRuns:
    """Options of the commands that train several runs."""

    workers: int = 0
    """Number of training runs at once on this machine, which share its cores equally; 0: one per core. With --on: cores
    per training run; 0: one"""
    on: str = ""
    """Where to train: empty for this machine, ray or ray:ADDRESS for a Ray cluster, slurm:PARTITION for Slurm; the
    folder --out must be on a disk that all machines share"""
    json: Flag = False
    """Print the result as JSON"""
    quiet: Flag = False
    """Show no progress"""


def parse(kind: type[T], command: str, arguments: Sequence[str]) -> T:
    """Parse arguments into a dataclass of this kind: fields without a default are positional arguments, the others are
    options, and the fields' docstrings are their help.

    Prints and exits for --help. Raises OnebodyError for an unknown option, or a missing or wrong value.
    """
    if any("\0" in argument for argument in arguments):
        raise OnebodyError("an argument contains a NUL character")
    if {"--help", "-h"}.intersection(arguments):
        arguments = ["--help"]  # tyro omits from its help the options that are given before --help
    known, arguments = [*_names(kind), "--help"], _joined(arguments)
    for argument in arguments:
        option = argument.split("=")[0].replace("_", "-")
        if re.match("--?[A-Za-z]", option) and option not in known:
            raise OnebodyError(f"no option {option} of {command}{did_you_mean(option, known)}")
    lists = {name for name, value in _defaults(kind) if isinstance(value, tuple) and value}
    for argument, after in itertools.pairwise([*arguments, "--"]):
        if argument.replace("_", "-") in lists and after.startswith("--"):
            raise OnebodyError(f"{argument} needs at least one number")
    if shutil.get_terminal_size().columns < NARROWEST:
        os.environ["COLUMNS"] = str(NARROWEST)
    settings = (tyro.conf.PositionalRequiredArgs,)
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output):
            return tyro.cli(kind, prog=f"onebody {command}", args=arguments, config=settings)
    except SystemExit as end:
        if end.code == 0:
            raise
    for i, argument in enumerate(arguments):
        numbers = [text.strip(",") for text in itertools.takewhile(_is_number, arguments[i + 1 :])]
        if argument == "--task" and len(numbers) > 1:
            raise OnebodyError(
                f"--task takes one task: join its numbers by commas, as in --task {','.join(numbers)}; repeat the "
                "option for several tasks"
            )
    raise OnebodyError(f"{_message(output.getvalue())}; see: onebody {command} --help")


def _joined(arguments: Sequence[str]) -> list[str]:
    """The arguments; an option and its text, if that begins with a minus, become one, such as --reward=-abs(x)."""
    joined: list[str] = []
    for argument in arguments:
        is_value = re.match("-[A-Za-z]", argument) and not re.fullmatch(r"-[\w.-]+(=.*)?", argument, re.DOTALL)
        if is_value and joined and re.fullmatch(r"--[\w.-]+", joined[-1]):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def check_order(command: str, family: str, algorithms: Sequence[str], family_first: bool) -> None:
    """Raises OnebodyError if an algorithm was typed in the family's place and a family in an algorithm's."""
    from onebody.algorithms import presets
    from onebody.tasks import registry

    families = {*registry.families(), *registry.aliases()}
    typed = [name for name in algorithms if name in families or ".py:" in name]
    if typed and family not in families and family in presets.names():
        others = [family, *(name for name in algorithms if name not in typed)]
        words = [*typed[:1], *others] if family_first else [*others, *typed[:1]]
        raise OnebodyError(
            f"{command} takes the {'family' if family_first else 'algorithm'} first; did you mean: "
            f"onebody {command} {' '.join(words)}?"
        )


def check_writable(option: str, path: Path | None, *suffixes: str) -> None:
    """Check that a command can write a result to the file that an option names; None: the option is not given.

    Raises:
        OnebodyError: as `outputs.check`, there is no such folder, or an optional package is needed and not installed.
    """
    if path is None:
        return
    outputs.check(path, *suffixes, option=f"--{option}")
    if not path.absolute().parent.is_dir():
        raise OnebodyError(f"--{option} {path}: there is no folder {path.parent}")
    for suffix, package, extra, alternative in (
        (".mp4", "imageio_ffmpeg", "video", ".webp"),
        (".onnx", "onnx", "onnx", ".npz"),
    ):
        if path.suffix == suffix:
            extras.check(package, extra, f"--{option} {path} ({alternative} needs no extra package)")


def task(text: str) -> list[float]:
    """The numbers of a --task. Raises OnebodyError if they are none."""
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise OnebodyError(f"--task {text} must be a number, or numbers separated by commas") from None


def _is_number(text: str) -> bool:
    try:
        float(text.strip(","))
    except ValueError:
        return False
    return True


def _defaults(kind: Any, prefix: str = "--") -> Iterator[tuple[str, Any]]:
    """All options of a dataclass as they are typed, with their defaults; those of a nested dataclass begin with its
    name and a dot."""
    for field in dataclasses.fields(kind):
        value, name = getattr(kind, field.name, None), prefix + field.name.replace("_", "-")
        if dataclasses.is_dataclass(value):
            yield from _defaults(value, f"{name}.")
        else:
            yield name, value


def _names(kind: Any) -> Iterator[str]:
    """All options of a dataclass as they are typed, and the forms that turn a nested truth value off."""
    for name, value in _defaults(kind):
        yield name
        nested, dot, last = name.rpartition(".")
        if dot and isinstance(value, bool):
            yield f"{nested}.no-{last}"


def _message(output: str) -> str:
    """The message in the box that tyro draws: the text between its title and its first rule."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    lines = "\n".join(line.strip("│| ") for line in plain.splitlines())
    parts = re.split(r"^(?:╭.*|╰.*|[─-]{3,})$", lines, flags=re.MULTILINE)
    return " ".join([*parts, plain][1].split()).rstrip(".")
