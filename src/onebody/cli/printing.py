"""Prints results on stdout, as JSON or as a table."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def print_json(value: Any) -> None:
    """Print one JSON value; a number that is not finite becomes null, because JSON cannot represent it."""
    print(json.dumps(json.loads(json.dumps(value), parse_constant=lambda _: None), ensure_ascii=False))


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table with a column per key of the first row; prints nothing if there are no rows."""
    if not rows:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*(name.replace("_", " ") for name in rows[0]), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(cell, row.values()))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def cell(value: Any) -> str:
    """A value as it is shown in a table: None and NaN as a dash, the elements of a list joined by commas."""
    if isinstance(value, list | tuple):
        return ", ".join(map(cell, value))
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value}"
