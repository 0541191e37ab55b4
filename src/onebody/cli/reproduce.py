"""`onebody reproduce`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from onebody.cli.options import Flag, ManyRuns
from onebody.cli.printing import print_json, print_table


@dataclass(frozen=True)
class Reproduce(ManyRuns):
    """Reproduce a figure of a paper by its name: train and test what is missing, draw it beside published numbers.

    Without a name: list all of them, with what is there already.
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
        print_table([*map(_shown, rows)])
        print("runs: finished or begun, of those that the scale laptop has; hours left: wall time of one run after the")
        print("other without tests, from finished runs, or from those of the algorithm in other studies (~)")
        print(f"figures with several panels: {', '.join(studies.figures())}")
        print("next: onebody reproduce STUDY --seeds 3, or --scale smoke to try the command")

    def _reproduce(self) -> None:
        from onebody.core.errors import OnebodyError
        from onebody.runs import executors, jobs, studies

        if self.seeds is not None and self.seeds < 1:
            raise OnebodyError(f"--seeds must be at least 1, not {self.seeds}")
        each = studies.named(self.study)
        name = each[0].name if len(each) == 1 else Path(self.study).stem
        out = self.out or studies.folder_of(name, self.scale)
        folders = [out]
        if len(each) > 1:
            root = self.out
            folders = [
                root / studies.file_name(study.name) if root else studies.folder_of(study.name, self.scale)
                for study in each
            ]
        todo = []
        if not self.only_draw:
            every = {
                job.out: job
                for study, place in zip(each, folders, strict=True)
                for job in studies.jobs_of(study, place, self.scale, self.seeds or study.seeds)
            }
            todo = [job for job in every.values() if not jobs.is_done(job)]
            studies.check_logs(each, todo)
        if todo:
            executor = executors.of(self.on, self.workers, self.quiet, len(todo))
            out.mkdir(parents=True, exist_ok=True)
            executors.do_all(todo, executor, self.quiet)
        result = self._drawn(name, each, folders, out)
        if not result:
            raise OnebodyError(f"{out} has no run of {name} to draw: leave --only-draw out to train them")
        if self.json:
            return print_json({"study": name, "trained": len(todo)} | result)
        for kind, path in result.items():
            print(f"{kind}: {path}")

    def _drawn(self, name: str, each: Sequence[Any], folders: Sequence[Path], out: Path) -> dict[str, str]:
        """Draw what there is, print its tables, and say what is missing; empty if there is no run."""
        from onebody.reports import study as report
        from onebody.reports import study_runs, study_table

        read = map(study_runs.read, each, folders)
        shown = [trained for trained in read if trained.any_runs]
        if not shown:
            return {}
        written = report.write(name, shown, out)
        if not self.json:
            for trained in shown:
                print(f"{trained.study.name}: {trained.study.title}\n\n{study_table.table(trained)}\n")
            print(f"{report.brackets()}\n")
            if missing := [study.name for study in each if study.name not in [trained.study.name for trained in shown]]:
                print(f"without runs, so not drawn: {', '.join(missing)}")
        return {kind: str(path) for kind, path in written.items()}

    def _draw_all(self) -> None:
        """Draw every figure that has a folder, and every study with runs that is no panel of one of them."""
        from onebody.core.errors import OnebodyError
        from onebody.runs import studies

        if self.out:
            raise OnebodyError("--only-draw without a name draws each study in its own folder: leave --out out")
        built_in, drawn, results = studies.all_built_in(), set(), []
        groups = {
            name: panels for name, panels in studies.figures().items() if studies.folder_of(name, self.scale).is_dir()
        }
        for name, panels in [*groups.items(), *((name, [name]) for name in built_in)]:
            if name in drawn:
                continue
            each = [built_in[panel] for panel in panels]
            folders = [studies.folder_of(panel, self.scale) for panel in panels]
            if result := self._drawn(name, each, folders, studies.folder_of(name, self.scale)):
                drawn |= {name, *panels}
                results.append({"study": name, "trained": 0} | result)
                if not self.json:
                    print(f"page: {result['page']}\n")
        if not results:
            raise OnebodyError("there are no runs to draw in results or runs: onebody reproduce STUDY trains them")
        if self.json:
            print_json(results)


def minutes_of(study: Any) -> dict[str, float]:
    """Mean time (min) of a training run of each system of a study that has any at the scale laptop."""
    from onebody.runs import studies

    out, result = studies.folder_of(study.name, "laptop"), {}
    for system in study.systems:
        place, name = studies.place_of(study, system, out)
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

    out, there, hours, guessed = studies.folder_of(study.name, "laptop"), 0, 0.0, False
    for system in study.systems:
        place, name = studies.place_of(study, system, out)
        runs = min(len(studies.seeds_of(name, place)), study.seeds)
        there += runs
        if runs < study.seeds:
            own = minutes.get(system.name, math.nan) / 60
            guessed |= math.isnan(own)
            hours += (study.seeds - runs) * (usual.get(system.algorithm, math.nan) if math.isnan(own) else own)
    return {
        "study": study.name,
        "runs": f"{there}/{len(study.systems) * study.seeds}",
        "hours_left": None if math.isnan(hours) else round(hours, 2),
        "estimated": guessed,
        "systems": " ".join(system.name for system in study.systems),
        "title": study.title,
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the list shows it."""
    hours, guessed = row["hours_left"], row["estimated"]
    text = "" if hours is None else f"{'~' * guessed}{hours:.1f}"
    return {
        {"hours_left": "hours left"}.get(name, name): x
        for name, x in (row | {"hours_left": text}).items()
        if name != "estimated"
    }
