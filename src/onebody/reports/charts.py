"""Drawings as SVG in the colours of the page, or as PNG and CSV files; the charts of a training run."""

import csv
import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from onebody.reports.drawings import BETWEEN, HOVER, STEP, STEP_SECONDS, Chart, HeatMap, Line, Palette
from onebody.reports.forest import Forest
from onebody.reports.page import paragraph

PLACEHOLDERS = Palette("#010101", "#020202", tuple(f"#{3 * f'{i:02x}'}" for i in range(3, 11)))
"""colours that are replaced by the page's own, which depend on its light or dark theme"""
PRINT_COLORS = Palette(
    "#1c2430",
    "#e2e6eb",
    ("#1f6fb5", "#c2571a", "#2a8a5c", "#8a4fa8", "#a8861a", "#1a93a8", "#c2417c", "#6b7683"),
)
Drawing = Chart | HeatMap | Forest
Captioned = tuple[Drawing, str]
"""a drawing and its caption"""


def svg(drawing: Drawing) -> str:
    """The chart as a piece of HTML; a note if it has no values."""
    if drawing.is_empty():
        return paragraph(f"{drawing.title}: nothing recorded yet.", "note")
    file = io.StringIO()
    _save(drawing, file, PLACEHOLDERS, "svg")
    return _inline(file.getvalue(), drawing.title)


def save(drawing: Drawing, path: Path) -> None:
    """Write `path.csv`, and `path.png` if the chart has values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(drawing.rows())
    if not drawing.is_empty():
        _save(drawing, path.with_suffix(".png"), PRINT_COLORS, "png")


def learning_curve(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """Real and imagined return per training iteration against real samples, or against iterations if training takes no
    real samples; `rows` of `metrics.jsonl`."""
    samples, label = _column(rows, "real/samples"), "real samples"
    if rows and not any(samples):
        samples, label = _column(rows, "iteration"), "iteration"
    lines = [
        Line("real", samples, _column(rows, "real/return")),
        Line("imagined", samples, _column(rows, "imagined/return")),
    ]
    return Chart("Return of training", lines, label, "return per episode")


def model_error(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """Validation error of the model against real samples; `rows` of `metrics.jsonl`."""
    line = Line("model", _column(rows, "real/samples"), _column(rows, "model/validation_error"))
    return Chart("Error of the model", [line], "real samples", "validation error")


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """One metric of all rows; NaN where a row does not have it."""
    values = (row.get(name) for row in rows)
    return [math.nan if value is None else float(value) for value in values]


def _save(drawing: Drawing, file: Any, colors: Palette, kind: str) -> None:
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "text.parse_math": False,
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
        figure = Figure(figsize=(4.8, drawing.height), layout="constrained")
        drawing.draw(figure, colors)
        figure.savefig(file, format=kind, transparent=kind == "svg", dpi=200)


def _inline(text: str, title: str) -> str:
    """Matplotlib's SVG as a piece of HTML: without prologue, ids and URLs, in the colours and font of the page."""
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = text.replace("xlink:href", "href").replace(f"stroke: {PLACEHOLDERS.grid}", "stroke: var(--grid)")
    text = re.sub(rf'<g id="{STEP}-(\d+)-(\d+)">', lambda match: "<g>" + _animation(*map(int, match.groups())), text)
    first, *groups = text.split('<g id="')
    text = first + "".join(map(_hover, groups))
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


def _hover(group: str) -> str:
    """An SVG group without its id, from behind `<g id="`; with the texts that `drawings.show_texts` gave it."""
    name, content = group.split('"', 1)
    if not name.startswith(HOVER):
        return "<g" + content
    text, *points = name.removeprefix(HOVER).split(BETWEEN)
    if content.count("<use ") == len(points):
        titles = iter(points)
        content = re.sub(r"(<use [^>]*)/>", lambda use: f"{use[1]}><title>{next(titles)}</title></use>", content)
    return "<g" + content.replace(">", f"><title>{text}</title>", 1)
