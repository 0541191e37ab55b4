"""Writes `summary.csv` and `differences.csv` and draws `figure.png` from the raw results beside this file: python plot.py"""

import csv
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from onebody.runs import statistics

HERE = Path(__file__).parent
NAMES = {"admrl": ("AdMRL", "C3"), "mb-unif": ("MB-Unif", "C0"), "mb-gauss": ("MB-Gauss", "C2")}
SAMPLES = (40_000, 80_000, 160_000)
WORST_TENTH = 3
"""of 25 tasks"""


def returns(run, samples):
    """Tasks of the grid and the zero-shot policies' mean return in each."""
    stage = json.loads((run / f"evaluation-{samples}.json").read_text())["stages"][0]
    return np.array(stage["tasks"]), np.mean(stage["returns"], axis=1)


def visited(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return np.array([(row["task/1"], row["task/2"]) for row in rows])


def curves(runs, best):
    """Mean, worst and worst tenth's gap, `[kind, run, samples]`."""
    gap = np.array([[np.sort(best - returns(run, n)[1]) for n in SAMPLES] for run in runs])
    return np.array([gap.mean(-1), gap[..., -1], gap[..., -WORST_TENTH:].mean(-1)])


def differences():
    """Probability that a training of AdMRL beats another on a task, and its mean return less the other's, with 95%
    bootstrap intervals (seeds and tasks)."""
    for samples in SAMPLES:
        scores = {name: np.array([returns(run, samples)[1] for run in sorted(HERE.glob(f"{name}-s*"))]) for name in NAMES}
        for other in ("mb-unif", "mb-gauss"):
            for what, statistic in (
                ("probability of improvement", statistics.improvement),
                ("difference of means", lambda ours, theirs: statistics.mean(ours) - statistics.mean(theirs)),
                ("difference of worst tasks", lambda ours, theirs: statistics.worst(ours) - statistics.worst(theirs)),
            ):
                found = statistics.estimate(statistic, scores["admrl"], scores[other])
                yield [samples, NAMES[other][0], what, f"{found.value:.2f}", *(f"{x:.2f}" for x in found.interval or ())]


def main():
    with (HERE / "differences.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["real samples", "beside", "of AdMRL", "value", "low", "high"], *differences()])
    runs = {name: sorted(HERE.glob(f"{name}-s*")) for name in NAMES}
    every = [returns(run, n)[1] for group in runs.values() for run in group for n in SAMPLES]
    best = np.max(every, axis=0)
    figure = Figure(figsize=(11, 6), layout="constrained")
    above, below = figure.subplots(2, 3)
    with (HERE / "summary.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        head = "mean return", "mean gap", "worst gap", "worst tenth's gap"
        rows.writerow(["algorithm", "seed", "real samples", *head])
        for (name, (title, color)), place in zip(NAMES.items(), below, strict=True):
            found = curves(runs[name], best)
            for i, run in enumerate(runs[name]):
                for j, n in enumerate(SAMPLES):
                    mean = returns(run, n)[1].mean()
                    rows.writerow([title, run.name[-1], n, f"{mean:.1f}", *(f"{x:.1f}" for x in found[:, i, j])])
            for axes, values in zip(above, found, strict=True):
                axes.plot(SAMPLES, values.T, "o-", ms=2, lw=0.7, alpha=0.5, color=color)
                axes.plot(SAMPLES, values.mean(0), "o-", ms=4, color=color, label=title)
            tasks = returns(runs[name][0], SAMPLES[-1])[0]
            gap = np.mean([best - returns(run, SAMPLES[-1])[1] for run in runs[name]], axis=0)
            dots = place.scatter(*tasks.T, c=gap, s=350, vmin=0, vmax=200, cmap="viridis_r", marker="s")
            for run in runs[name]:
                place.plot(*visited(run).T, ".", color="C3", ms=3)
            place.set_title(f"{title}, {SAMPLES[-1]:,} samples: mean gap", fontsize=9)
            place.set_xlabel("velocity x (m/s), dots: training tasks")
        figure.colorbar(dots, ax=below)
    for axes, title in zip(above, ("mean gap", "worst gap", "worst tenth's gap"), strict=True):
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("real samples")
        axes.set_xticks(SAMPLES, [f"{n:,}" for n in SAMPLES])
        axes.set_ylim(bottom=0)
    above[0].legend(fontsize=8, frameon=False)
    below[0].set_ylabel("velocity y (m/s)")
    figure.savefig(HERE / "figure.png", dpi=100)


if __name__ == "__main__":
    main()
