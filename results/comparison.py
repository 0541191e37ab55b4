"""Draws `figure.svg` of a half-cheetah family: python -m results.comparison smt-1a, or cheetah-dir"""

import sys

import numpy as np
from matplotlib.figure import Figure

from results import draw, raw

NAMES = {"omni": "OMNI", "smt": "SMT", "maml": "MAML", "oracle": "oracle"}
ELSEWHERE = {
    "smt-1a": {"omni": ["omni/cheetah-vel/omni-s*"], "smt": ["smt-cheetah-vel/smt-s*", "omni/cheetah-vel/smt-s*"]},
    "cheetah-dir": {"omni": ["omni/cheetah-dir/omni-s*"], "smt": ["omni/cheetah-dir/smt-s*"]},
}
"""further trainings, whose zero-shot returns stand in another folder"""
PUBLISHED = {"smt-1a": "maml/cheetah-vel", "cheetah-dir": "maml/cheetah-dir"}


def mean(stage):
    return float(np.mean(stage["returns"]))


def training(axes, name, patterns):
    """Zero-shot returns against real samples: mean and range of all trainings that were tested there."""
    result = {}
    for run in raw.runs(*patterns):
        for samples, stages in raw.tests(run).items():
            if samples:
                result.setdefault(samples, []).append(mean(stages[0]))
    x = sorted(result)
    low, middle, high = (np.array([f(result[n]) for n in x]) for f in (np.min, np.mean, np.max))
    color, label = draw.COLORS[name], f"{NAMES[name]}, zero-shot"
    axes.errorbar(x, middle, (middle - low, high - middle), fmt="o", ms=3, lw=1, capsize=2, color=color, label=label)


def adaptation(axes, panel, name):
    tested = [stages for run in raw.runs(f"{panel}/{name}-s*") for _, stages in [max(raw.tests(run).items())]]
    means = np.array([[mean(stage) for stage in stages] for stages in tested])
    color, label = draw.COLORS[name], NAMES[name]
    if name == "oracle":
        axes.axhline(means[:, 0].mean(), lw=1, color=color, label=label)
        axes.axhspan(means[:, 0].min(), means[:, 0].max(), color=color, alpha=0.2, lw=0)
    else:
        draw.seeds(axes, [stage["adaptation_samples"] for stage in tested[0]], means, color, label)


def main(panel):
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in NAMES:
        training(left, name, [f"{panel}/{name}-s*", *ELSEWHERE[panel].get(name, [])])
        adaptation(right, panel, name)
    theirs = raw.published(PUBLISHED[panel])
    x, y = zip(*((4_000 * int(stage), value) for stage, value in theirs["maml"].items()))
    right.plot(x, y, "x--", lw=1, color=draw.COLORS["maml"], label="MAML, published (sampled actions)")
    for axes in (left, right):
        draw.published(axes, theirs["oracle"], draw.COLORS["oracle"], "oracle, published (sampled actions)")
        axes.set_ylabel("mean return, held-out tasks")
        axes.legend(fontsize=8, frameon=False, title=draw.LEGEND, title_fontsize=8)
    left.set(xscale="log", xlabel="real samples of training")
    right.set_xlabel("real samples of the new task")
    draw.save(figure, raw.HERE / panel / "figure.svg")


if __name__ == "__main__":
    main(sys.argv[1])
