"""Draws `figure.svg`, from the root of the repository: python -m results.mbmpo-2.plot"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from results import draw, raw

BODIES = ("half-cheetah", "swimmer")
NAMES = {"mb-mpo": ("MB-MPO", "C3"), "me-trpo": ("ME-TRPO", "C0"), "mb-mpc": ("MB-MPC (iCEM)", "C2")}
TRIALS = {
    "mb-mpo-meta-15-epochs-40": ("MB-MPO, 15 meta-steps, models of 40 epochs at most", "C3"),
    "mb-mpo-meta-30-episodes-50-epochs-40": ("MB-MPO, 50 imagined episodes, models of 40 epochs at most", "C1"),
    "mb-mpo-rewards-as-drawn": ("MB-MPO, imagined rewards see actions as drawn", "C4"),
    "me-trpo-epochs-40": ("ME-TRPO, models of 40 epochs at most", "C0"),
    "me-trpo-earlier-stop": ("ME-TRPO, stops at the first check that fails", "C9"),
}
"""on the half-cheetah"""


def curves(pattern):
    """Thousand real samples, and returns without noise before adaptation, `[seed, test]`, as far as all seeds go."""
    tested = [raw.tests(run) for run in raw.runs(f"mbmpo-2/{pattern}-s*")]
    samples = [n for n in tested[0] if all(n in tests for tests in tested)]
    values = np.array([[np.mean(tests[n][0]["returns"]) for n in samples] for tests in tested])
    return np.array(samples) / 1000, values


def with_noise(name):
    """Mean return of the last iteration's real episodes, whose actions are sampled, on the half-cheetah, `[seed]`."""
    return np.array([raw.metrics(run)[-1]["real/return"] for run in raw.runs(f"mbmpo-2/half-cheetah-{name}-s*")])


def main():
    figure = Figure(figsize=(15, 4.5), layout="constrained")
    *bodies, trials = figure.subplots(1, 3)
    for place, body in zip(bodies, BODIES, strict=True):
        for name, (title, color) in NAMES.items():
            samples, values = curves(f"{body}-{name}")
            draw.seeds(place, samples, values, color, title)
        place.set_title(f"mbmpo/{body}: mean and range of three seeds", fontsize=10)
    cheetah = bodies[0]
    ours, published = with_noise("mb-mpo"), raw.published("mb-mpo/half-cheetah")
    cheetah.plot([100] * len(ours), ours, "x", color="C3", label="MB-MPO with noise, each seed")
    cheetah.plot(
        published["samples"] / 1000,
        published["return"],
        "s",
        color="0.4",
        label="its authors' code with noise, one training (about)",
    )
    for name, (title, color) in TRIALS.items():
        for seed, run in enumerate(raw.runs(f"mbmpo-2/trials/{name}-s*")):
            result = raw.tests(run)
            values = [np.mean(stages[0]["returns"]) for stages in result.values()]
            label = title if seed == 0 else None
            trials.plot([n / 1000 for n in result], values, lw=1, color=color, label=label)
    trials.set_title("trials on mbmpo/half-cheetah, each seed", fontsize=10)
    trials.sharey(cheetah)
    for place in (*bodies, trials):
        place.set(xlabel="thousand real samples", ylabel="return before adaptation")
        place.legend(fontsize=7, frameon=False)
    draw.save(figure, Path(__file__).with_name("figure.svg"))


if __name__ == "__main__":
    main()
