"""`onebody reproduce`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from onebody.cli.options import Flag, ManyRuns
from onebody.cli.printing import print_json, print_table


@dataclass(frozen=True)
class Reproduce(ManyRuns):
    """Reproduce a figure of a paper by its name: train and test what is missing, then draw it beside the published
    numbers. Without a name: list all of them, with what is there already.
    """

    study: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="STUDY")]] = ""
    """Name of a panel, such as smt-1a, or of a figure with all its panels, such as smt-1; or FILE.toml or
    FILE.toml:NAME for those that your own file describes"""
    seeds: int | None = None
    """Number of training runs per system, with seeds 0, 1, 2, …; None: what the study says"""
    scale: Literal["laptop", "paper", "smoke"] = "laptop"
    """Size of the training runs: laptop (minutes to hours), paper (published sizes) or smoke (to try the command)"""
    out: Path | None = None
    """Folder of the study; None: results/STUDY where there is one, otherwise runs/STUDY; with another scale than
    laptop, STUDY-SCALE"""
    only_draw: Flag = False
    """Train nothing: draw what is there; without a name, all figures that have runs"""

    def __call__(self) -> None:
        from onebody.runs import studies

        if self.study:
            return self._reproduce()
        if self.only_draw:
            return self._draw_all()
        built_in = studies.all_built_in()
        minutes = {name: minutes_of(study) for name, study in built_in.items()}
        usual = _hours(minutes, built_in)
        rows = [_state(study, minutes[name], usual) for name, study in built_in.items()]
        if self.json:
            return print_json(rows)
        print_table(rows)
        print(
            "runs: there, of those at the scale laptop; hours left: of one core, from training runs that are there, or"
        )
        print("of the same algorithm in other studies (~); empty where there is none")
        print("next: onebody reproduce STUDY --seeds 3, or --scale smoke to try the command")

    def _reproduce(self) -> None:
        from onebody.core.errors import OnebodyError
        from onebody.reports import study as report
        from onebody.runs import executors, jobs, studies

        if self.seeds is not None and self.seeds < 1:
            raise OnebodyError(f"--seeds must be at least 1, not {self.seeds}")
        each = studies.named(self.study)
        name = each[0].name if len(each) == 1 else Path(self.study).stem
        out = self.out or folder_of(name, self.scale)
        folders = [folder_of(study.name, self.scale, self.out) for study in each] if len(each) > 1 else [out]
        todo = []
        if not self.only_draw:
            pairs = zip(each, folders, strict=True)
            every = [job for study, place in pairs for job in study.jobs(place, self.scale, self.seeds or study.seeds)]
            todo = [job for job in {job.out: job for job in every}.values() if not jobs.is_done(job)]
        if todo:
            out.mkdir(parents=True, exist_ok=True)
            executors.do_all(todo, executors.of(self.on, self.workers, self.quiet, len(todo)), self.quiet)
        shown = [pair for pair in zip(each, folders, strict=True) if report.has_runs(*pair)]
        if not shown:
            raise OnebodyError(f"{out} has no run of {name} to draw: leave --only-draw out to train them")
        each, folders = zip(*shown, strict=True)
        written = report.write(name, each, folders, out)
        if self.json:
            return print_json({"study": name, "trained": len(todo)} | {k: str(v) for k, v in written.items()})
        for study, place in shown:
            print(f"{study.name}: {study.title}\n\n{report.table(study, place)}\n")
        print(f"{report.brackets()}\n")
        for kind, path in written.items():
            print(f"{kind}: {path}")

    def _draw_all(self) -> None:
        """Draw every figure that has a folder, and every study with runs that is no panel of one of them."""
        from dataclasses import replace

        from onebody.reports import study as report
        from onebody.runs import studies

        names = [path.name for root in ROOTS for path in sorted(root.glob("*/")) if studies.is_figure(path.name)]
        panels = [study.name for name in names for study in studies.named(name)]
        for name, study in studies.all_built_in().items():
            if name not in panels and report.has_runs(study, folder_of(name, self.scale)):
                names.append(name)
        for name in names:
            replace(self, study=name, out=None)._reproduce()


ROOTS = (Path("results"), Path("runs"))
"""folders with the folders of studies"""


def folder_of(name: str, scale: str, root: Path | None = None) -> Path:
    """Where a study's runs are by default: each scale has its own folder."""
    from onebody.runs import studies

    name = studies.file_name(name) + ("" if scale == "laptop" else f"-{scale}")
    if root:
        return root / name
    kept, new = (each / name for each in ROOTS)
    return kept if kept.is_dir() else new


def minutes_of(study: Any) -> dict[str, float]:
    """Mean time (min) of a training run of each system of a study that has any at the scale laptop."""
    from onebody.runs import studies

    out, result = folder_of(study.name, "laptop"), {}
    for system in study.systems:
        place, name = study.place(system, out)
        each = studies.minutes(list(studies.seeds_of(name, place).values()))
        if not math.isnan(each):
            result[system.name] = each
    return result


def _hours(minutes: Mapping[str, dict[str, float]], built_in: Mapping[str, Any]) -> dict[str, float]:
    """Mean time (h) of a training run of each algorithm, over all studies."""
    each: dict[str, list[float]] = {}
    for name, study in built_in.items():
        for system in study.systems:
            if system.name in minutes[name]:
                each.setdefault(system.algorithm, []).append(minutes[name][system.name] / 60)
    return {algorithm: sum(times) / len(times) for algorithm, times in each.items()}


def _state(study: Any, minutes: Mapping[str, float], usual: Mapping[str, float]) -> dict[str, Any]:
    """One row of the list of studies.

    Args:
        minutes: mean time (min) of a training run, by system.
        usual: mean time (h) of a training run in any study, by algorithm.
    """
    from onebody.runs import studies

    out, there, hours, guessed = folder_of(study.name, "laptop"), 0, 0.0, False
    for system in study.systems:
        place, name = study.place(system, out)
        runs = min(len(studies.seeds_of(name, place)), study.seeds)
        there += runs
        if runs < study.seeds:
            own = minutes.get(system.name, math.nan) / 60
            guessed |= math.isnan(own)
            hours += (study.seeds - runs) * (usual.get(system.algorithm, math.nan) if math.isnan(own) else own)
    return {
        "study": study.name,
        "runs": f"{there}/{len(study.systems) * study.seeds}",
        "hours left": "" if math.isnan(hours) else f"{'~' * guessed}{hours:.1f}",
        "systems": " ".join(system.name for system in study.systems),
        "title": study.title,
    }
