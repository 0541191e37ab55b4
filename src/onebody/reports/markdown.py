"""Pieces of Markdown pages."""

import html
from collections.abc import Sequence


def plain(text: str) -> str:
    """Text that Markdown shows as it is: HTML in it is not interpreted, and a bar does not end a table's cell."""
    return html.escape(text, quote=False).replace("|", "\\|")


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table of plain texts with aligned columns; the first row is the header."""
    cells = [[plain(text) for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(cell.ljust(n) for cell, n in zip(row, widths, strict=True))} |" for row in cells)
