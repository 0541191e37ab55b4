"""`onebody compare`."""

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from onebody.cli.options import Flag, ManyRuns, Trust, check_order
from onebody.cli.printing import print_json, print_table
from onebody.core.errors import OnebodyError

MAX_SAMPLE_RATIO = 1.1
"""largest ratio between two algorithms' real samples of training at which no warning is printed"""


@dataclass(frozen=True)
class Compare(ManyRuns):
    """Train several algorithms on a family with several seeds, test them on the same tasks, and compare their returns.
    One is called better only where the evidence is conclusive. The same command again does only what is missing.
    """

    family: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="FAMILY")]] = ""
    """Id or alias of the task family (onebody list --families shows all), or FILE.py:ID for a family that your Python
    file registers"""
    algorithms: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="ALGORITHM")]] = ()
    """Names of the algorithms to compare; onebody list --algorithms shows all"""
    seeds: int = 5
    """Number of training runs per algorithm, with seeds 0, 1, 2 and so on; fewer than 5 give no 95% interval and no
    verdict, only a range"""
    preset: str = "laptop"
    """Named set of hyperparameters for all algorithms: paper, laptop or smoke, or another one that all of them have"""
    samples: int | None = None
    """Number of real samples (environment steps) to train each algorithm for; None: all iterations of its preset"""
    evaluate_every: int = 0
    """Number of training iterations between evaluations of stage 0, for the learning curve in the report; 0: no
    evaluation during training"""
    stages: int = 3
    """Number of adaptation stages after stage 0, which takes no real samples of a task"""
    tasks: int = 40
    """Number of held-out tasks"""
    grid: int = 0
    """Number of grid points per dimension, to test on a regular grid over the box of tasks, edges included, instead of
    held-out tasks; 0: held-out tasks"""
    beyond: float = 1.0
    """Width of the grid relative to the box of tasks; above 1, the grid includes tasks that training never samples"""
    out: Path | None = None
    """Folder that holds the run folders; None: runs/compare-FAMILY"""

    def __call__(self) -> None:
        from onebody.algorithms.protocol import KINDS
        from onebody.runs import compare
        from onebody.runs.evaluate import TOLD, MetaTest
        from onebody.runs.statistics import FEWEST
        from onebody.tasks import registry

        if not self.family or not self.algorithms:
            raise OnebodyError("compare needs a family and algorithms, as in: onebody compare cheetah-vel omni smt")
        check_order("compare", self.family, self.algorithms, family_first=True)
        family = registry.make(self.family).id
        out = self.out or Path("runs") / f"compare-{family.replace('/', '-')}"
        result = compare.compare(
            self.algorithms,
            family,
            out=out,
            seeds=self.seeds,
            preset=self.preset,
            samples=self.samples,
            evaluate_every=self.evaluate_every,
            test=MetaTest(self.tasks, self.stages, self.grid, self.beyond),
            on=self.on,
            workers=self.workers,
            quiet=self.quiet,
        )
        if self.json:
            return print_json(result)
        print(f"in parentheses: the 95% interval over seeds, or the range of fewer than {FEWEST} seeds")
        for kind, text in TOLD.items():
            of_kind = {name: each for name, each in result["algorithms"].items() if each["told"] == kind}
            if of_kind:
                print(f"{result['family']}, {KINDS[kind]}: returns on {result['tested']} ({text})")
                print_table([row for name, each in of_kind.items() for row in compare.merged(_stage_rows(name, each))])
        print("P: share of tasks on which the first algorithm has the higher return, averaged over the seeds of both")
        print_table([*compare.merged(map(_improvement_row, result["improvement"]))])
        for message in _warnings(result["algorithms"], self.stages, FEWEST):
            print(f"onebody: {message}", file=sys.stderr)


@dataclass(frozen=True)
class Report:
    """Write one HTML report on runs of one family that compare or evaluate has tested: curves, tables and intervals."""

    runs: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN")]
    """Folders of the training runs"""
    out: Path = Path("report.html")
    """HTML file to write"""
    trust: Trust = False
    json: Flag = False
    """Print the result as JSON"""

    def __call__(self) -> None:
        from onebody.reports import comparison
        from onebody.runs import folder, log

        if self.trust:
            for run in self.runs:
                folder.trust(run)
        with log.announce_if_slow("writing the report", quiet=self.json):
            path = comparison.write(self.runs, self.out)
        written = {"report": path, "returns": path.with_suffix(".csv"), "figures": path.with_suffix("")}
        if self.json:
            return print_json({name: str(each) for name, each in written.items()})
        for name, each in written.items():
            print(f"{name}: {each}")


def _warnings(algorithms: dict[str, Any], stages: int, least_seeds: int) -> Iterator[str]:
    """What limits the comparison: unequal seeds or samples, runs that diverged, too few seeds; one line each."""
    for a, b in itertools.combinations(algorithms, 2):
        seeds = [set(algorithms[name]["seeds"]) for name in (a, b)]
        if seeds[0] != seeds[1]:
            common = ", ".join(map(str, sorted(seeds[0] & seeds[1])))
            yield (
                f"{a} and {b} are compared only on the seeds that both have, {common}"
                if common
                else f"{a} and {b} are not compared: they have no seed in common"
            )
    trained = {name: max(each["training_samples"]) for name, each in algorithms.items()}
    if max(trained.values()) > MAX_SAMPLE_RATIO * min(trained.values()):
        yield f"trained on unequal real samples ({_counts(trained)}); --samples N ends each training run at N"
    adapted = {name: each["stages"][-1]["adaptation_samples"] for name, each in algorithms.items()}
    if max(adapted.values()) != min(adapted.values()):
        yield f"stage {stages} has unequal real samples of a task ({_counts(adapted)})"
    for name, each in algorithms.items():
        for run, reason in each["diverged"].items():
            yield f"{name} diverged in {run}, so its last good checkpoint is compared: {reason}"
        if each["stages"][0]["mean"]["interval"] is None:
            yield f"{name} has {len(each['seeds'])} of the {least_seeds} seeds that a 95% interval needs"


def _counts(samples: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in samples.items())


def _stage_rows(name: str, aggregates: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One table row per stage of an algorithm."""
    from onebody.runs.statistics import points, shown

    samples = sum(aggregates["training_samples"]) / len(aggregates["training_samples"])
    for stage in aggregates["stages"]:
        yield {
            "algorithm": name,
            "seeds": len(aggregates["seeds"]),
            "training_samples": f"{samples:,.0f}",
            "stage": stage["stage"],
            "samples_of_the_task": f"{stage['adaptation_samples']:,}",
            "mean": shown(stage["mean"], ".1f"),
            "mean_by_seed": points(stage["mean"], ".1f"),
            "iqm": shown(stage["iqm"], ".1f"),
            "worst_task": shown(stage["worst"], ".1f"),
        }


def _improvement_row(improvement: dict[str, Any]) -> dict[str, Any]:
    """One table row for a pair of algorithms at one stage."""
    from onebody.runs.statistics import points, shown, verdict

    return {
        "stage": improvement["stage"],
        "algorithm": improvement["algorithm"],
        "over": improvement["over"],
        "P": shown(improvement, ".2f"),
        "P_by_seed": points(improvement, ".2f"),
        "better": verdict(improvement["interval"], improvement["algorithm"], improvement["over"]),
    }
