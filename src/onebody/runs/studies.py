"""Studies: figures as data, in TOML files. A study says what to train, how to test it and what to draw.

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
import glob
import json
import math
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal

import numpy as np

from onebody.algorithms import presets
from onebody.core.errors import OnebodyError, did_you_mean
from onebody.runs import configs, folder, log
from onebody.runs.evaluate import MetaTest
from onebody.runs.jobs import Job
from onebody.tasks import registry

BUILT_IN = Path(__file__).parent.parent / "studies"
"""folder of the studies that come with the package"""
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
    seeds: int = 3
    up_to: int | None = None
    """real samples of training; later tests are not shown, so that systems are compared at equal samples"""
    test: MetaTest = field(default_factory=MetaTest)
    published: tuple[Published, ...] = ()

    def place(self, system: System, out: Path) -> tuple[Path, str]:
        """Folder and name of a system's runs: in `out`, or in the folder of the study that they belong to.

        That folder is the usual one of that study if `out` is the usual one of this study, otherwise inside `out`.
        """
        if not system.runs_of:
            return out, system.name
        owner, _, name = system.runs_of.partition("/")
        usual = next((scale for scale in SCALES if out.name == folder_name(self.name, scale)), None)
        place = out / file_name(owner) if usual is None else _beside(out, folder_name(owner, usual))
        return place, name or system.name

    def owner(self, system: System) -> tuple["Study", System]:
        """The study and the system that a system's runs belong to.

        Raises:
            OnebodyError: `runs_of` names no other system of the package, or one of another family.
        """
        if not system.runs_of:
            return self, system
        name, _, of = system.runs_of.partition("/")
        where = f"{self.name}: runs_of = {system.runs_of!r} of {system.name}"
        try:
            study = get(name)
        except OnebodyError as error:
            raise OnebodyError(f"{where} must name a study of the package: {error}") from error
        found = {each.name: each for each in study.systems}
        if (of := of or system.name) not in found:
            raise OnebodyError(f"{where}: {name} has no system {of!r}{did_you_mean(of, found)}")
        if found[of].runs_of:
            raise OnebodyError(f"{where}: name {found[of].runs_of}, where these runs are taken from")
        if study.family != self.family:
            raise OnebodyError(f"{where}: {name} is a study of {study.family}, this one of {self.family}")
        return study, found[of]

    def jobs(self, out: Path, scale: str, seeds: int) -> list[Job]:
        """All training runs, those with seed 0 first, into `out/SYSTEM-sSEED`.

        Raises:
            OnebodyError: no system of the study has this scale, or a setting does not exist.
        """
        if "tasks" in self.charts and not registry.make(self.family).space.size:
            raise OnebodyError(f"{self.name}: {self.family} is a single task, so leave out the chart tasks")
        return [self.job(system, out, scale, seed) for seed in range(seeds) for system in self.systems]

    def job(self, system: System, out: Path, scale: str, seed: int) -> Job:
        """One training run of a system. Raises as `jobs`."""
        owner, of = self.owner(system)
        place, name = self.place(system, out)
        if system.runs_of:
            return owner.job(of, place, scale, seed)
        if scale not in system.trainings:
            raise OnebodyError(
                f"{self.name} has no scale {scale} for {name}: add {scale} = {{ … }} to the system, or choose another "
                "--scale"
            )
        family, training = registry.make(self.family), system.trainings[scale]
        try:
            config = configuration(system.algorithm, training, family.id)
        except OnebodyError as error:
            raise OnebodyError(f"{self.name}: [systems.{name}]: {error}") from error
        return Job(
            algorithm=system.algorithm,
            family=registry.portable(family)[0],
            out=place / f"{name}-s{seed}",
            seed=seed,
            preset=training.preset,
            config=config,
            samples=training.samples,
            evaluate_every=training.evaluate_every,
            test=self.test,
        )


def file_name(name: str) -> str:
    """A study's name as the name of a file or folder."""
    return name.replace("/", "-")


ROOTS = (Path("results"), Path("runs"))
"""folders with the folders of studies"""


def folder_name(name: str, scale: str) -> str:
    """Name of the usual folder of a study or figure; each scale has its own."""
    return file_name(name) + ("" if scale == "laptop" else f"-{scale}")


def folder_of(name: str, scale: str) -> Path:
    """Where the runs of a study, or the page of a figure, usually are: in `results` if there is such a folder."""
    kept, new = (root / folder_name(name, scale) for root in ROOTS)
    return kept if kept.is_dir() else new


def _beside(out: Path, name: str) -> Path:
    """The folder of another study; if `out` is in `results` or `runs`, in the one of them that has it."""
    elsewhere = [root / name for root in ROOTS if out.parent in ROOTS and (root / name).is_dir()]
    return elsewhere[0] if elsewhere else out.with_name(name)


def configuration(algorithm: str, training: Training, family: str) -> dict[str, Any]:
    """An algorithm's whole configuration as JSON: the preset's, with the settings.

    Raises:
        OnebodyError: a setting does not exist, or has a value that is not allowed.
    """
    values = configs.to_json(presets.preset(algorithm, training.preset, family))
    for name, value in _flat(training.settings):
        place, last = _place(algorithm, values, name)
        like = place[last]
        if not _alike(value, like):
            raise OnebodyError(f"{algorithm}: setting {name} must be like {json.dumps(like)}, not {value!r}")
        place[last] = value
    kind = typing.get_type_hints(presets.algorithm(algorithm))["config"]
    return configs.to_json(configs.from_json(kind, values))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their whole names; `trpo.shrink = 0.5` without quotes is a table inside a table."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _alike(value: Any, like: Any) -> bool:
    """Whether a value has the type of the preset's: numbers, strings, truth values, or lists of numbers."""
    if like is None:
        return True
    if isinstance(like, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(like, bool)
    if isinstance(like, list):
        kinds = int if all(isinstance(each, int) for each in like) else (int, float)
        return isinstance(value, list | tuple) and all(isinstance(each, kinds) for each in value)
    if isinstance(like, int):
        return isinstance(value, int)
    return isinstance(value, int | float) if isinstance(like, float) else isinstance(value, type(like))


def settings_of(algorithm: str, preset: str, family: str, names: Sequence[str]) -> dict[str, Any]:
    """The values that settings have in a preset, by name.

    Raises:
        OnebodyError: a setting does not exist.
    """
    values = configs.to_json(presets.preset(algorithm, preset, family))
    places = {name: _place(algorithm, values, name) for name in names}
    return {name: place[last] for name, (place, last) in places.items()}


def _place(algorithm: str, values: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """Where a setting stands in a configuration: the innermost object, and the key in it."""
    *path, last = name.replace("-", "_").split(".")
    place: Any = values
    for part in path:
        place = place.get(part) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last not in place:
        near, _, _ = did_you_mean(name, [known for known, _ in _flat(values)]).partition("; known")
        raise OnebodyError(f"{algorithm} has no setting {name!r}{near} (onebody train {algorithm} --help)")
    return place, last


def names() -> list[str]:
    """Names of the studies that come with the package."""
    return list(all_built_in())


def get(name: str) -> Study:
    """A study by its name, or `FILE.toml` or `FILE.toml:NAME` for one of the user's own.

    Raises:
        OnebodyError: there is none of this name or several, or the file is missing or wrong; says what is.
    """
    found = named(name)
    if len(found) > 1:
        raise OnebodyError(f"{name} has the studies {', '.join(each.name for each in found)}: name one")
    return found[0]


def named(name: str) -> list[Study]:
    """The study of a name; or all panels of a figure, as `smt-1` is smt-1a to smt-1h; or those of `FILE.toml`.

    Raises:
        OnebodyError: there is none of this name, or the file is missing or wrong; says what is.
    """
    path, in_file, inner = name.partition(".toml")
    found = read(Path(f"{path}.toml")) if in_file else all_built_in()
    if in_file and not inner:
        return list(found.values())
    if in_file and (inner := inner.removeprefix(":")) not in found:
        listed = ", ".join(found)
        raise OnebodyError(f"{path}.toml has the studies {listed}: name one, as in {path}.toml:{min(found)}")
    if in_file:
        return [found[inner]]
    panels = figures()
    if name not in found and name not in panels:
        raise OnebodyError(f"no study {name!r}{did_you_mean(name, [*found, *panels])}")
    return [found[name]] if name in found else [found[each] for each in panels[name]]


def figures() -> dict[str, list[str]]:
    """The figures of the package that have several panels, and the names of their studies."""
    contents = [tomllib.loads(path.read_text()) for path in sorted(BUILT_IN.glob("*.toml"))]
    every = [study for content in contents for study in content["studies"]]
    return {
        figure: [study for study in every if re.match(rf"{re.escape(figure)}[a-z-]", study)]
        for content in contents
        for figure in content.get("figures", [])
    }


def all_built_in() -> dict[str, Study]:
    """The studies that come with the package, by name."""
    return {name: study for path in sorted(BUILT_IN.glob("*.toml")) for name, study in read(path).items()}


def read(path: Path) -> dict[str, Study]:
    """The studies of a file, by name.

    Raises:
        OnebodyError: the file is missing, no TOML, or has wrong or missing fields.
    """
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise OnebodyError(f"there is no file {path}") from None
    except tomllib.TOMLDecodeError as error:
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
        known = ("algorithm", "label", "runs_of", *SCALES)
        if unknown := sorted(given.keys() - set(known)):
            near = did_you_mean(unknown[0], known)
            raise OnebodyError(f"{path}: [systems.{system}]: no field {unknown[0]!r}{near}")
        if not isinstance(of := given.get("runs_of", ""), str):
            raise OnebodyError(f"{path}: [systems.{system}]: runs_of must be a string, not {of!r}")
    systems = [
        System(
            system,
            given.get("algorithm", given.get("runs_of", "").partition("/")[2] or system),
            given.get("label", system),
            {s: _made(Training, given[s], f"{path}: [systems.{system}] {s}") for s in SCALES if s in given},
            given.get("runs_of", ""),
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


def seeds_of(name: str, out: Path) -> dict[int, Path]:
    """Run folders of a system in a study's folder, by seed."""
    runs = {}
    for path in out.glob(f"{glob.escape(name)}-s*"):
        match = re.fullmatch(rf"{re.escape(name)}-s(\d+)", path.name)
        if match and (path / folder.CONFIG).exists():
            runs[int(match[1])] = path
    return dict(sorted(runs.items()))


def minutes(runs: Sequence[Path]) -> float:
    """Mean time (min) that the iterations of runs took together, without tests; NaN if there are none.

    A log that was thinned counts with all of its iterations.
    """
    each = []
    for lines in map(log.read, runs):
        times = [line["time/step"] / 60 for line in lines if "time/step" in line]
        each += [sum(times) / len(times) * lines[-1]["iteration"]] if times else []
    return sum(each) / len(each) if each else math.nan


def tests(run: Path, tasks: Sequence[Any]) -> dict[int, list[dict[str, Any]]]:
    """The stages of a run's meta-tests on these tasks, by the real samples of training at which they were made."""
    files = [*sorted(run.glob("evaluations/*.json")), *sorted(run.glob("evaluation*.json"))]
    results = [json.loads(path.read_text()) for path in files]
    return {
        each["training_samples"]: each["stages"]
        for each in sorted(results, key=lambda result: (result["training_samples"], len(result["stages"])))
        if np.shape(each["stages"][0]["tasks"]) == np.shape(tasks) and np.allclose(each["stages"][0]["tasks"], tasks)
    }
