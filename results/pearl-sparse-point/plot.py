"""Writes `summary.csv` and draws `figure.png` from the raw results beside this file: python plot.py"""

import csv
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Circle

HERE = Path(__file__).parent
RADIUS = 0.2
"""of the goals, m"""
SHOWN = 6
"""held-out goals whose paths are drawn"""
EPISODES = 10
"""after so many the policy is compared during training"""


def tests(run):
    """Its meta-tests, by real samples of training."""
    found = [json.loads(path.read_text()) for path in run.glob("evaluation-*.json")]
    return {test["training_samples"]: test for test in sorted(found, key=lambda test: test["training_samples"])}


def returns(test):
    """Of the one episode of each stage and task, `[stage, task]`; start and policy are deterministic."""
    return np.array([np.mean(stage["returns"], axis=1) for stage in test["stages"]])


def by_chance(test):
    """Share of goals that one episode with z ~ N(0, I) finds: those of stage 0, each beside all goals."""
    paths, goals = (np.array(test["stages"][0][name]) for name in ("paths", "tasks"))
    distance = np.linalg.norm(paths[:, None] - goals[:, None], axis=-1)
    return (distance.min(axis=-1) <= RADIUS).mean()


def draw_paths(place, test, task):
    """Where the policy of each stage goes."""
    place.add_patch(Arc((0, 0), 2, 2, theta1=0, theta2=180, color="0.8"))
    place.add_patch(Circle(test["stages"][0]["tasks"][task], RADIUS, color="C2", alpha=0.3))
    last = len(test["stages"]) - 1
    for stage in test["stages"]:
        number = stage["stage"]
        place.plot(*np.transpose(stage["paths"][task]), color=("C1" if number == 0 else str(0.8 * (1 - number / last))))
    place.set(xlim=(-1.3, 1.3), ylim=(-0.4, 1.3), aspect="equal", xticks=(), yticks=())


def main():
    runs = {run.name: tests(run) for run in sorted(HERE.glob("pearl-s*"))}
    figure = Figure(figsize=(12, 3 + 1.8 * len(runs)), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(3, 1.6 * len(runs)))
    learning, adapting, finding = above.subplots(1, 3)
    with (HERE / "summary.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["training", "samples", "stage", "real samples of a task", "mean return", "share of goals found"])
        for name, found in runs.items():
            for samples, test in found.items():
                for stage, each in zip(test["stages"], returns(test), strict=True):
                    facts = stage["stage"], stage["adaptation_samples"]
                    rows.writerow([name, samples, *facts, f"{each.mean():.2f}", f"{(each > 0).mean():.2f}"])
    for i, found in enumerate(runs.values()):
        curves = [(n, returns(test).mean(axis=1)) for n, test in found.items()]
        samples = [n / 1e6 for n, _ in curves]
        test = list(found.values())[-1]
        last = returns(test)
        label = f"seed {i}, after {EPISODES} episodes"
        learning.plot(samples, [c[EPISODES] for _, c in curves], "o-", ms=3, color=f"C{i}", label=label)
        learning.plot(
            samples, [c[0] for _, c in curves], "o:", ms=3, color=f"C{i}", label=f"seed {i}, after none (control)"
        )
        adapting.plot(last.mean(axis=1), "o-", ms=3, color=f"C{i}", label=f"seed {i}")
        finding.plot((last > 0).mean(axis=1), "o-", ms=3, color=f"C{i}", label=f"seed {i}")
        finding.axhline(by_chance(test), ls=":", color=f"C{i}", label="z ~ N(0, I)")
    learning.set(xlabel="million real samples of training", ylabel="sparse return, held-out goals")
    adapting.set(xlabel="episodes seen of the new task", ylabel="sparse return, held-out goals")
    finding.set(xlabel="episodes seen of the new task", ylabel="share of held-out goals found", ylim=(0, 1.02))
    learning.set_ylim(top=14)
    for place in (learning, adapting, finding):
        place.legend(fontsize=7, ncols=2)
    for places, found in zip(below.subplots(len(runs), SHOWN, squeeze=False), runs.values(), strict=True):
        for task, place in enumerate(places):
            draw_paths(place, list(found.values())[-1], task)
    figure.savefig(HERE / "figure.png", dpi=90)


if __name__ == "__main__":
    main()
