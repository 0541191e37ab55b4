"""Draws `figure.svg`, from the root of the repository: python -m results.smt-3.plot"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from results import draw, raw

TASKS = {5: 20_000, 20: 80_000, 30: 120_000}
"""training tasks, and the real samples they are"""


def main():
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    for shift, name, title, color in ((-0.2, "smt", "SMT", "C0"), (0.2, "smt-active", "active SMT", "C1")):
        means = np.array([raw.scores(f"smt-3/{name}-s*", samples=n).mean(1) for n in TASKS.values()]).T
        draw.seeds(axes, np.array(list(TASKS)) + shift, means, color, title)
    axes.set(xlabel="training tasks (4,000 real samples each)", ylabel="mean zero-shot return, 20 held-out tasks")
    axes.set_xticks(list(TASKS))
    axes.legend(fontsize=8, frameon=False, title="mean and range of 3 seeds", title_fontsize=8)
    draw.save(figure, Path(__file__).with_name("figure.svg"))


if __name__ == "__main__":
    main()
