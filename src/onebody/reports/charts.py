"""Charts from data: as SVG in the colours of the page, or as PNG and CSV files."""

import csv
import html
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from onebody.reports.page import paragraph


class Palette(NamedTuple):
    """Colours of text (ink), of the grid, and of the lines."""

    ink: str
    grid: str
    lines: tuple[str, ...]


STEP, STEP_SECONDS = "step", 0.4
"""SVG id prefix of the elements that an animation shows one after the other, and the time (s) between two of them"""
PLACEHOLDERS = Palette("#010101", "#020202", ("#030303", "#040404", "#050505", "#060606"))
"""colours that are replaced by the page's own, which depend on its light or dark theme"""
PRINT_COLORS = Palette("#1c2430", "#e2e6eb", ("#1f6fb5", "#c2571a", "#2a8a5c", "#8a4fa8"))


@dataclass(frozen=True)
class Line:
    """One line of a chart; `low` and `high` bound the band around it, if it has one."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


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

    def is_empty(self) -> bool:
        return not any(math.isfinite(y) for line in self.lines for y in line.y)

    def draw(self, figure: Figure, colors: Palette) -> None:
        axes = figure.add_subplot()
        lines = [line for line in self.lines if any(map(math.isfinite, line.y))]
        color_of = dict(zip(dict.fromkeys(line.label for line in lines), colors.lines * len(lines), strict=False))
        drawn: set[str] = set()
        for line in lines:
            color, marker = color_of[line.label], "o" if len(line.x) < 30 else None
            label = None if line.label in drawn else line.label
            drawn.add(line.label)
            axes.plot(line.x, line.y, color=color, label=label, linewidth=1.8, marker=marker, markersize=4)
            if line.low:
                axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.18, linewidth=0)
        if self.goal:
            axes.plot(*self.goal, color=colors.ink, marker="*", markersize=11, linestyle="")
            axes.set_aspect("equal", "datalim")
        _frame(axes, self.x, self.y)
        axes.grid(axis="y", color=colors.grid, linewidth=0.8)
        values = [x for line in lines for x in line.x]
        if self.log_x and max(values) >= 10 * min(values) > 0:
            axes.set_xscale("log")
            wide = max(values) >= 1000 * min(values)
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
            axes.xaxis.set_minor_formatter(NullFormatter())
        if max(values) >= 1000:
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        if len(color_of) > 1:
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
        if self.box:
            (left, low), (right, high) = self.box
            frame = [left, right, right, left, left], [low, low, high, high, low]
            axes.plot(*frame, color=colors.ink, linewidth=1.0, linestyle="--")
        if self.visited:
            previous, n = self.visited[0], len(self.visited)
            for i, point in enumerate(self.visited, start=1):
                segment = zip(previous, point, strict=True)
                axes.plot(*segment, color=colors.ink, linewidth=0.8, marker=".", markersize=3, gid=f"{STEP}-{i}-{n}")
                axes.annotate(str(i), point, (2, 2), textcoords="offset points", fontsize=7, gid=f"{STEP}-{i}-{n}")
                previous = point
        if self.extent:
            axes.axis(self.extent)
        _frame(axes, self.x, self.y)
        bar = figure.colorbar(dots, ax=axes, label=self.label)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]

    def rows(self) -> Iterator[Sequence[Any]]:
        """The data as rows of a CSV file, with a header."""
        yield self.x, self.y, self.label, *(["visited"] if self.visited else [])
        yield from ((*point, value) for point, value in zip(self.points, self.values, strict=True))
        yield from ((*point, "", i) for i, point in enumerate(self.visited, start=1))


Captioned = tuple[Chart | HeatMap, str]
"""a chart and its caption"""


def _frame(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5))


def svg(drawing: Chart | HeatMap) -> str:
    """The chart as a piece of HTML; a note if it has no values."""
    if drawing.is_empty():
        return paragraph(f"{drawing.title}: nothing recorded yet.", "note")
    file = io.StringIO()
    _save(drawing, file, PLACEHOLDERS, "svg")
    return _inline(file.getvalue(), drawing.title)


def save(drawing: Chart | HeatMap, path: Path) -> None:
    """Write `path.csv`, and `path.png` if the chart has values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(drawing.rows())
    if not drawing.is_empty():
        _save(drawing, path.with_suffix(".png"), PRINT_COLORS, "png")


def learning_curve(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """Real and imagined return per training iteration against real samples; `rows` of `metrics.jsonl`."""
    samples = _column(rows, "real/samples")
    lines = [
        Line("real", samples, _column(rows, "real/return")),
        Line("imagined", samples, _column(rows, "imagined/return")),
    ]
    return Chart("Return of training", lines, "real samples", "return per episode")


def model_error(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """Validation error of the model against real samples; `rows` of `metrics.jsonl`."""
    line = Line("model", _column(rows, "real/samples"), _column(rows, "model/validation_error"))
    return Chart("Error of the model", [line], "real samples", "validation error")


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """One metric of all rows; NaN where a row does not have it."""
    values = (row.get(name) for row in rows)
    return [math.nan if value is None else float(value) for value in values]


def _save(drawing: Chart | HeatMap, file: Any, colors: Palette, kind: str) -> None:
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": drawing.title,
        "font.size": 10.5,
        "text.color": colors.ink,
        "axes.labelcolor": colors.ink,
        "axes.edgecolor": colors.grid,
        "xtick.color": colors.ink,
        "ytick.color": colors.ink,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(4.8, 3.1), layout="constrained")
        drawing.draw(figure, colors)
        figure.savefig(file, format=kind, transparent=kind == "svg", dpi=200)


def _inline(text: str, title: str) -> str:
    """Matplotlib's SVG as a piece of HTML: without prologue, ids and URLs, in the colours and font of the page."""
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = text.replace("xlink:href", "href").replace(f"stroke: {PLACEHOLDERS.grid}", "stroke: var(--grid)")
    text = re.sub(rf'<g id="{STEP}-(\d+)-(\d+)">', lambda match: "<g>" + _animation(*map(int, match.groups())), text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    for color, name in (
        (PLACEHOLDERS.ink, "var(--muted)"),
        *((c, f"var(--line-{i})") for i, c in enumerate(PLACEHOLDERS.lines)),
    ):
        text = text.replace(color, name)
    view = re.search(r'viewBox="[^"]*"', text)
    assert view is not None, "matplotlib gives each SVG a view box"
    return f'<svg role="img" aria-label="{html.escape(title)}" {view[0]}>' + text[text.index(">") + 1 :].strip()


def _animation(i: int, n: int) -> str:
    """Animation that shows the i-th of n steps from its time on, and repeats."""
    times = f'keyTimes="0;{i / (n + 1):.4f}" dur="{STEP_SECONDS * (n + 1):g}s"'
    return f'<animate attributeName="opacity" values="0;1" {times} calcMode="discrete" repeatCount="indefinite"/>'
