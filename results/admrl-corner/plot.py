"""Draws `figure.svg`, from the root of the repository: python -m results.admrl-corner.plot"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from results import draw, raw

NAMES = {"admrl": ("AdMRL", "C3"), "mb-unif": ("MB-Unif", "C0")}
SAMPLES = (2400, 4800)
SPEED, HORIZON = 0.1, 40


def optimum(tasks):
    """Return of the way straight to each goal: turned or not, a step is as long in every direction."""
    away = np.linalg.norm(tasks, axis=1)[:, None] - SPEED * np.arange(1, HORIZON + 1)
    return -np.maximum(away, 0.0).sum(axis=1)


def goals():
    """The grid, `[goal, axis]`; the corner is the last."""
    return np.array(raw.stages("admrl-corner/admrl-s0")[0]["tasks"])


def gaps(name, samples):
    """How far the zero-shot policy of each goal is below the optimum, `[seed, goal]`."""
    return optimum(goals()) - raw.scores(f"admrl-corner/{name}-s*", samples=samples)


def visited(run, samples=SAMPLES[-1]):
    """Training tasks, `[task, axis]`."""
    rows = [row for row in raw.metrics(run) if row["real/samples"] <= samples]
    return np.array([(row["task/1"], row["task/2"]) for row in rows])


def main():
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    *maps, worst = figure.subplots(1, 3)
    first = SAMPLES[0]
    means = {name: gaps(name, first).mean(axis=0) for name in NAMES}
    top = max(gap.max() for gap in means.values())
    for place, (name, (title, color)) in zip(maps, NAMES.items(), strict=True):
        dots = place.scatter(*goals().T, c=means[name], s=300, vmin=0, vmax=top, cmap="viridis_r", marker="s")
        runs = raw.runs(f"admrl-corner/{name}-s*")
        for run in runs:
            place.plot(*visited(run, first).T, ".", color="C3", ms=5)
        place.set_title(f"{title}, {first:,} samples: mean gap of {len(runs)} seeds", fontsize=9)
        place.set(xlabel="goal x (m), dots: training tasks", ylabel="goal y (m)")
        for seed in range(len(runs)):
            values = [gaps(name, samples)[seed].max() for samples in SAMPLES]
            worst.plot(SAMPLES, values, "o-", ms=4, lw=0.8, color=color, label=title if seed == 0 else None)
    figure.colorbar(dots, ax=maps)
    worst.set_title("worst gap of the 25 goals, each seed", fontsize=9)
    worst.set(xlabel="real samples", xticks=SAMPLES, ylim=(0, None))
    worst.legend(fontsize=8, frameon=False)
    draw.save(figure, Path(__file__).with_name("figure.svg"))


if __name__ == "__main__":
    main()
