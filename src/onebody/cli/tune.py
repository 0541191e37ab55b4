"""`onebody tune`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from onebody.cli.options import ManyRuns, check_order
from onebody.cli.printing import print_json


@dataclass(frozen=True)
class Tune(ManyRuns):
    """Search for an algorithm's settings on a family, with seeds from 100 on and without its held-out tasks.

    The same command again goes on where it stopped.
    """

    algorithm: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="ALGORITHM")]]
    """Name of the algorithm; onebody list --algorithms shows all"""
    family: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="FAMILY")]]
    """Id or alias of the task family, or FILE.py:ID for a family that your Python file registers"""
    search: tuple[str, ...] = ()
    """Settings to search for, each as NAME=LOW:HIGH or NAME=LOW:HIGH:log, such as policy.learning-rate=1e-4:1e-2:log;
    two whole numbers for a setting that is one"""
    trials: int = 20
    """Number of trials; the first one has the preset's settings"""
    seeds: int = 3
    """Number of training runs per trial, with seeds 100, 101, 102 and so on"""
    preset: str = "laptop"
    """Named set of hyperparameters that the search starts from"""
    samples: int | None = None
    """Number of real samples (environment steps) per training run; None: all iterations of the preset"""
    out: Path | None = None
    """Folder of the search; None: runs/tune-ALGORITHM-FAMILY"""

    def __call__(self) -> None:
        from onebody.reports import tuning as report
        from onebody.runs import tuning

        check_order("tune", self.family, [self.algorithm], family_first=False)
        ranges = [tuning.Range.parse(text) for text in self.search]
        out = self.out or Path("runs") / f"tune-{self.algorithm}-{self.family.replace('/', '-')}"
        rows = tuning.tune(
            self.algorithm,
            self.family,
            ranges,
            out=out,
            trials=self.trials,
            seeds=self.seeds,
            preset=self.preset,
            samples=self.samples,
            on=self.on,
            workers=self.workers,
            quiet=self.quiet,
        )
        written = report.write(f"{self.algorithm} on {self.family}", rows, out)
        if self.json:
            return print_json(rows)
        print(report.table(rows))
        best = " ".join(f"--config.{name.replace('_', '-')} {value:.6g}" for name, value in rows[0]["settings"].items())
        print(f"score: mean return of real episodes in the last quarter of training, {self.seeds} seed(s) from 100 on")
        print(f"best: onebody train {self.algorithm} {self.family} --preset {self.preset} {best}")
        for name, path in written.items():
            print(f"{name}: {path}")
