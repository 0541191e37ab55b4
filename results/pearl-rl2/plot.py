"""Draws `figure.svg`, from the root of the repository: python -m results.pearl-rl2.plot"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from results import draw, raw

FAMILIES = ("cheetah-vel", "cheetah-dir", "point")


def curves(family: str) -> tuple[np.ndarray, np.ndarray]:
    """Real samples [iteration], and mean returns of both slots' first episodes, with noise, [seed, slot, iteration]."""
    result = [raw.metrics(run) for run in raw.runs(f"pearl-rl2/{family}-s*")]
    samples = np.array([line["real/samples"] for line in result[0]])
    slots = [[[line[name] for line in run] for name in ("real/return", "real/adapted_return")] for run in result]
    return samples, np.array(slots)


def main() -> None:
    figure = Figure(figsize=(13, 4), layout="constrained")
    for axes, family in zip(figure.subplots(1, 3), FAMILIES, strict=True):
        samples, returns = curves(family)
        for slot, (label, color) in enumerate((("first episode of a trial", "C0"), ("second", "C3"))):
            draw.seeds(axes, samples / 1e6, returns[:, slot], color, label)
        if family.startswith("cheetah"):
            published = raw.published(f"rl2/{family}")["return"]
            at = [int(n) / 1e6 for n in published]
            axes.plot(at, [*published.values()], "s--", ms=4, color="0.4", label="published, mean of both")
            axes.set(xlim=(0, 1.1 * samples[-1] / 1e6))
        axes.set(title=f"pearl/{family}", xlabel="million real samples", ylabel="return in training, with noise")
        axes.legend(fontsize=8, frameon=False)
    figure.supxlabel("mean and range of three seeds", fontsize=8)
    draw.save(figure, Path(__file__).with_name("figure.svg"))


if __name__ == "__main__":
    main()
