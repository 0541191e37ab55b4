"""Writes `summary.csv` and draws `figure.png` from the raw results beside this file: python plot.py"""

import csv
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).parent
TASKS = {20_000: 5, 80_000: 20, 120_000: 30}
"""real samples, and the training tasks they are of"""


def stages(run, samples):
    return [np.mean(s["returns"]) for s in json.loads((run / f"evaluation-{samples}.json").read_text())["stages"]]


def main():
    runs = sorted(HERE.glob("smt-s*"))
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    with (HERE / "summary.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["seed", "training tasks", "stage 0", "stage 1"])
        found = np.array([[stages(run, samples) for samples in TASKS] for run in runs])
        for run, means in zip(runs, found, strict=True):
            for n, values in zip(TASKS.values(), means, strict=True):
                rows.writerow([run.name[-1], n, *(f"{x:.1f}" for x in values)])
    for stage, label in enumerate(("zero-shot", "after 4,000 samples of the task")):
        values = found[..., stage]
        axes.plot(TASKS.values(), values.T, "o-", ms=2, lw=0.7, alpha=0.5, color=f"C{stage}")
        axes.plot(TASKS.values(), values.mean(0), "o-", ms=4, color=f"C{stage}", label=label)
    axes.set_xlabel("training tasks (4,000 real samples each)")
    axes.set_ylabel("mean return, 16 held-out tasks")
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(HERE / "figure.png", dpi=110)


if __name__ == "__main__":
    main()
