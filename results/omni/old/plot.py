"""Draws `curve.png` and writes `summary.csv` from the raw results beside this file: python plot.py"""

import csv
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).parent
SMT = HERE.parent / "smt-cheetah-vel"
SEEDS = tuple(int(path.name.removeprefix("omni-s")) for path in sorted(HERE.glob("omni-s*")))
MARKS = (40_000, 100_000)


def tests(folder):
    """The meta-tests of a training, by training samples: stage 0."""
    found = [json.loads(path.read_text()) for path in sorted((folder / "evaluations").iterdir())]
    return {test["training_samples"]: test["stages"][0] for test in found}


def at(samples):
    """The meta-test of each seed that was trained so far."""
    found = [tests(HERE / f"omni-s{seed}") for seed in SEEDS]
    return [each[samples] for each in found if samples in each]


def per_task(samples):
    """Mean return of each task and seed, [seed, task]."""
    return np.array([np.mean(test["returns"], axis=1) for test in at(samples)])


def covered(samples):
    """Share of tasks whose real mean return lies in its predicted interval, by seed."""
    shares = []
    for test in at(samples):
        low, high = np.array(test["predicted_intervals"]).T
        real = np.mean(test["returns"], axis=1)
        shares.append(np.mean((low <= real) & (real <= high)))
    return shares


def nested_interval(scores, rng, draws=4000):
    """95% bootstrap interval of the mean: seeds outer, tasks inner (the same tasks for all seeds)."""
    seeds, tasks = scores.shape
    means = [scores[rng.integers(0, seeds, seeds)][:, rng.integers(0, tasks, tasks)].mean() for _ in range(draws)]
    return np.percentile(means, [2.5, 97.5])


def main():
    rng, rows = np.random.default_rng(0), []
    for mark in MARKS:
        scores = per_task(mark)
        low, high = nested_interval(scores, rng)
        numbers = (scores.mean(), low, high, scores.min(), *scores.mean(1))
        rows.append((f"OMNI zero-shot, {mark:,} samples", *(f"{x:.1f}" for x in numbers)))
        rows.append((f"interval holds the real return, {mark:,} samples", *([""] * 4), *(f"{x:.2f}" for x in covered(mark))))
    with (HERE / "summary.csv").open("w", newline="") as file:
        seeds = [f"seed {seed}" for seed in SEEDS]
        csv.writer(file).writerows([("", "mean", "low 95%", "high 95%", "worst task of a seed", *seeds), *rows])

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, color, folders in (
        ("OMNI", "C3", [HERE / f"omni-s{seed}" for seed in SEEDS]),
        ("SMT", "C0", sorted(SMT.glob("smt-s*"))),
    ):
        for i, folder in enumerate(folders):
            line = sorted((samples, stage["mean"]) for samples, stage in tests(folder).items())
            if name == "SMT":
                end = json.loads((folder / "evaluation.json").read_text())
                line.append((end["training_samples"], end["stages"][0]["mean"]))
            label = f"{name} zero-shot, a line a seed" if i == 0 else None
            left.plot(*zip(*[(x / 1e3, y) for x, y in line], strict=True), "o-", ms=3, lw=1, color=color, label=label)
    left.set(xlabel="training samples (thousands)", ylabel="return, mean over 40 held-out tasks")
    left.legend(frameon=False, loc="lower right")
    psi = np.array(tests(HERE / f"omni-s{SEEDS[0]}")[MARKS[-1]]["tasks"])[:, 0]
    order = np.argsort(psi)
    for mark, style in zip(MARKS, ("--", "-"), strict=True):
        right.plot(psi[order], per_task(mark).mean(0)[order], style, color="C3", label=f"OMNI, {mark:,} samples")
    predicted = np.mean([test["predicted"] for test in at(MARKS[-1])], axis=0)
    right.plot(psi[order], predicted[order], ":", color="C3", label=f"OMNI, {MARKS[-1]:,} samples, predicted")
    right.set(xlabel="task: target velocity ψ (m/s)", ylabel="return, mean over seeds")
    right.legend(frameon=False)
    figure.savefig(HERE / "curve.png", dpi=110)


if __name__ == "__main__":
    main()
