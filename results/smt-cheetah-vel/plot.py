"""Draws `figure.svg`, from the root of the repository: python -m results.smt-cheetah-vel.plot"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from results import draw, raw

SMT, SLBO = "smt-cheetah-vel/smt-s*", "smt-cheetah-vel/slbo-s*"
SAMPLES = (0, 100_000, 160_000)


def main():
    untrained, alone = raw.scores(SMT, samples=0), raw.scores(SLBO, stage=1)
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    means = np.array([raw.scores(SMT, samples=n).mean(1) for n in SAMPLES]).T
    draw.seeds(left, np.array(SAMPLES) / 1e3, means, draw.COLORS["smt"], "SMT zero-shot")
    left.axhline(alone.mean(), color=draw.COLORS["slbo"], lw=1, label="SLBO alone, 4,000 samples of the task")
    left.axhspan(alone.mean(1).min(), alone.mean(1).max(), color=draw.COLORS["slbo"], alpha=0.2, lw=0)
    left.set(xlabel="training samples (thousands)", ylabel="return, mean over 40 held-out tasks")
    psi = np.array(raw.stages(SMT)[0]["tasks"])[:, 0]
    order = np.argsort(psi)
    for scores, color, label in (
        (untrained, "untrained", "untrained policy"),
        (alone, "slbo", "SLBO alone, 4,000 samples of the task"),
        (raw.scores(SMT), "smt", "SMT zero-shot, 160,000 samples"),
    ):
        draw.seeds(right, psi[order], scores[:, order], draw.COLORS[color], label)
    predicted = raw.predicted(SMT).mean(0)[order]
    right.plot(psi[order], predicted, ":", color=draw.COLORS["smt"], label="the same, predicted by the model")
    right.set(xlabel="task: target velocity ψ (m/s)", ylabel="return")
    for axes in (left, right):
        axes.legend(frameon=False, title="mean and range of 3 seeds")
    draw.save(figure, Path(__file__).with_name("figure.svg"))


if __name__ == "__main__":
    main()
