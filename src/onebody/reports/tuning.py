"""The page of a search for settings: which settings matter, and the score of each trial."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from onebody.reports import markdown


def write(title: str, rows: Sequence[dict[str, Any]], out: Path) -> dict[str, Path]:
    """Write `figure.svg` and `README.md` into `out`; paths by kind. `rows` as from `tuning.tune`."""
    paths = {"figure": out / "figure.svg", "page": out / "README.md"}
    names = list(rows[0]["settings"])
    figure = Figure(figsize=(3.2 * (len(names) + 1), 3.2), layout="constrained")
    first, *others = figure.subplots(1, len(names) + 1)
    importance = rows[0]["importance"]
    first.barh(list(importance), list(importance.values()))
    first.set(title="importance (PED-ANOVA)", xlabel="share")
    scored = [row for row in rows if row["score"] is not None]
    for axes, name in zip(others, names, strict=True):
        axes.plot([row["settings"][name] for row in scored], [row["score"] for row in scored], "o", ms=4)
        axes.set(xlabel=name, ylabel="score")
        if min(values := [row["settings"][name] for row in scored]) > 0 and max(values) > 20 * min(values):
            axes.set_xscale("log")
    with matplotlib.rc_context({"svg.hashsalt": title}):
        figure.savefig(paths["figure"], metadata={"Date": None})
    paths["page"].write_text(f"# {markdown.plain(title)}\n\n![figure](figure.svg)\n\n{table(rows)}\n", encoding="utf-8")
    return paths


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The trials in Markdown, the best first."""
    names = list(rows[0]["settings"])
    cells = [["trial", "score", *names]]
    for row in rows:
        score = "diverged" if row["score"] is None else f"{row['score']:.2f}"
        cells.append([str(row["trial"]), score, *(f"{row['settings'][name]:.4g}" for name in names)])
    return markdown.table(cells)
