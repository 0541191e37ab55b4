"""Writes `summary.csv` and `differences.csv` and draws `figure.png` from the raw results beside this file: python plot.py"""

import csv
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from onebody.runs import statistics

HERE = Path(__file__).parent
NAMES = {"smt": "SMT", "smt-active": "active SMT"}
TASKS = {20_000: 5, 80_000: 20, 120_000: 30}
"""real samples, and the training tasks they are of"""


def test(run, samples):
    return json.loads((run / f"evaluation-{samples}.json").read_text())["stages"][0]


def scores(name, samples):
    """Mean return of each task, [seed, task]."""
    return np.array([np.mean(test(run, samples)["returns"], axis=1) for run in sorted(HERE.glob(f"{name}-s*"))])


def differences():
    """Of active selection: its mean return less SMT's, and the probability that a training of it beats one of SMT's on a
    task, with 95% bootstrap intervals (seeds and tasks)."""
    for samples, n in TASKS.items():
        both = scores("smt-active", samples), scores("smt", samples)
        for what, statistic in (
            ("difference of means", lambda ours, theirs: statistics.mean(ours) - statistics.mean(theirs)),
            ("probability of improvement", statistics.improvement),
        ):
            found = statistics.estimate(statistic, *both)
            yield [n, what, f"{found.value:.2f}", *(f"{x:.2f}" for x in found.interval or ())]


def main():
    with (HERE / "differences.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["training tasks", "of active selection", "value", "low", "high"], *differences()])
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    with (HERE / "summary.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["algorithm", "seed", "training tasks", "mean return", "worst task"])
        for i, (name, title) in enumerate(NAMES.items()):
            runs = sorted(HERE.glob(f"{name}-s*"))
            means = np.array([[test(run, samples)["mean"] for samples in TASKS] for run in runs])
            for run in runs:
                for samples, n in TASKS.items():
                    found = test(run, samples)
                    rows.writerow([title, run.name[-1], n, f"{found['mean']:.1f}", f"{found['worst']:.1f}"])
            axes.plot(TASKS.values(), means.T, "o-", ms=2, lw=0.7, alpha=0.5, color=f"C{i}")
            axes.plot(TASKS.values(), means.mean(0), "o-", ms=4, color=f"C{i}", label=title)
    axes.set_xticks(list(TASKS.values()))
    axes.set_xlabel("training tasks (4,000 real samples each)")
    axes.set_ylabel("mean zero-shot return, 20 held-out tasks")
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(HERE / "figure.png", dpi=110)


if __name__ == "__main__":
    main()
