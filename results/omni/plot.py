"""Draws `curves.png` and writes `summary.csv` from the raw results beside this file: python plot.py"""

import csv
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from onebody.runs import statistics

HERE = Path(__file__).parent
SMT_LONG = HERE.parent / "smt-cheetah-vel"
FAMILIES = {
    "cheetah-vel": (20_000, 40_000, 100_000),
    "cheetah-vel-wide": (20_000, 40_000),
    "cheetah-dir": (20_000, 40_000),
    "ant-vel": (40_000, 200_000, 400_000),
    "ant-dir": (40_000, 200_000, 400_000),
}
COLORS = {"omni": "C3", "smt": "C0"}
ABLATED = 40_000
"""samples of an ablation on cheetah-vel"""


def tests(folder):
    """The meta-tests of a training, by training samples: stage 0."""
    found = [json.loads(path.read_text()) for path in sorted((folder / "evaluations").glob("*.json"))]
    return {test["training_samples"]: test["stages"][0] for test in found}


def trainings(family, name):
    found = [tests(folder) for folder in sorted((HERE / family).glob(f"{name}-s*"))]
    if (family, name) == ("cheetah-vel", "smt"):
        found += [tests(folder) for folder in sorted(SMT_LONG.glob("smt-s*"))]  # other trainings with the same preset
    return found


def scores(found, samples):
    """Mean return of each task, [seed, task], of the seeds that were tested then."""
    return np.array([np.mean(each[samples]["returns"], axis=1) for each in found if samples in each])


def held(found, samples):
    """Share of tasks whose real mean return lies in its predicted interval, by seed."""
    shares = []
    for each in found:
        if samples in each:
            low, high = np.array(each[samples]["predicted_intervals"]).T
            shares.append(np.mean((low <= scores([each], samples)[0]) & (scores([each], samples)[0] <= high)))
    return shares


def row(family, name, found, samples):
    given = scores(found, samples)
    if not given.size:
        return None
    estimate = statistics.estimate(statistics.mean, given)
    interval = "" if estimate.interval is None else "{:.1f} to {:.1f}".format(*estimate.interval)
    predicted = np.mean([each[samples]["predicted"] for each in found if samples in each])
    seeds = " ".join(f"{mean:.1f}" for mean in given.mean(1))
    inside = " ".join(f"{share:.2f}" for share in held(found, samples)) if name == "omni" else ""
    numbers = (f"{estimate.value:.1f}", interval, seeds, f"{given.min():.1f}", f"{predicted:.1f}", inside)
    return (family, name, samples, len(given), *numbers)


def draw(axes, family, marks):
    curve, by_task = axes
    for name, color in COLORS.items():
        found = trainings(family, name)
        for i, each in enumerate(found):
            samples = sorted(each)
            label = f"{name.upper()}, a line a seed" if i == 0 else None
            means = [np.mean(each[n]["returns"]) for n in samples]
            curve.plot(np.array(samples) / 1e3, means, "o-", ms=3, lw=1, color=color, label=label)
            if name == "omni":
                worst = [np.mean(each[n]["returns"], axis=1).min() for n in samples]
                worst_label = "OMNI, worst task" if i == 0 else None
                curve.plot(np.array(samples) / 1e3, worst, ":", lw=1, color=color, label=worst_label)
        for mark, style in zip(marks[-2:], ("--", "-")):
            given = scores(found, mark)
            if given.size:
                tasks = np.array(next(each for each in found if mark in each)[mark]["tasks"])[:, 0]
                order = np.argsort(tasks)
                marker = "o" if len(tasks) < 5 else ""
                label = f"{name.upper()}, {mark:,} samples"
                by_task.plot(tasks[order], given.mean(0)[order], style, marker=marker, color=color, label=label)
    curve.set(title=f"smt/{family}", xlabel="training samples (thousands)", ylabel="zero-shot return")
    by_task.set(xlabel="task ψ", ylabel="zero-shot return, mean of seeds")
    for each in axes:
        each.legend(frameon=False, fontsize=7)


def ablations():
    """Mean and worst zero-shot return by seed, of each variant and of OMNI as it is with the same seeds."""
    as_it_is = {folder.name.removeprefix("omni-"): tests(folder) for folder in (HERE / "cheetah-vel").glob("omni-s*")}
    variants = {"as it is": as_it_is}
    for folder in sorted((HERE / "ablations").glob("*-s[0-9]")):
        name, _, seed = folder.name.rpartition("-")
        variants.setdefault(name, {})[seed] = tests(folder)
    for path in sorted((HERE / "ablations").glob("trpo-s[0-9].json")):
        found = json.loads(path.read_text())
        variants.setdefault("trpo", {})[path.stem.split("-")[1]] = {ABLATED: found}
    for name, seeds in variants.items():
        rows = {seed: scores([each], ABLATED)[0] for seed, each in sorted(seeds.items()) if ABLATED in each}
        if rows:
            means, worst = ([f"{statistic(x):.1f}" for x in rows.values()] for statistic in (np.mean, np.min))
            mean = np.mean([np.mean(x) for x in rows.values()])
            yield name, len(rows), f"{mean:.1f}", " ".join(rows), " ".join(means), " ".join(worst)


def main():
    with (HERE / "ablations.csv").open("w", newline="") as file:
        head = ("variant", "seeds", "mean", "which", "mean by seed", "worst task by seed")
        csv.writer(file).writerows([head, *ablations()])
    there = {family: marks for family, marks in FAMILIES.items() if (HERE / family).is_dir()}
    rows = [row(f, name, trainings(f, name), mark) for f, marks in there.items() for name in COLORS for mark in marks]
    head = ("family", "algorithm", "samples", "seeds", "mean", "95% interval", "by seed", "worst task", "predicted", "held")
    with (HERE / "summary.csv").open("w", newline="") as file:
        csv.writer(file).writerows([head, *(each for each in rows if each)])
    figure = Figure(figsize=(10, 3.3 * len(there)), layout="constrained")
    axes = figure.subplots(len(there), 2, squeeze=False)
    for pair, (family, marks) in zip(axes, there.items()):
        draw(pair, family, marks)
    figure.savefig(HERE / "curves.png", dpi=90)


if __name__ == "__main__":
    main()
