"""Draws `figure.svg`, from the root of the repository: python -m results.admrl-ant-2d.plot"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from results import draw, raw

NAMES = {"admrl": ("AdMRL", "C3"), "mb-unif": ("MB-Unif", "C0"), "mb-gauss": ("MB-Gauss", "C2")}
SAMPLES = (40_000, 80_000, 160_000)
KINDS = ("mean gap", "worst gap", "worst tenth's gap")
WORST_TENTH = 3
"""of 25 tasks"""


def returns(name):
    """Of the zero-shot policies, `[samples, seed, task]`."""
    return np.array([raw.scores(f"admrl-ant-2d/{name}-s*", samples=n) for n in SAMPLES])


def best():
    """Highest return of any training on each task."""
    return np.max([returns(name).max(axis=(0, 1)) for name in NAMES], axis=0)


def gaps(name):
    """How far the policies are below the best, `[samples, seed, task]`."""
    return best() - returns(name)


def aggregates(name):
    """`[kind, samples, seed]`"""
    gap = np.sort(gaps(name))
    return np.array([gap.mean(-1), gap[..., -1], gap[..., -WORST_TENTH:].mean(-1)])


def visited(run):
    """Training tasks, `[task, axis]`."""
    return np.array([(row["task/1"], row["task/2"]) for row in raw.metrics(run)])


def main():
    figure = Figure(figsize=(11, 6), layout="constrained")
    above, below = figure.subplots(2, 3)
    tasks = np.array(raw.stages("admrl-ant-2d/admrl-s0")[0]["tasks"])
    top = max(gaps(name)[-1].mean(axis=0).max() for name in NAMES)
    for i, ((name, (title, color)), place) in enumerate(zip(NAMES.items(), below, strict=True)):
        for axes, values in zip(above, aggregates(name), strict=True):
            draw.seeds(axes, np.array(SAMPLES) + 3000 * (i - 1), values.T, color, title)
        gap = gaps(name)[-1].mean(axis=0)
        dots = place.scatter(*tasks.T, c=gap, s=350, vmin=0, vmax=top, cmap="viridis_r", marker="s")
        for run in raw.runs(f"admrl-ant-2d/{name}-s*"):
            place.plot(*visited(run).T, ".", color="C3", ms=3)
        place.set_title(f"{title}: mean gap of three seeds, {SAMPLES[-1]:,} samples", fontsize=8)
        place.set_xlabel("velocity x (m/s), dots: training tasks")
    figure.colorbar(dots, ax=below)
    for axes, title in zip(above, KINDS, strict=True):
        axes.set_title(title, fontsize=9)
        axes.set(xlabel="real samples", ylim=(0, None))
        axes.set_xticks(SAMPLES, [f"{n:,}" for n in SAMPLES])
    above[0].legend(title="mean and range of three seeds", title_fontsize=8, fontsize=8, frameon=False)
    below[0].set_ylabel("velocity y (m/s)")
    draw.save(figure, Path(__file__).with_name("figure.svg"))


if __name__ == "__main__":
    main()
