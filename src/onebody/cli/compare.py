"""`onebody compare`."""

import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from onebody.cli.options import Flag
from onebody.cli.printing import print_json, print_table
from onebody.core.errors import OnebodyError

UNEQUAL = 1.1
"""times the least real samples of training, above which a comparison says that they differ"""


@dataclass(frozen=True)
class Compare:
    """Train several algorithms on a family with several seeds, test all alike, and report which is better where the
    evidence is conclusive. The same command again does only what is missing.
    """

    family: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="FAMILY")]] = ""
    """onebody list --families; or FILE.py:ID, a family that a Python file of yours registers"""
    algorithms: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="ALGORITHM")]] = ()
    """onebody list --algorithms"""
    figure: str = ""
    """panel of Figure 1 or 2 of the SMT paper, by the paper's letter (smt-1a to smt-1h, smt-2a to smt-2d), in place of
    a family and algorithms: compares smt, omni, maml and oracle on the panel's family"""
    seeds: int = 5
    """number of trainings of each algorithm; fewer than 5 have no 95% interval and no verdict, only a range"""
    preset: str = "laptop"
    """paper, laptop or smoke, for all of them; or another that they all have"""
    samples: int | None = None
    """end each training at this many real samples; None: as long as its preset says"""
    evaluate_every: int = 0
    """iterations between tests of stage 0 in training, for its curve in the report; 0 for none"""
    stages: int = 3
    """stages of adaptation after stage 0, which has no real sample of a task"""
    tasks: int = 40
    """number of held-out tasks"""
    grid: int = 0
    """in place of held-out tasks, a grid of so many a side over the box of tasks, its edges included"""
    beyond: float = 1.0
    """how many times as wide as the box of tasks the grid is: above 1 it has tasks that training never draws"""
    out: Path | None = None
    """folder of the run folders; None: runs/compare-FAMILY"""
    json: Flag = False
    """print JSON"""
    quiet: Flag = False
    """show no progress"""

    def __call__(self) -> None:
        from onebody.runs import compare
        from onebody.runs.evaluate import MetaTest, told
        from onebody.runs.statistics import FEWEST
        from onebody.tasks import registry

        family, algorithms = self._asked(compare.FIGURES, compare.COMPARED)
        family = registry.make(family).id
        out = self.out or Path("runs") / f"compare-{family.replace('/', '-')}"
        found = compare.compare(
            algorithms,
            family,
            out=out,
            seeds=self.seeds,
            preset=self.preset,
            samples=self.samples,
            evaluate_every=self.evaluate_every,
            test=MetaTest(self.tasks, self.stages, self.grid, self.beyond),
            quiet=self.quiet,
        )
        if self.json:
            return print_json(found)
        print(f"in parentheses: 95% intervals over seeds, or the range of fewer than {FEWEST} seeds")
        for known in (True, False):
            shown = {name: each for name, each in found["algorithms"].items() if each["task_is_known"] is known}
            if shown:
                kind = "known" if known else "hidden"
                print(f"{found['family']}, {kind} task: returns on {found['tested']} ({told(known)})")
                print_table([row for name, each in shown.items() for row in _merged(_compared(name, each))])
        print(
            "P: share of tasks on which a training of the first has the higher return, mean over pairs of equal seeds"
        )
        print_table([*_merged(map(_improved, found["improvement"]))])
        for a, b in itertools.combinations(found["algorithms"], 2):
            seeds = [set(found["algorithms"][name]["seeds"]) for name in (a, b)]
            if seeds[0] != seeds[1]:
                common = ", ".join(map(str, sorted(seeds[0] & seeds[1])))
                said = f"only by the seeds that both have, {common}" if common else "not: they have no seed in common"
                print(f"onebody: {a} and {b} are compared {said}", file=sys.stderr)
        trained = {name: max(each["training_samples"]) for name, each in found["algorithms"].items()}
        if max(trained.values()) > UNEQUAL * min(trained.values()):
            listed = ", ".join(f"{name} {samples:,}" for name, samples in trained.items())
            print(f"onebody: trained on unequal real samples ({listed}); --samples N ends each at N", file=sys.stderr)
        taken = {name: each["stages"][-1]["adaptation_samples"] for name, each in found["algorithms"].items()}
        if max(taken.values()) != min(taken.values()):
            listed = ", ".join(f"{name} {samples:,}" for name, samples in taken.items())
            print(f"onebody: stage {self.stages} has unequal real samples of a task ({listed})", file=sys.stderr)
        for name, each in found["algorithms"].items():
            for run, why in each["diverged"].items():
                print(
                    f"onebody: {name} diverged in {run}, its last good checkpoint is compared: {why}", file=sys.stderr
                )
            if each["stages"][0]["mean"]["interval"] is None:
                seeds = f"{len(each['seeds'])} of the {FEWEST} seeds"
                print(f"onebody: {name} has {seeds} that a 95% interval needs", file=sys.stderr)

    def _asked(self, figures: Mapping[str, str], compared: Sequence[str]) -> tuple[str, Sequence[str]]:
        """The family and the algorithms, typed or those of a figure."""
        if not self.figure:
            if not self.family or not self.algorithms:
                raise OnebodyError("compare needs a family and algorithms, as in: onebody compare cheetah-vel omni smt")
            return self.family, self.algorithms
        if self.family:
            raise OnebodyError(f"--figure {self.figure} says what is compared; leave {self.family} out")
        if self.figure not in figures:
            raise OnebodyError(f"no figure {self.figure!r}; known: {', '.join(figures)}")
        return figures[self.figure], compared


@dataclass(frozen=True)
class Report:
    """Show runs of one family that were tested (compare, evaluate) in one HTML file: curves, tables, intervals."""

    runs: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN")]
    """folders of the trainings"""
    out: Path = Path("report.html")
    """the file to write"""
    json: Flag = False
    """print JSON"""

    def __call__(self) -> None:
        from onebody.reports import comparison

        path = comparison.write(self.runs, self.out)
        print_json({"report": str(path)}) if self.json else print(f"report: {path}")


def _merged(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of stages in a row that differ in nothing else, as of an algorithm that does not adapt, as one."""
    for _, alike in itertools.groupby(rows, lambda row: {**row, "stage": None}):
        first, *others = alike
        yield {**first, "stage": f"{first['stage']} to {others[-1]['stage']}" if others else first["stage"]}


def _compared(name: str, found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each stage of an algorithm."""
    from onebody.runs.statistics import points, shown

    samples = sum(found["training_samples"]) / len(found["training_samples"])
    for stage in found["stages"]:
        yield {
            "algorithm": name,
            "seeds": len(found["seeds"]),
            "training_samples": f"{samples:,.0f}",
            "stage": stage["stage"],
            "samples_of_the_task": f"{stage['adaptation_samples']:,}",
            "mean": shown(stage["mean"], ".1f"),
            "mean_by_seed": points(stage["mean"], ".1f"),
            "iqm": shown(stage["iqm"], ".1f"),
            "worst_task": shown(stage["worst"], ".1f"),
        }


def _improved(found: dict[str, Any]) -> dict[str, Any]:
    from onebody.runs.statistics import points, shown, verdict

    return {
        "stage": found["stage"],
        "algorithm": found["algorithm"],
        "over": found["over"],
        "P": shown(found, ".2f"),
        "P_by_seed": points(found, ".2f"),
        "better": verdict(found["interval"], found["algorithm"], found["over"]),
    }
