"""Forest plots: estimates below each other, each with its interval."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from onebody.reports.drawings import Palette, frame, show_texts
from onebody.runs.statistics import shown


@dataclass(frozen=True)
class Row:
    """One estimate, given as a mapping, of an algorithm (or of a pair), which determines its colour."""

    name: str
    label: str
    estimate: Mapping[str, Any]
    hollow: bool = False
    """whether its marker is not filled"""


@dataclass(frozen=True)
class Forest:
    """Estimates below each other: the mean over seeds with its 95% interval, or with the range of few seeds as a thin
    line; small dots are the seeds."""

    title: str
    estimates: Sequence[Row]
    x: str
    zero: bool = False
    """whether to mark zero with a line"""

    @property
    def height(self) -> float:
        """inches"""
        return 0.75 + 0.26 * len(self.estimates)

    def is_empty(self) -> bool:
        return not self.estimates

    def draw(self, figure: Figure, colors: Palette) -> None:
        axes = figure.add_subplot()
        names = dict.fromkeys(row.name for row in self.estimates)
        color_of = dict(zip(names, itertools.cycle(colors.lines), strict=False))
        if self.zero:
            axes.axvline(0.0, color=colors.ink, linewidth=0.8)
        for i, row in enumerate(self.estimates):
            color, each = color_of[row.name], row.estimate
            axes.plot(each["by_seed"], [i] * len(each["by_seed"]), ".", color=color, alpha=0.45, markersize=4)
            width = 2.2 if each["interval"] else 0.9
            (line,) = axes.plot(each["interval"] or each["range"], [i, i], color=color, linewidth=width)
            style = {"color": color, "markersize": 6.5, "markerfacecolor": "none" if row.hollow else color}
            (mean,) = axes.plot([each["value"]], [i], "o", **style)
            for artist in (line, mean):
                show_texts(artist, f"{row.label}: {shown(each, '.4g')}")
        frame(axes, self.x, "")
        labels = [row.label for row in self.estimates]
        axes.set_yticks(range(len(labels)), labels, size=10.5 * min(1.0, 26 / max(map(len, labels))))  # leave room
        axes.set_ylim(len(self.estimates) - 0.4, -0.6)
        axes.grid(axis="x", color=colors.grid, linewidth=0.8)

    def rows(self) -> Iterator[Sequence[Any]]:
        """The data as rows of a CSV file, with a header."""
        yield "row", self.x, "interval low", "interval high", "by seed"
        for row in self.estimates:
            each = row.estimate
            yield row.label, each["value"], *(each["interval"] or ("", "")), " ".join(map(str, each["by_seed"]))
