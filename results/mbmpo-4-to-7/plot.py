"""Draws `figure.svg`, from the root of the repository: python -m results.mbmpo-4-to-7.plot"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from results import draw, raw

BIASES = ("0", "0.1", "0.5")
PANELS = {
    "Figure 4: MB-MPO, horizon 100, biased and noisy models": {
        f"4-mb-mpo-{bias}": f"bias up to {bias}" for bias in BIASES
    },
    "Figure 4: ME-TRPO, the same": {f"4-me-trpo-{bias}": f"bias up to {bias}" for bias in BIASES},
    "Figure 5: horizon 1000": {"5-rate-0.001": "α = 0.001", "5-rate-0": "α = 0"},
    "Figure 6: who collects": {"6-tailored": "adapted policies", "6-not-tailored": "the one before adaptation"},
    "Figure 7: inner rate": {"7-rate-0": "α = 0", "6-tailored": "α = 0.001"},
    "Figure 7: models": {"7-members-1": "1", "6-tailored": "5"},
    "Figure 7: meta-steps an iteration": {"7-steps-10": "10", "6-tailored": "30"},
}
"""names of trainings, and what they are called"""


def curve(run):
    """Real samples, and return without noise of the policy before adaptation."""
    return {n: np.mean(result[0]["returns"]) for n, result in raw.tests(run).items()}


def returns(name, samples):
    """Return of each seed that got as far, in their order; between two tests the mean of both."""
    result = [curve(run) for run in raw.runs(f"mbmpo-4-to-7/{name}-s*")]
    return np.array([np.interp(samples, list(one), list(one.values())) for one in result if max(one) >= samples])


def main():
    figure = Figure(figsize=(16, 8), layout="constrained")
    *places, empty = figure.subplots(2, 4).ravel()
    empty.axis("off")
    places[1].sharey(places[0])
    for place, (title, names) in zip(places, PANELS.items(), strict=True):
        for i, (name, label) in enumerate(names.items()):
            seeds = [curve(run) for run in raw.runs(f"mbmpo-4-to-7/{name}-s*")]
            label = f"{label} ({len(seeds)})"
            if len(seeds) < 3:
                for j, result in enumerate(seeds):
                    samples = [n / 1000 for n in result]
                    place.plot(samples, [*result.values()], "o-", ms=3, lw=1, color=f"C{i}", label=None if j else label)
                continue
            samples = [n for n in seeds[0] if all(n in result for result in seeds)]
            values = np.array([[result[n] for n in samples] for result in seeds])
            draw.seeds(place, np.array(samples) / 1000, values, f"C{i}", label)
        place.set(xlabel="thousand real samples", ylabel="return before adaptation")
        place.set_title(title, fontsize=9)
        place.legend(fontsize=7, title="(number of seeds)", title_fontsize=7)
    draw.save(figure, Path(__file__).with_name("figure.svg"))


if __name__ == "__main__":
    main()
