"""Writes `summary.csv` and `differences.csv` and draws `figure.png` from the raw results beside this file: python plot.py"""

import csv
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).parent
NAMES = {"admrl": "AdMRL", "mb-unif": "MB-Unif"}
SAMPLES = (2400, 4800)
SPEED, HORIZON = 0.1, 40


def optimum(tasks):
    """Return of the way straight to each goal: turned or not, a step is as long in every direction."""
    away = np.linalg.norm(tasks, axis=1)[:, None] - SPEED * np.arange(1, HORIZON + 1)
    return -np.maximum(away, 0.0).sum(axis=1)


def gaps(run, samples):
    """Goals of the grid, and how far the zero-shot policy of each is below the optimum."""
    stage = json.loads((run / f"evaluation-{samples}.json").read_text())["stages"][0]
    tasks = np.array(stage["tasks"])
    return tasks, optimum(tasks) - np.mean(stage["returns"], axis=1)


def visited(run, samples):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return np.array([(row["task/1"], row["task/2"]) for row in rows if row["real/samples"] <= samples])


def row(title, run, samples):
    """Of `summary.csv`; elsewhere: without the goal at the corner, the last of the grid."""
    gap, n = gaps(run, samples)[1], len(visited(run, samples))
    found = gap.max(), gap.mean(), gap[:-1].mean()
    return [title, run.name[-1], samples, n, *(f"{x:.2f}" for x in found)]


def differences():
    """Mean worst gap of MB-Unif less AdMRL's at equal samples, and its 95% bootstrap interval over seeds."""
    rng = np.random.default_rng(0)
    for samples in SAMPLES:
        ours, theirs = (
            np.array([gaps(run, samples)[1].max() for run in sorted(HERE.glob(f"{name}-s*"))]) for name in NAMES
        )
        drawn = [np.mean(rng.choice(theirs, len(theirs))) - np.mean(rng.choice(ours, len(ours))) for _ in range(10_000)]
        low, high = np.percentile(drawn, [2.5, 97.5])
        yield [samples, f"{theirs.mean() - ours.mean():.1f}", f"{low:.1f}", f"{high:.1f}"]


def main():
    with (HERE / "differences.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["real samples", "difference of worst gaps", "low", "high"], *differences()])
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    first = SAMPLES[0]
    with (HERE / "summary.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["algorithm", "seed", "real samples", "training tasks", "worst gap", "mean gap", "mean elsewhere"])
        for place, (name, title) in zip(figure.subplots(1, 2), NAMES.items(), strict=True):
            runs = sorted(HERE.glob(f"{name}-s*"))
            for samples in SAMPLES:
                rows.writerows(row(title, run, samples) for run in runs)
            mean = np.mean([gaps(run, first)[1] for run in runs], axis=0)
            tasks = gaps(runs[0], first)[0]
            dots = place.scatter(*tasks.T, c=mean, s=300, vmin=0, vmax=30, cmap="viridis_r", marker="s")
            for run in runs:
                place.plot(*visited(run, first).T, ".", color="C3", ms=5)
            place.set_title(f"{title}, {first:,} samples: mean gap of {len(runs)} seeds", fontsize=9)
            place.set_xlabel("goal x (m), dots: training tasks")
            place.set_ylabel("goal y (m)")
        figure.colorbar(dots, ax=figure.axes)
        far = sorted(HERE.glob("admrl-first-s*"))
        rows.writerows(row("AdMRL from (0.2, 0.2)", run, SAMPLES[-1]) for run in far)
    figure.savefig(HERE / "figure.png", dpi=100)


if __name__ == "__main__":
    main()
