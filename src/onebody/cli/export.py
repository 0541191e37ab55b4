"""`onebody export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from onebody.cli.options import Flag
from onebody.cli.printing import print_json
from onebody.core.errors import OnebodyError


@dataclass(frozen=True)
class Export:
    """Write the transitions that a training run has collected as a log, which train --data reads."""

    run: Annotated[Path, tyro.conf.arg(metavar="RUN")]
    """Folder of the training run"""
    to: str = ""
    """Log to write: a new file (.npz or .parquet), or minari:ID for a new Minari dataset on this machine"""
    json: Flag = False
    """Print the result as JSON"""

    def __call__(self) -> None:
        if not self.to:
            raise OnebodyError("export needs --to FILE.npz, --to FILE.parquet or --to minari:ID")

        from onebody.runs import logged_export

        n = logged_export.export(self.run, self.to)
        print_json({"log": self.to, "transitions": n}) if self.json else print(f"saved: {self.to}, {n:,} transitions")
