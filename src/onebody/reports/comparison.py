"""The page of `onebody report`: returns of several runs of one family against samples, with intervals."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onebody.core.errors import OnebodyError
from onebody.reports import charts, hypotheses, page
from onebody.reports.charts import Captioned
from onebody.reports.comparison_charts import adaptation, by_task, differences, in_training, profile, returns, training
from onebody.reports.comparison_tables import gaps, improvement, notes, numbers
from onebody.reports.page import Section
from onebody.runs import compare, folder, log, outputs
from onebody.runs.evaluate import TOLD


def write(runs: Sequence[Path], path: Path) -> Path:
    """Write one self-contained HTML file on runs that were tested (`onebody evaluate`, `onebody compare`).

    Also writes all returns as CSV, one line per episode, next to the page, and each figure as PNG and CSV in a folder
    with the name of the page.

    Raises:
        OnebodyError: as `compare.summary`; or the page, the CSV file or the folder would replace something else.
    """
    outputs.check(path, ".html")
    data, figures = path.with_suffix(".csv"), path.with_suffix("")
    outputs.check(data, ".csv")
    outputs.check_no_part(figures)
    if figures.exists() and not figures.is_dir():
        raise OnebodyError(f"the figures of {path} go into the folder {figures}, which is a file; choose another --out")
    runs = _ranked(runs)
    summary = compare.summary(runs)
    names = list(summary["algorithms"])
    tests = [compare.test_of(run, folder.read_config(run)) for run in runs]
    told = {name: each["told"] for name, each in summary["algorithms"].items()}
    kinds = [
        f"{', '.join(name for name in names if told[name] == kind)}: {text}."
        for kind, text in TOLD.items()
        if kind in told.values()
    ]
    lead = f"Mean returns of deterministic policies on {summary['tested']}, the same for all. {' '.join(kinds)}"
    family = folder.family_of(folder.read_config(runs[0]))
    labels = family.describe()["task"]
    for run, test in zip(runs, tests, strict=True):
        samples = max((row.get("real/samples", 0) for row in log.read(run)), default=0)
        if log.damaged(run) or samples < test["training_samples"]:
            print(f"onebody: {run}: lines of {log.METRICS} are damaged or missing; so is its curve", file=sys.stderr)
    found = [
        returns(summary),
        *([adaptation(summary)] if len(tests[0]["stages"]) > 1 else []),
        profile(tests),
    ]
    differ = [differences(summary)] if summary["improvement"] else []
    curves = [*in_training(runs, names), training(runs, names)]
    tasks = list(by_task(labels, tests, runs, summary["best"], family.space))
    beliefs = list(hypotheses.drawings(labels, tests))
    paths = {name: [run for run, test in zip(runs, tests, strict=True) if test["algorithm"] == name] for name in names}
    better = _figures(differ) + improvement(summary) + gaps(summary)
    sections = [
        Section("Returns", _figures(found) + notes(summary)),
        Section("In numbers", numbers(summary, paths)),
        *([Section("Which is better", better)] if len(names) > 1 else []),
        Section("Training", _figures(curves)),
        *([Section("By task", _figures(tasks))] if tasks else []),
        *([Section("Beliefs about the task", _figures(beliefs))] if beliefs else []),
        Section("Commands and versions", _provenance(runs)),
    ]
    written = page.write(path, f"{summary['family']}: {', '.join(names)}", lead, sections)
    _write_returns(tests, data)
    for drawing, _ in [*found, *differ, *curves, *tasks, *beliefs]:
        charts.save(drawing, figures / drawing.title.lower().replace(",", "").replace(" ", "-"))
    return written


def _ranked(runs: Sequence[Path]) -> list[Path]:
    """The runs, those of the algorithm with the highest mean return at the last stage first."""
    algorithms = compare.summary(runs)["algorithms"]
    names = sorted(algorithms, key=lambda name: -algorithms[name]["stages"][-1]["mean"]["value"])
    return sorted(map(Path, runs), key=lambda run: names.index(folder.read_config(run)["algorithm"]))


def _figures(drawings: Sequence[Captioned]) -> str:
    return page.figures(*((charts.svg(drawing), caption) for drawing, caption in drawings))


def _write_returns(tests: Sequence[dict[str, Any]], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(
            ["algorithm", "seed", "training_samples", "stage", "adaptation_samples", "task", "episode", "return"]
        )
        for test in tests:
            run = test["algorithm"], test["seed"], test["training_samples"]
            for stage in test["stages"]:
                for task, returns in zip(stage["tasks"], stage["returns"], strict=True):
                    setting = *run, stage["stage"], stage["adaptation_samples"], " ".join(f"{x:g}" for x in task)
                    rows.writerows([*setting, i, value] for i, value in enumerate(returns))


def _provenance(runs: Sequence[Path]) -> str:
    records = [folder.read_config(run) for run in runs]
    versions = [page.facts(dict(each)) for each in sorted({tuple(r["versions"].items()) for r in records})]
    return page.command(*map(folder.command, records)) + "".join(versions)
