"""Drawings from data: lines, maps over a plane of tasks, and estimates with their intervals."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter


class Palette(NamedTuple):
    """Colours of text (ink), of the grid, and of the lines."""

    ink: str
    grid: str
    lines: tuple[str, ...]


STEP, STEP_SECONDS = "step", 0.4
"""SVG id prefix of the elements that an animation shows one after the other, and the time (s) between two of them"""
HOVER, BETWEEN = "hover ", "\x1f"
"""prefix of the SVG ids of elements with texts that are shown under the pointer, and what separates these texts"""
HEIGHT = 3.1
"""height of a drawing (inches)"""


@dataclass(frozen=True)
class Line:
    """One line of a chart; `low` and `high` bound the band around it, if it has one."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    style: str = "-"
    """as Matplotlib's linestyle"""

    def texts(self) -> Iterator[str]:
        """The values of each point."""
        for i, (x, y) in enumerate(zip(self.x, self.y, strict=True)):
            band = f" ({self.low[i]:.4g} to {self.high[i]:.4g})" if self.low else ""
            if math.isfinite(y):
                yield f"{self.label}, {x:,.5g}: {y:.4g}{band}"


@dataclass(frozen=True)
class Chart:
    """Lines over a common x axis; values that are not finite are gaps.

    Lines with the same label have the same colour and one entry in the legend.
    """

    title: str
    lines: Sequence[Line]
    x: str
    y: str
    log_x: bool = False
    """a logarithmic x axis, if x spans at least one power of ten"""
    goal: tuple[float, float] | None = None
    """a point to mark with a star; x and y then have the same scale"""
    order: Sequence[str] = ()
    """labels in the order of their colours, so that several charts agree; by default that of the lines"""
    height = HEIGHT

    def is_empty(self) -> bool:
        return not any(math.isfinite(y) for line in self.lines for y in line.y)

    def draw(self, figure: Figure, colors: Palette) -> None:
        axes = figure.add_subplot()
        lines = [line for line in self.lines if any(map(math.isfinite, line.y))]
        labels = dict.fromkeys(line.label for line in lines)
        color_of = dict(zip(dict.fromkeys([*self.order, *labels]), itertools.cycle(colors.lines), strict=False))
        drawn: set[str] = set()
        for line in lines:
            color, marker = color_of[line.label], "o" if len(line.x) < 30 else None
            label = None if line.label in drawn else line.label
            drawn.add(line.label)
            style = {"linestyle": line.style, "linewidth": 1.8, "marker": marker, "markersize": 4}
            (artist,) = axes.plot(line.x, line.y, color=color, label=label, **style)
            show_texts(artist, line.label, line.texts() if marker else ())
            if line.low:
                axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.18, linewidth=0)
        if self.goal:
            axes.plot(*self.goal, color=colors.ink, marker="*", markersize=11, linestyle="")
            axes.set_aspect("equal", "datalim")
        frame(axes, self.x, self.y)
        axes.grid(axis="y", color=colors.grid, linewidth=0.8)
        values = [x for line in lines for x in line.x]
        if self.log_x and max(values) >= 10 * min(values) > 0:
            axes.set_xscale("log")
            wide = max(values) >= 1000 * min(values)
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
            axes.xaxis.set_minor_formatter(NullFormatter())
        if max(values) >= 1000 or axes.get_xscale() == "log":
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        if len(labels) > 1:
            figure.legend(
                loc="outside upper left", ncols=4, frameon=False, borderpad=0.2, handlelength=1, columnspacing=1.3
            )

    def rows(self) -> Iterator[Sequence[Any]]:
        """The data as rows of a CSV file, with a header."""
        yield "line", self.x, self.y, "low", "high"
        if self.goal:
            yield "goal", *self.goal, "", ""
        for line in self.lines:
            low, high = (band or [""] * len(line.x) for band in (line.low, line.high))
            yield from ((line.label, *row) for row in zip(line.x, line.y, low, high, strict=True))


@dataclass(frozen=True)
class HeatMap:
    """Values at points of a plane, interpolated between them over triangles unless `interpolate` is False."""

    title: str
    points: Sequence[tuple[float, float]]
    values: Sequence[float]
    x: str
    y: str
    label: str
    limits: tuple[float, float]
    """values at the two ends of the colour map"""
    interpolate: bool = True
    extent: tuple[float, float, float, float] | None = None
    """limits of the axes (least x, largest x, least y, largest y); by default those of the points"""
    box: tuple[tuple[float, float], tuple[float, float]] | None = None
    """lower and upper corner of a box to outline"""
    cyclic: bool = False
    """whether the lowest value is next to the highest, as for angles"""
    visited: Sequence[tuple[float, float]] = ()
    """points to number and connect in order; on a page, an animation shows them one after the other"""
    height = HEIGHT

    def is_empty(self) -> bool:
        return not self.points

    def draw(self, figure: Figure, colors: Palette) -> None:
        axes = figure.add_subplot()
        x, y = zip(*self.points, strict=True)
        colormap = "twilight" if self.cyclic else "viridis"
        style: dict[str, Any] = {"vmin": self.limits[0], "vmax": self.limits[1], "cmap": colormap}
        if (
            self.interpolate and np.linalg.matrix_rank(np.subtract(self.points, self.points[0])) == 2
        ):  # or there is no triangle
            axes.tricontourf(x, y, self.values, levels=12, **style)
        dots = axes.scatter(x, y, c=self.values, s=26, edgecolors=colors.ink, linewidths=0.6, **style)
        values = zip(x, y, self.values, strict=True)
        show_texts(dots, self.title, (f"({a:.3g}, {b:.3g}): {value:.4g}" for a, b, value in values))
        if self.box:
            (left, low), (right, high) = self.box
            outline = [left, right, right, left, left], [low, low, high, high, low]
            axes.plot(*outline, color=colors.ink, linewidth=1.0, linestyle="--")
        if self.visited:
            previous, n = self.visited[0], len(self.visited)
            for i, point in enumerate(self.visited, start=1):
                segment = zip(previous, point, strict=True)
                axes.plot(*segment, color=colors.ink, linewidth=0.8, marker=".", markersize=3, gid=f"{STEP}-{i}-{n}")
                axes.annotate(str(i), point, (2, 2), textcoords="offset points", fontsize=7, gid=f"{STEP}-{i}-{n}")
                previous = point
        if self.extent:
            axes.axis(self.extent)
        frame(axes, self.x, self.y)
        bar = figure.colorbar(dots, ax=axes, label=self.label)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]

    def rows(self) -> Iterator[Sequence[Any]]:
        """The data as rows of a CSV file, with a header."""
        yield self.x, self.y, self.label, *(["visited"] if self.visited else [])
        yield from ((*point, value) for point, value in zip(self.points, self.values, strict=True))
        yield from ((*point, "", i) for i, point in enumerate(self.visited, start=1))


def show_texts(artist: Artist, text: str, points: Iterable[str] = ()) -> None:
    """Show a text under the pointer over an element of a page, and one over each of its points."""
    artist.set_gid(HOVER + BETWEEN.join([text, *points]))


def frame(axes: Axes, x: str, y: str) -> None:
    """The labels of the axes and the frame of all drawings."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
