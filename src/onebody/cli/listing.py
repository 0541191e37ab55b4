"""What `onebody list` shows. Ours is kept as data, so that it is shown without importing JAX: `make docs` writes it."""

import json
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from onebody.algorithms import ENTRY_POINTS
from onebody.core.errors import OnebodyError

STORED = Path(__file__).with_name("listing.json")
"""the listing of our own algorithms and families"""


def algorithms() -> list[dict[str, Any]]:
    """Our algorithms, and those that other installed packages add."""
    rows = json.loads(STORED.read_text(encoding="utf-8"))["algorithms"]
    if entry_points(group=ENTRY_POINTS):
        from onebody.algorithms import presets

        for entry_point in presets.ignored():
            print(f"onebody: entry point {entry_point} is ignored: the name is taken", file=sys.stderr)
        ours = {row["id"] for row in rows}
        rows += _algorithms([name for name in presets.names() if name not in ours])
    return rows


def families() -> list[dict[str, Any]]:
    """Our families."""
    return json.loads(STORED.read_text(encoding="utf-8"))["families"]


def from_definitions() -> dict[str, list[dict[str, Any]]]:
    """All registered algorithms and families, from their definitions."""
    from onebody.algorithms import presets
    from onebody.tasks import registry

    aliases = registry.aliases()
    families = [
        {**family.describe(), "aliases": [alias for alias, target in aliases.items() if target == family.id]}
        for family in registry.families().values()
    ]
    return {"algorithms": _algorithms(presets.names()), "families": families}


def store() -> None:
    """Write the listing that is kept as data."""
    STORED.write_text(json.dumps(from_definitions(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _algorithms(names: list[str]) -> list[dict[str, Any]]:
    from onebody.algorithms import presets
    from onebody.algorithms.protocol import KINDS, told

    rows = []
    for name in names:
        try:
            kind = presets.algorithm(name)
        except OnebodyError as error:  # another package's algorithm does not load; list the others
            print(f"onebody: {error}", file=sys.stderr)
        else:
            source = str(sys.modules[kind.__module__].__doc__).splitlines()[0]
            row = {"task_is_known": kind.task_is_known, "told": told(kind), "kind": KINDS[told(kind)]}
            rows.append({"id": name, **row, "source": source})
    return rows
