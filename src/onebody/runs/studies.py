"""The studies of the package and of files, their training runs, and the folders of these."""

import functools
import glob
import math
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onebody.core.errors import OnebodyError, did_you_mean
from onebody.runs import evaluate, folder, log, logged, logged_files, settings, study_file
from onebody.runs.jobs import Job
from onebody.runs.study_file import SCALES, Study, System
from onebody.tasks import registry

BUILT_IN = Path(__file__).parent.parent / "studies"
"""folder of the studies that come with the package"""


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


def place_of(study: Study, system: System, out: Path) -> tuple[Path, str]:
    """Folder and name of a system's runs: in `out`, or in the folder of the study that they belong to.

    That folder is the usual one of that study if `out` is the usual one of this study, otherwise inside `out`.
    """
    if not system.runs_of:
        return out, system.name
    owner, _, name = system.runs_of.partition("/")
    usual = next((scale for scale in SCALES if out.name == folder_name(study.name, scale)), None)
    place = out / file_name(owner) if usual is None else _beside(out, folder_name(owner, usual))
    return place, name or system.name


def owner_of(study: Study, system: System) -> tuple[Study, System]:
    """The study and the system that a system's runs belong to.

    Raises:
        OnebodyError: `runs_of` names no other system of the package, or one of another family.
    """
    if not system.runs_of:
        return study, system
    name, _, of = system.runs_of.partition("/")
    where = f"{study.name}: runs_of = {system.runs_of!r} of {system.name}"
    try:
        owner = get(name)
    except OnebodyError as error:
        raise OnebodyError(f"{where} must name a study of the package: {error}") from error
    found = {each.name: each for each in owner.systems}
    if (of := of or system.name) not in found:
        raise OnebodyError(f"{where}: {name} has no system {of!r}{did_you_mean(of, found)}")
    if found[of].runs_of:
        raise OnebodyError(f"{where}: name {found[of].runs_of}, where these runs are taken from")
    if owner.family != study.family:
        raise OnebodyError(f"{where}: {name} is a study of {owner.family}, this one of {study.family}")
    return owner, found[of]


def jobs_of(study: Study, out: Path, scale: str, seeds: int) -> list[Job]:
    """All training runs, those with seed 0 first, into `out/SYSTEM-sSEED`.

    Raises:
        OnebodyError: no system of the study has this scale, or a setting does not exist.
    """
    if "tasks" in study.charts and not registry.make(study.family).space.size:
        raise OnebodyError(f"{study.name}: {study.family} is a single task, so leave out the chart tasks")
    return [job_of(study, system, out, scale, seed) for seed in range(seeds) for system in study.systems]


def check_logs(studies: Sequence[Study], todo: Sequence[Job]) -> None:
    """Raises OnebodyError, saying how to make them, if training runs learn from logs that are missing."""
    missing = {source for job in todo for source in job.data if not logged_files.exists(source)}
    if not missing:
        return
    lacking = [study for study in studies if any(missing.intersection(system.data) for system in study.systems)]
    hints = [f"; to make them for {study.name}: {study.made_by}" for study in lacking if study.made_by]
    raise OnebodyError(f"there is no file {', '.join(sorted(missing))}{''.join(hints)}")


def job_of(study: Study, system: System, out: Path, scale: str, seed: int) -> Job:
    """One training run of a system. Raises as `jobs_of`."""
    owner, of = owner_of(study, system)
    place, name = place_of(study, system, out)
    if system.runs_of:
        return job_of(owner, of, place, scale, seed)
    if scale not in system.trainings:
        raise OnebodyError(
            f"{study.name} has no scale {scale} for {name}: add {scale} = {{ … }} to the system, or choose another "
            "--scale"
        )
    family, training = registry.make(study.family), system.trainings[scale]
    try:
        changes = (logged.changes(system.algorithm) if system.data else {}) | training.settings
        config = settings.configuration(system.algorithm, training.preset, changes, family.id)
    except OnebodyError as error:
        raise OnebodyError(f"{study.name}: [systems.{name}]: {error}") from error
    return Job(
        algorithm=system.algorithm,
        family=registry.portable(family)[0],
        out=place / f"{name}-s{seed}",
        seed=seed,
        preset=training.preset,
        config=config,
        samples=training.samples,
        evaluate_every=training.evaluate_every,
        test=study.test,
        data=system.data,
    )


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
    found = study_file.read(Path(f"{path}.toml")) if in_file else all_built_in()
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
    return _panels(BUILT_IN)


@functools.cache
def _panels(folder: Path) -> dict[str, list[str]]:
    """As `figures`, of the files in a folder, each of which is read once."""
    contents = [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.toml"))]
    every = [study for content in contents for study in content["studies"]]
    return {
        figure: [study for study in every if re.match(rf"{re.escape(figure)}[a-z-]", study)]
        for content in contents
        for figure in content.get("figures", [])
    }


def all_built_in() -> dict[str, Study]:
    """The studies that come with the package, by name."""
    return _studies_in(BUILT_IN)


@functools.cache
def _studies_in(folder: Path) -> dict[str, Study]:
    """The studies of the files in a folder, by name; each file is read once."""
    return {name: study for path in sorted(folder.glob("*.toml")) for name, study in study_file.read(path).items()}


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
    results = map(evaluate.read, files)
    return {
        each["training_samples"]: each["stages"]
        for each in sorted(results, key=lambda result: (result["training_samples"], len(result["stages"])))
        if np.shape(each["stages"][0]["tasks"]) == np.shape(tasks) and np.allclose(each["stages"][0]["tasks"], tasks)
    }
