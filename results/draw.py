"""What the pages' figures have in common: ranges over seeds, published numbers, one format."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLORS = {"omni": "C3", "smt": "C0", "maml": "C1", "oracle": "C2", "untrained": "0.5", "slbo": "C4"}
FEW = 4
"""points up to which no line joins them"""


def seeds(
    axes: Axes, x: np.ndarray | list[float], values: np.ndarray, color: str, label: str, style: str = "-"
) -> None:
    """Means over seeds and, of three seeds or more, their range; each seed's points where there are fewer.

    Args:
        values: [seed, x].
    """
    values = np.asarray(values)
    if len(values) < 3:
        for i, each in enumerate(values):
            axes.plot(
                x, each, "o" if len(x) < FEW else f"{style}o", ms=3, lw=1, color=color, label=None if i else label
            )
        return
    low, high, mean = values.min(0), values.max(0), values.mean(0)
    if len(x) < FEW:
        axes.errorbar(x, mean, (mean - low, high - mean), fmt="o", ms=4, capsize=3, color=color, label=label)
        return
    axes.plot(x, mean, style, lw=1.3, color=color, label=label)
    axes.fill_between(x, low, high, color=color, alpha=0.2, lw=0)


def published(axes: Axes, value: float, color: str, label: str) -> None:
    """A published number: a dashed line."""
    axes.axhline(value, ls="--", lw=1, color=color, label=label)


def save(figure: Figure, path: Path) -> None:
    """As SVG, with the same bytes for the same figure."""
    with matplotlib.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, metadata={"Date": None})
