"""What the pages' figures have in common: ranges over seeds, published numbers, one format."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from onebody.runs import statistics

COLORS = {"omni": "C3", "smt": "C0", "maml": "C1", "oracle": "C2", "untrained": "0.5", "slbo": "C4"}
FEW = 4
"""points on the axis up to which no line joins them"""
LEGEND = "bars and bands: 95% interval of five seeds;\nrange of fewer, with their points"


def seeds(
    axes: Axes, x: np.ndarray | list[float], values: np.ndarray, color: str, label: str, style: str = "-"
) -> None:
    """Means over seeds, with their 95% interval, or where there are too few seeds for one, their range and each seed.

    Args:
        values: [seed, x].
    """
    values = np.asarray(values)
    result = [statistics.estimate(column) for column in values.T]
    mean, low, high = np.array([(each.value, *(each.interval or each.range)) for each in result]).T
    if len(values) < statistics.FEWEST:
        axes.plot(x, values.T, ".", ms=3, color=color, alpha=0.6)
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
