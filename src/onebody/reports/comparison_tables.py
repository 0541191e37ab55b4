"""The tables of the page of `onebody report`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onebody.reports import page
from onebody.reports.study_table import TOLD
from onebody.runs import log, studies
from onebody.runs.compare import merged
from onebody.runs.statistics import FEWEST, points, shown, verdict


def _table(rows: Iterable[Mapping[str, Any]], note: str) -> str:
    """Rows by the heads of their columns; those that differ in their stage alone are one. A column whose rows are all
    empty is left out."""
    together = [*merged(rows)]
    names = [name for name in together[0] if any(row[name] for row in together)]
    return page.table(names, [[row[name] for name in names] for row in together]) + page.paragraph(note, "note")


def notes(summary: dict[str, Any]) -> str:
    """Notes on runs that diverged and on algorithms with too few seeds."""
    notes = [
        f"{name} diverged in {run}; its last good checkpoint is compared: {reason}"
        for name, each in summary["algorithms"].items()
        for run, reason in each["diverged"].items()
    ]
    for name, each in summary["algorithms"].items():
        if each["stages"][0]["mean"]["interval"] is None:
            notes.append(f"{name}: {len(each['seeds'])} of the {FEWEST} seeds that a 95% interval needs.")
    return "".join(page.paragraph(note, "note") for note in notes)


def numbers(summary: dict[str, Any], runs: Mapping[str, Sequence[Path]]) -> str:
    """Returns, samples and times; `runs`: run folders by algorithm."""
    kinds = {each["told"] for each in summary["algorithms"].values()}
    rows = []
    for name, each in summary["algorithms"].items():
        minutes = studies.minutes(runs[name])
        for stage in each["stages"]:
            row = {
                "algorithm": name,
                "told": TOLD[each["told"]] if len(kinds) > 1 else "",
                "stage": stage["stage"],
                "mean": shown(stage["mean"], ".1f"),
                "IQM": shown(stage["iqm"], ".1f"),
                "worst": shown(stage["worst"], ".1f"),
                "worst 10%": shown(stage["cvar10"], ".1f"),
                "seeds": f"{len(each['seeds'])}",
                "mean by seed": points(stage["mean"], ".1f"),
                "samples of the task": f"{stage['adaptation_samples']:,}",
                "training samples": f"{np.mean(each['training_samples']):,.0f}",
                "training time (h:min:s)": "–" if math.isnan(minutes) else log.clock(60 * minutes),
            }
            rows.append(row)
    note = (
        "The algorithm with the highest mean at the last stage is first. "
        f"In parentheses: 95% intervals over seeds (Student's t), or the range of fewer than {FEWEST} seeds. "
        "IQM, worst and worst 10% are computed over the tasks of each training run, then averaged over the runs. "
        "Training time: wall time of the iterations of one run, without tests; runs may have shared a computer."
    )
    return _table(rows, note)


def improvement(summary: dict[str, Any]) -> str:
    """Probabilities of improvement and differences."""
    rows = [
        {
            "pair": f"{row['algorithm']} over {row['over']}",
            "stage": row["stage"],
            "probability": shown(row, ".2f"),
            "by seed": points(row, ".2f"),
            "better": verdict(row["interval"], row["algorithm"], row["over"]),
            "difference of means": shown(row["difference"], ".1f"),
        }
        for row in summary["improvement"]
    ]
    if not rows:
        return page.paragraph("No two algorithms have a seed in common, so they are not compared.", "note")
    note = (
        "Probability that a run of the first algorithm has a higher return on a task than a run of the second: the "
        "share of such tasks, ties counted half, averaged over pairs of runs with the same seed. One is called better "
        "if the 95% interval excludes one half. Stages of equal number are compared, even if their real samples differ."
    )
    return _table(rows, note)


def gaps(summary: dict[str, Any]) -> str:
    """How far each algorithm is below the best of all runs."""
    rows = [
        {
            "algorithm": name,
            "stage": stage["stage"],
            "mean gap": shown(stage["gap"]["mean"], ".1f"),
            "worst": shown(stage["gap"]["worst"], ".1f"),
            "worst 10%": shown(stage["gap"]["cvar10"], ".1f"),
        }
        for name, each in summary["algorithms"].items()
        for stage in each["stages"]
    ]
    return _table(
        rows, "Gap: how far the return is below the highest that any of these runs reached on the task, at any stage."
    )
