"""Writes `summary.csv` and `differences.csv` and draws `figure.png` from the raw results beside this file: python plot.py"""

import csv
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from onebody.runs import statistics

HERE = Path(__file__).parent
PANELS = {
    "Figure 4: MB-MPO, horizon 100, biased and noisy models": {
        f"4-mb-mpo-{bias}": f"bias up to {bias}" for bias in ("0", "0.1", "0.5", "1")
    },
    "Figure 4: ME-TRPO": {f"4-me-trpo-{bias}": f"bias up to {bias}" for bias in ("0", "0.1", "0.5", "1")},
    "Figure 5: horizon 1000": {"5-rate-0.001": "α = 0.001", "5-rate-0": "α = 0"},
    "Figure 6: who collects": {"6-tailored": "adapted policies", "6-not-tailored": "the one before adaptation"},
    "Figure 7: inner rate": {
        "7-rate-0": "α = 0",
        "6-tailored": "α = 0.001",
        "7-rate-0.01": "α = 0.01",
    },
    "Figure 7: models": {"7-members-1": "1", "6-tailored": "5", "7-members-10": "10"},
    "Figure 7: meta-steps an iteration": {"7-steps-10": "10", "6-tailored": "30", "7-steps-60": "60"},
}
"""names of trainings, and what they are called"""


def curve(run):
    """Thousand real samples and return of the policy before adaptation."""
    tests = [json.loads(path.read_text()) for path in sorted((run / "evaluations").glob("*.json"))]
    return [(test["training_samples"] / 1000, np.mean(test["stages"][0]["returns"])) for test in tests]


def differences(runs):
    """Of tailored exploration and none, Figure 6, with 95% bootstrap intervals over seeds."""
    names = "6-tailored", "6-not-tailored"
    for n in (40, 80):
        ours, theirs = (
            np.array([[dict(found)[n]] for run, found in runs.items() if run.rpartition("-s")[0] == name]) for name in names
        )
        found = statistics.estimate(lambda ours, theirs: statistics.mean(ours) - statistics.mean(theirs), ours, theirs)
        yield [n, *(f"{x:.1f}" for x in (ours.mean(), theirs.mean(), found.value, *found.interval))]


def main():
    runs = {run.name: curve(run) for run in sorted(HERE.glob("[4-7]-*-s?"))}
    with (HERE / "summary.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["training", "thousand real samples", "return"])
        rows.writerows([name, f"{n:g}", f"{value:.1f}"] for name, found in runs.items() for n, value in found)
    with (HERE / "differences.csv").open("w", newline="") as file:
        columns = ["thousand real samples", "tailored", "not tailored", "difference", "low", "high"]
        csv.writer(file).writerows([columns, *differences(runs)])
    done = {run.rpartition("-s")[0] for run in runs}
    panels = {title: names for title, names in PANELS.items() if len(done & names.keys()) > 1}
    figure = Figure(figsize=(16, 8), layout="constrained")
    places = figure.subplots(2, 4).ravel()
    for place in places[len(panels) :]:
        place.axis("off")
    for place, (title, names) in zip(places, panels.items(), strict=False):
        for i, (name, label) in enumerate(names.items()):
            seeds = [found for run, found in runs.items() if run.rpartition("-s")[0] == name]
            for found in seeds:
                place.plot(*zip(*found, strict=True), color=f"C{i}", lw=0.7, alpha=0.5)
            if seeds:  # the mean goes as far as all seeds do
                n, values = zip(*[(at[0][0], np.mean([v for _, v in at])) for at in zip(*seeds, strict=False)], strict=True)
                place.plot(n, values, "o-", ms=3, color=f"C{i}", label=f"{label} ({len(seeds)})")
        place.set(title=title, xlabel="thousand real samples", ylabel="return before adaptation")
        place.title.set_fontsize(9)
        place.legend(fontsize=7, title="seeds in brackets", title_fontsize=7)
    figure.savefig(HERE / "figure.png", dpi=90)


if __name__ == "__main__":
    main()
