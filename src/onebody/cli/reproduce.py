"""`onebody reproduce`."""

import math
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
    """Name of the figure, such as smt-1a, or FILE.toml or FILE.toml:NAME for one that your own file describes"""
    seeds: int | None = None
    """Number of training runs per system, with seeds 0, 1, 2, …; None: what the study says"""
    scale: Literal["laptop", "paper", "smoke"] = "laptop"
    """Size of the training runs: laptop (minutes to hours), paper (published sizes) or smoke (to try the command)"""
    out: Path | None = None
    """Folder of the study; None: results/STUDY where there is one, otherwise runs/STUDY; with another scale than
    laptop, STUDY-SCALE"""
    only_draw: Flag = False
    """Train nothing: draw what is there"""

    def __call__(self) -> None:
        from onebody.runs import studies

        if self.study:
            self._reproduce()
            return
        rows = [_state(study) for study in studies.all_built_in().values()]
        if self.json:
            return print_json(rows)
        print_table(rows)
        print("runs: there, of those at the scale laptop; minutes: mean of a training run that is there")
        print("next: onebody reproduce STUDY --seeds 3, or --scale smoke to try the command")

    def _reproduce(self) -> None:
        from onebody.core.errors import OnebodyError
        from onebody.reports import study as report
        from onebody.runs import executors, jobs, studies

        if self.seeds is not None and self.seeds < 1:
            raise OnebodyError(f"--seeds must be at least 1, not {self.seeds}")
        study = studies.get(self.study)
        out = self.out or folder_of(study.name, self.scale)
        todo = []
        if not self.only_draw:
            each = study.jobs(out, self.scale, self.seeds or study.seeds)
            todo = [job for job in each if not jobs.is_done(job)]
        if todo:
            out.mkdir(parents=True, exist_ok=True)
            executors.do_all(todo, executors.of(self.on, self.workers, self.quiet, len(todo)), self.quiet)
        if not any(report.runs_of(study, system, out).paths for system in study.systems):
            raise OnebodyError(f"{out} has no run of {study.name} to draw: leave --only-draw out to train them")
        written = report.write(study, out)
        if self.json:
            return print_json({"study": study.name, "trained": len(todo)} | {k: str(v) for k, v in written.items()})
        print(f"{study.name}: {study.title}\n\n{report.table(study, out)}\n\n{report.brackets(study)}\n")
        for name, path in written.items():
            print(f"{name}: {path}")


def folder_of(name: str, scale: str) -> Path:
    """Where a study's runs are by default: each scale has its own folder."""
    name = name.replace("/", "-") + ("" if scale == "laptop" else f"-{scale}")
    kept = Path("results") / name
    return kept if kept.is_dir() else Path("runs") / name


def _state(study: Any) -> dict[str, Any]:
    """One row of the list of studies."""
    from onebody.runs import studies

    out = folder_of(study.name, "laptop")
    runs = [run for system in study.systems for run in studies.seeds_of(system.name, out).values()]
    each = studies.minutes(runs)
    return {
        "study": study.name,
        "runs": f"{len(runs)}/{len(study.systems) * study.seeds}",
        "minutes": "" if math.isnan(each) else f"{each:.0f}",
        "systems": " ".join(system.name for system in study.systems),
        "title": study.title,
    }
