"""Writes `summary.csv` and draws `figure.png` from the raw results beside this file and the published curves: python plot.py"""

import csv
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

HERE = Path(__file__).parent
PUBLISHED = {
    "vel": {250: -91, 300: -63, 400: -52, 500: -44, 750: -34, 1000: -32},
    "dir": {250: 775, 300: 820, 400: 918, 500: 1035, 750: 1144, 1000: 1229},
}
"""thousand real samples -> return of the third episode; mean of the five seeds of the authors' logs"""
TITLES = {"vel": "pearl/cheetah-vel", "dir": "pearl/cheetah-dir"}
TESTED = {"vel": "30 held-out tasks", "dir": "both tasks of training"}
EPISODES = {0: "no episode seen (control)", 1: "after one episode", 2: "after two episodes"}


def main():
    families = [family for family in PUBLISHED if any(HERE.glob(f"{family}-s*"))]
    figure = Figure(figsize=(6 * len(families), 4), layout="constrained")
    with (HERE / "summary.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["training", "real samples", "stage", "mean return", "worst task's"])
        for place, family in zip(figure.subplots(1, len(families), squeeze=False)[0], families, strict=True):
            for i, run in enumerate(sorted(HERE.glob(f"{family}-s*"))):
                tests = [json.loads(path.read_text()) for path in run.glob("evaluation-*.json")]
                curves = {stage: [] for stage in EPISODES}
                for test in sorted(tests, key=lambda test: test["training_samples"]):
                    for stage in test["stages"]:
                        each = np.mean(stage["returns"], axis=1)
                        curves[stage["stage"]].append((test["training_samples"] / 1000, each.mean()))
                        facts = run.name, test["training_samples"], stage["stage"]
                        rows.writerow([*facts, f"{each.mean():.1f}", f"{each.min():.1f}"])
                for stage, curve in curves.items():
                    label = EPISODES[stage] if i == 0 else None
                    place.plot(*zip(*curve, strict=True), "o-", ms=3, color=f"C{stage}", label=label)
            published = PUBLISHED[family].items()
            place.plot(*zip(*published, strict=True), "s--", ms=4, color="0.4", label="published, third episode (5 seeds)")
            place.set(
                title=TITLES[family], xlabel="thousand real samples", ylabel=f"return, {TESTED[family]}", xscale="log"
            )
            place.set_xticks((20, 50, 100, 200, 300, 500, 1000), minor=False)
            place.xaxis.set_major_formatter("{x:g}")
            place.xaxis.set_minor_formatter(NullFormatter())
            place.set_xlim(left=0.9 * min(test["training_samples"] for test in tests) / 1000)
            place.legend(fontsize=8)
    figure.savefig(HERE / "figure.png", dpi=90)


if __name__ == "__main__":
    main()
