"""Writes `summary.csv` and `differences.csv` and draws `figure.png` from the raw results beside this file: python plot.py"""

import csv
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from onebody.runs import statistics

HERE = Path(__file__).parent
BODIES = ("half-cheetah", "swimmer")
NAMES = {"mb-mpo": ("MB-MPO", "C3"), "me-trpo": ("ME-TRPO", "C0"), "mb-mpc": ("MB-MPC", "C2")}
TRIALS = {
    "mb-mpo-meta-15-epochs-40": "MB-MPO, 15 meta-steps, models of 40 epochs at most",
    "mb-mpo-meta-30-episodes-50-epochs-40": "MB-MPO, 50 imagined episodes, models of 40 epochs at most",
    "me-trpo-epochs-40": "ME-TRPO, models of 40 epochs at most",
    "me-trpo-earlier-stop": "ME-TRPO, stops at the first check that fails",
    "mb-mpo-rewards-as-drawn": "MB-MPO, imagined rewards see actions as drawn",
}
"""on the half-cheetah"""
PUBLISHED = {"half-cheetah": (100, 550)}
"""thousand real samples and return, about: a re-run of the authors' code for RLlib"""


def curve(run):
    """Thousand real samples and return of the policy before adaptation."""
    tests = [json.loads(path.read_text()) for path in sorted((run / "evaluations").glob("*.json"))]
    return [(test["training_samples"] / 1000, np.mean(test["stages"][0]["returns"])) for test in tests]


def last(name):
    """Returns of the last test's episodes on the half-cheetah, a mean a seed: [seed, 1], for its one task."""
    return np.array([[curve(run)[-1][1]] for run in sorted(HERE.glob(f"half-cheetah-{name}-s*"))])


def differences():
    """Of MB-MPO and ME-TRPO on the half-cheetah after 96,000 samples, with 95% bootstrap intervals over seeds."""
    both = last("mb-mpo"), last("me-trpo")
    for what, statistic in (
        ("difference of means", lambda ours, theirs: statistics.mean(ours) - statistics.mean(theirs)),
        ("probability of improvement", statistics.improvement),
    ):
        found = statistics.estimate(statistic, *both)
        yield [what, f"{found.value:.2f}", *(f"{x:.2f}" for x in found.interval or ())]


def main():
    with (HERE / "differences.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["of MB-MPO and ME-TRPO", "value", "low", "high"], *differences()])
    bodies = [body for body in BODIES if any(HERE.glob(f"{body}-*"))]
    figure = Figure(figsize=(6 * len(bodies), 5), layout="constrained")
    with (HERE / "summary.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["training", "thousand real samples", "return"])
        for place, body in zip(figure.subplots(1, len(bodies), squeeze=False)[0], bodies, strict=True):
            for name, (title, color) in NAMES.items():
                for i, run in enumerate(sorted(HERE.glob(f"{body}-{name}-s*"))):
                    found = curve(run)
                    rows.writerows([run.name, f"{n:g}", f"{value:.1f}"] for n, value in found)
                    place.plot(*zip(*found, strict=True), "-", color=color, label=title if i == 0 else None)
            for i, (name, title) in enumerate(TRIALS.items() if body == "half-cheetah" else ()):
                for j, run in enumerate(sorted(HERE.glob(f"trials/{name}-s*"))):
                    found = curve(run)
                    rows.writerows([f"trials/{run.name}", f"{n:g}", f"{value:.1f}"] for n, value in found)
                    place.plot(*zip(*found, strict=True), ":", color=f"{0.25 + 0.12 * i}", label=title if j == 0 else None)
            if body in PUBLISHED:
                place.plot(*PUBLISHED[body], "s", color="0.4", label="MB-MPO, authors' code (about)")
            place.set(title=f"mbmpo/{body}", xlabel="thousand real samples", ylabel="return before adaptation")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), fontsize=8, loc="outside lower center")
    figure.savefig(HERE / "figure.png", dpi=90)


if __name__ == "__main__":
    main()
