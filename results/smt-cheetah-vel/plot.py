"""Draws `curve.png` and writes `summary.csv` from the raw results beside this file: python plot.py"""

import csv
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).parent
SEEDS = (0, 1, 2)


def read(path):
    return json.loads((HERE / path).read_text())


def final(algorithm, seed, stage):
    return read(f"{algorithm}-s{seed}/evaluation.json")["stages"][stage]


def per_task(algorithm, stage):
    """Mean return of each task and seed, [seed, task]."""
    return np.array([np.mean(final(algorithm, seed, stage)["returns"], axis=1) for seed in SEEDS])


def curve(seed):
    """(training samples, mean zero-shot return) at each test of a training, and at its end."""
    tests = [read(path.relative_to(HERE)) for path in sorted((HERE / f"smt-s{seed}/evaluations").iterdir())]
    tests.append(read(f"smt-s{seed}/evaluation.json"))
    return np.array([(test["training_samples"], test["stages"][0]["mean"]) for test in tests])


def nested_interval(scores, rng, draws=4000):
    """95% bootstrap interval of the mean: seeds outer, tasks inner (the same tasks for all seeds)."""
    seeds, tasks = scores.shape
    means = [
        scores[rng.integers(0, seeds, seeds)][:, rng.integers(0, tasks, tasks)].mean() for _ in range(draws)
    ]
    return np.percentile(means, [2.5, 97.5])


def main():
    curves = np.array([curve(seed) for seed in SEEDS])
    psi = np.array(final("smt", 0, 0)["tasks"])[:, 0]
    order = np.argsort(psi)
    rng, rows = np.random.default_rng(0), []
    groups = {
        "untrained policy": np.array(
            [np.mean(read(f"smt-s{seed}/evaluations/000000.json")["stages"][0]["returns"], axis=1) for seed in SEEDS]
        ),
        "SLBO alone, 4,000 samples of the task": per_task("slbo", 1),
        "SMT zero-shot, no sample of the task": per_task("smt", 0),
        "SMT stage 1, 4,000 samples of the task": per_task("smt", 1),
    }
    for name, scores in groups.items():
        low, high = nested_interval(scores, rng)
        worst = scores.mean(0).min()
        rows.append((name, *(f"{x:.1f}" for x in (scores.mean(), low, high, worst, *scores.mean(1)))))
    with (HERE / "summary.csv").open("w", newline="") as file:
        seeds = [f"seed {seed}" for seed in SEEDS]
        csv.writer(file).writerows([("system", "mean", "low 95%", "high 95%", "worst task", *seeds), *rows])

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for line in curves:
        left.plot(line[:, 0] / 1e3, line[:, 1], color="C0", alpha=0.4, lw=1)
    left.plot(curves[0, :, 0] / 1e3, curves[:, :, 1].mean(0), "o-", color="C0", label="SMT zero-shot (3 seeds and mean)")
    for color, name in (("C1", "SLBO alone, 4,000 samples of the task"), ("0.5", "untrained policy")):
        left.axhline(groups[name].mean(), color=color, ls="--", label=name)
    left.set(xlabel="training samples (thousands)", ylabel="return, mean over 40 held-out tasks")
    left.legend(frameon=False, loc="center right")
    for color, (name, scores) in zip(("0.5", "C1", "C0", "C2"), groups.items(), strict=True):
        right.plot(psi[order], scores.mean(0)[order], color=color, label=name)
    predicted = np.mean([final("smt", seed, 0)["predicted"] for seed in SEEDS], axis=0)
    right.plot(psi[order], predicted[order], ":", color="C0", label="SMT zero-shot, predicted by the model")
    right.set(xlabel="task: target velocity ψ (m/s)", ylabel="return, mean over 3 seeds")
    right.legend(frameon=False)
    figure.savefig(HERE / "curve.png", dpi=110)


if __name__ == "__main__":
    main()
