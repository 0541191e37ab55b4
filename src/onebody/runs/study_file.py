"""Studies are figures as data, read from TOML files. A study says what to train, how to test it and what to draw.

paper = "Landolfi, Thomas, Ma 2019"     # whose figure it is
charts = ["training", "adaptation"]     # training: returns on the tested tasks, against samples of training;
                                        # adaptation: after training, against samples of the task; learning: returns
                                        # of the real episodes of training; tasks: the return on each task
metric = "mean"                         # of the tasks' returns: mean, iqm, worst or cvar10
seeds = 3                               # training runs per system; by default 3
up_to = 40_000                          # leave out tests after more real samples; by default none is left out

[test]                                  # the meta-test after training: tasks, stages, grid, beyond; and
stages = 3                              # training_stages, the last stage of the tests during training

[systems.smt]                           # by name: what is compared
algorithm = "smt"                       # by default the system's name
label = "SMT"                           # in the figure; by default the system's name
laptop = { preset = "laptop" }          # for each scale: preset, samples, evaluate_every, settings
paper = { preset = "paper", settings = { "slbo.n_model" = 100 } }

[systems.logs]                          # a system that learns from logs alone, as with `onebody train --data`;
algorithm = "omni"                      # their names are relative to the folder where the command is typed
data = ["logs.npz"]                     # (the study's `made_by` says how to make them where they are missing)
laptop = {}

[systems.slbo]                          # a system whose runs belong to another study of the package, and are not
runs_of = "smt-2a/slbo"                 # trained twice; without /SYSTEM: the system of the same name

[studies.smt-1a]                        # one or more figures that share all of this
title = "half-cheetah, velocities in [0, 2] m/s"
family = "smt/cheetah-vel"
claim = "SMT is better at stage 0 than the oracle."

[studies.smt-1a.systems.smt]            # changes to one system, for this figure alone
label = "SMT, half-cheetah"             # systems.smt = false leaves it out

[[studies.smt-1a.published]]            # numbers to draw beside ours
label = "MAML, published"
chart = "adaptation"
points = [[4000, -78.6], [8000, -66.6]] # or value = -54.5 for a horizontal line
source = "where they stand"
like = "smt"                            # the system whose colour they have
"""

import dataclasses
import math
import tomllib
import typing
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal

from onebody.core.errors import OnebodyError, did_you_mean
from onebody.runs.evaluate import MetaTest

CHARTS = {
    "training": "returns on the tested tasks, against real samples of training",
    "adaptation": "returns on the tested tasks after training, against real samples of the task",
    "learning": "returns of the real episodes of training, against real samples",
    "tasks": "return on each tested task after training",
}
"""kinds of charts, and what they show"""
SCALES = ("laptop", "paper", "smoke")


@dataclass(frozen=True)
class Training:
    """How a system is trained at one scale."""

    preset: str = "laptop"
    samples: int | None = None
    evaluate_every: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    """changes to the preset, by the names of options: "trpo.shrink" = 0.5"""


@dataclass(frozen=True)
class System:
    """One line of a figure: an algorithm with its settings."""

    name: str
    algorithm: str
    label: str
    trainings: dict[str, Training]
    """by scale"""
    runs_of: str = ""
    """STUDY or STUDY/SYSTEM of the package whose runs these are"""
    data: tuple[str, ...] = ()
    """logs to learn from, as in `onebody train --data`"""


@dataclass(frozen=True)
class Published:
    """Published numbers."""

    label: str
    chart: str
    source: str
    points: tuple[tuple[float | int, ...], ...] = ()
    """each x and y"""
    value: float | int = math.nan
    """of a horizontal line"""
    like: str = ""
    """name of the system whose colour they have"""


@dataclass(frozen=True)
class Study:
    """One figure."""

    name: str
    title: str
    paper: str
    family: str
    systems: tuple[System, ...]
    charts: tuple[str, ...] = ("adaptation",)
    metric: Literal["mean", "iqm", "worst", "cvar10"] = "mean"
    """what is drawn of the tasks' returns, as in `statistics.AGGREGATES`"""
    claim: str = ""
    made_by: str = ""
    """how to make the logs that systems learn from; shown where they are missing"""
    seeds: int = 3
    up_to: int | None = None
    """real samples of training; later tests are not shown, so that systems are compared at equal samples"""
    test: MetaTest = field(default_factory=MetaTest)
    published: tuple[Published, ...] = ()


def read(path: Path) -> dict[str, Study]:
    """The studies of a file, by name.

    Raises:
        OnebodyError: the file is missing, no TOML, or has wrong or missing fields.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OnebodyError(f"there is no file {path}") from None
    except ValueError as error:
        raise OnebodyError(f"{path} is not valid TOML: {error}") from error
    own = content.pop("studies", None)
    content.pop("figures", None)
    if not own:
        raise OnebodyError(f"{path} has no study: add a table [studies.NAME] with a title and a family")
    if not isinstance(own, dict) or not all(isinstance(changes, dict) for changes in own.values()):
        raise OnebodyError(f"{path}: a study is a table with a name, [studies.NAME]")
    shared, result = content.get("systems", {}), {}
    for name, changes in own.items():
        systems = _merged(shared, changes.get("systems", {}))
        if not isinstance(systems, dict):
            raise OnebodyError(f"{path}: systems must be tables, [systems.NAME]")
        kept = {system: given for system, given in systems.items() if given is not False}
        result[name] = _study(path, name, content | changes | {"systems": kept})
    return result


def _merged(shared: Any, changes: Any) -> Any:
    """A table with changes to some entries, also of tables inside it."""
    if not isinstance(shared, dict) or not isinstance(changes, dict):
        return changes
    return shared | {name: _merged(shared.get(name), value) for name, value in changes.items()}


def _study(path: Path, name: str, values: dict[str, Any]) -> Study:
    """The study that a table describes, its own entries over those that all of the file's studies share."""
    where = f"{path}: [studies.{name}]"
    for system, given in values.get("systems", {}).items():
        if not isinstance(given, dict):
            raise OnebodyError(f"{where}: [systems.{system}] must be a table")
        known = ("algorithm", "label", "runs_of", "data", *SCALES)
        if unknown := sorted(given.keys() - set(known)):
            near = did_you_mean(unknown[0], known)
            raise OnebodyError(f"{path}: [systems.{system}]: no field {unknown[0]!r}{near}")
        if not isinstance(of := given.get("runs_of", ""), str):
            raise OnebodyError(f"{path}: [systems.{system}]: runs_of must be a string, not {of!r}")
        data = given.get("data", [])
        if not (isinstance(data, list) and all(isinstance(each, str) for each in data)):
            raise OnebodyError(f"{path}: [systems.{system}]: data must be a list of strings, not {data!r}")
    systems = [
        System(
            system,
            given.get("algorithm", given.get("runs_of", "").partition("/")[2] or system),
            given.get("label", system),
            {s: _made(Training, given[s], f"{path}: [systems.{system}] {s}") for s in SCALES if s in given},
            given.get("runs_of", ""),
            tuple(given.get("data", ())),
        )
        for system, given in values.get("systems", {}).items()
    ]
    charts = tuple(values.get("charts", ["adaptation"]))
    if unknown := [chart for chart in charts if chart not in CHARTS]:
        raise OnebodyError(f"{where}: no chart {unknown[0]!r}{did_you_mean(unknown[0], CHARTS)}")
    if not systems or not all(system.trainings or system.runs_of for system in systems):
        raise OnebodyError(f"{where} needs [systems.NAME] tables, each with a scale, as in laptop = {{}}")
    given = values.get("published", [])
    if not isinstance(given, list):
        raise OnebodyError(f"{where}: published numbers need double brackets, [[studies.{name}.published]]")
    for each in given:
        points = each.get("points", [])
        if not isinstance(points, list) or not all(isinstance(point, list) and len(point) == 2 for point in points):
            raise OnebodyError(f"{where} published: points must be [[x, y], …], not {points!r}")
    published = [_made(Published, each, f"{where} published") for each in given]
    if wrong := [each.chart for each in published if each.chart not in CHARTS]:
        raise OnebodyError(f"{where} published: no chart {wrong[0]!r}{did_you_mean(wrong[0], CHARTS)}")
    names = [system.name for system in systems]
    if strange := [each.like for each in published if each.like and each.like not in names]:
        raise OnebodyError(f"{where} published: like must name a system{did_you_mean(strange[0], names)}")
    test = _made(MetaTest, values.get("test", {}), where)
    parts = {"name": name, "systems": tuple(systems), "charts": charts, "test": test, "published": tuple(published)}
    study = _made(Study, values | parts, where)
    if study.seeds < 1:
        raise OnebodyError(f"{where}: seeds must be at least 1")
    return study


def _made(kind: Any, values: Any, where: str) -> Any:
    """A dataclass from a table; lists become tuples.

    Raises:
        OnebodyError: it is no table, a field is unknown or missing, or a value has the wrong type.
    """
    if not isinstance(values, dict):
        raise OnebodyError(f"{where} must be a table in braces, not {values!r}")
    fields = {each.name: each for each in dataclasses.fields(kind)}
    if unknown := values.keys() - fields.keys():
        raise OnebodyError(f"{where}: no field {min(unknown)!r}{did_you_mean(min(unknown), fields)}")
    required = {name for name, each in fields.items() if each.default is each.default_factory is dataclasses.MISSING}
    if missing := required - values.keys():
        raise OnebodyError(f"{where} needs {', '.join(sorted(missing))}")
    kinds = typing.get_type_hints(kind)
    for name, value in values.items():
        if message := _wrong(kinds[name], value):
            raise OnebodyError(f"{where}: {name} must be {message}, not {value!r}")
    return kind(**{name: _tuples(value) for name, value in values.items()})


def _tuples(value: Any) -> Any:
    """A list, and lists in it, as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _wrong(kind: Any, value: Any) -> str:
    """What a field of this type must be, if the value is not; empty if it is."""
    options = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return "" if value in options else f"one of {', '.join(map(str, options))}"
    words = {int: "a whole number", float: "a number", str: "a string", dict: "a table", tuple: "a list"}
    types: dict[Any, Any] = {int: int, float: (int, float), str: str, dict: dict, tuple: (list, tuple)}
    alternatives = options if isinstance(kind, UnionType) else (kind,)
    accepted = [each for each in (typing.get_origin(each) or each for each in alternatives) if each in types]
    if not accepted or (any(isinstance(value, types[each]) for each in accepted) and not isinstance(value, bool)):
        return ""
    return words[float if float in accepted else accepted[0]]
