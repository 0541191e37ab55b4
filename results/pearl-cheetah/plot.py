"""Draws `figure.svg`, from the root of the repository: python -m results.pearl-cheetah.plot"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from results import draw, raw

FAMILIES = {"vel": "mean of 30 held-out tasks", "dir": "mean of both tasks of training"}
EPISODES = ("no episode seen (control)", "after one episode", "after two episodes")
TICKS = (20, 50, 100, 200, 300, 500, 1000)


def main():
    figure = Figure(figsize=(12, 4), layout="constrained")
    for place, (family, tasks) in zip(figure.subplots(1, 2), FAMILIES.items(), strict=True):
        (run,) = raw.runs(f"pearl-cheetah/{family}-s*")
        samples = [*raw.tests(run)]
        for stage, label in enumerate(EPISODES):
            values = [raw.scores(f"pearl-cheetah/{family}-s*", samples=n, stage=stage).mean() for n in samples]
            draw.seeds(place, np.array(samples) / 1000, np.array([values]), f"C{stage}", label)
        published = raw.published(f"pearl/cheetah-{family}")["third_episode"]
        at = [int(n) / 1000 for n in published]
        place.plot(
            at, [*published.values()], "s--", ms=4, color="0.4", label="published, third episode, mean of 5 seeds"
        )
        place.set(title=f"pearl/cheetah-{family}, one seed", xlabel="thousand real samples", xscale="log")
        place.set(ylabel=f"return, {tasks}", xlim=(0.9 * samples[0] / 1000, None))
        place.set_xticks([n for n in TICKS if n > samples[0] / 1100], minor=False)
        place.xaxis.set_major_formatter("{x:g}")
        place.xaxis.set_minor_formatter(NullFormatter())
        place.legend(fontsize=8, frameon=False)
    draw.save(figure, Path(__file__).with_name("figure.svg"))


if __name__ == "__main__":
    main()
