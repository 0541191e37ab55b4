"""Draws `figure.svg`, from the root of the repository: python -m results.mbmpo-1.plot"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from results import draw, raw

BODIES = ("half-cheetah", "swimmer")
NAMES = {"trpo": ("TRPO", "C0"), "ppo": ("PPO", "C1"), "ddpg": ("DDPG", "C2"), "acktr": ("ACKTR", "C4")}


def curves(pattern: str) -> tuple[np.ndarray, np.ndarray]:
    """Real samples [test], and returns without noise [seed, test], at the tests after training began that all seeds
    have; a logarithmic axis has no place for 0 samples."""
    tested = [raw.tests(run) for run in raw.runs(pattern)]
    samples = [n for n in tested[0] if n and all(n in tests for tests in tested)]
    return np.array(samples), np.array([[np.mean(tests[n][0]["returns"]) for n in samples] for tests in tested])


def done(body: str) -> dict[str, tuple[str, str]]:
    """The algorithms with results on a body."""
    return {name: shown for name, shown in NAMES.items() if list(raw.HERE.glob(f"mbmpo-1/{body}-{name}-s*"))}


def main() -> None:
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, body in zip(figure.subplots(1, 2), BODIES, strict=True):
        for name, (title, color) in done(body).items():
            draw.seeds(axes, *curves(f"mbmpo-1/{body}-{name}-s*"), color, title)
        draw.seeds(axes, *curves(f"mbmpo-2/{body}-mb-mpo-s*"), "C3", "MB-MPO (laptop)")
        axes.set(
            title=f"mbmpo/{body}", xlabel="real samples", ylabel="return without noise", xscale="log", xlim=(4e3, 1.1e6)
        )
        axes.legend(fontsize=7, frameon=False)
    figure.supxlabel("mean and range of three seeds", fontsize=8)
    draw.save(figure, Path(__file__).with_name("figure.svg"))


if __name__ == "__main__":
    main()
