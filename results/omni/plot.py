"""Draws `figure.svg`, from the root of the repository: python -m results.omni.plot"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from results import draw, raw

FAMILIES = {
    "cheetah-vel": (40_000, 100_000),
    "cheetah-vel-wide": (20_000, 40_000),
    "cheetah-dir": (20_000, 40_000),
    "ant-vel": (200_000, 400_000),
    "ant-dir": (200_000, 400_000),
}
"""samples whose returns are drawn by task"""
PUBLISHED = {family: f"maml/{family}" for family in ("cheetah-vel", "cheetah-dir", "ant-vel", "ant-dir")}


def trained(axes, family):
    """Zero-shot return against real samples of training."""
    pattern = f"omni/{family}/omni-s*"
    samples = list(raw.tests(raw.runs(pattern)[0]))[1:]
    x, scores = np.array(samples) / 1e3, [raw.scores(pattern, samples=n) for n in samples]
    draw.seeds(axes, x, np.array([each.mean(1) for each in scores]).T, draw.COLORS["omni"], "OMNI")
    worst = [np.mean(each.min(1)) for each in scores]
    style = "o:" if len(x) >= draw.FEW else "v"
    axes.plot(x, worst, style, ms=3, lw=1, color=draw.COLORS["omni"], label="OMNI, worst task")
    smt = [(40_000, f"omni/{family}/smt-s*")] if family.startswith("cheetah") else []
    if family == "cheetah-vel":
        smt.append((100_000, "smt-cheetah-vel/smt-s*"))
    if smt:
        means = np.array([raw.scores(result, samples=n).mean(1) for n, result in smt]).T
        draw.seeds(axes, [n / 1e3 for n, _ in smt], means, draw.COLORS["smt"], "SMT")
    if family in PUBLISHED:
        label = "oracle, published (sampled actions)"
        draw.published(axes, raw.published(PUBLISHED[family])["oracle"], draw.COLORS["oracle"], label)
    axes.set(title=f"smt/{family}", xlabel="training samples (thousands)", ylabel="zero-shot return")


def by_task(axes, family, marks):
    pattern = f"omni/{family}/omni-s*"
    for samples, color in zip(marks, ("C1", draw.COLORS["omni"])):
        psi = np.array(raw.stages(pattern, samples=samples)[0]["tasks"])[:, 0]
        order = np.argsort(psi)
        draw.seeds(
            axes, psi[order], raw.scores(pattern, samples=samples)[:, order], color, f"OMNI, {samples:,} samples"
        )
    axes.set(title=f"smt/{family}", xlabel="task ψ", ylabel="zero-shot return")


def main():
    figure = Figure(figsize=(10, 3.1 * len(FAMILIES)), layout="constrained")
    for (left, right), (family, marks) in zip(figure.subplots(len(FAMILIES), 2), FAMILIES.items()):
        trained(left, family)
        by_task(right, family, marks)
        for axes in (left, right):
            axes.legend(frameon=False, fontsize=7, title=draw.LEGEND, title_fontsize=7)
    draw.save(figure, Path(__file__).with_name("figure.svg"))


if __name__ == "__main__":
    main()
