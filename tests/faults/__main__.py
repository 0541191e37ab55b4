"""`python -m tests.faults [PART…] [--share S] [--real N] [--out FILE]`: the fault campaign, one JSON line per part.

With --out, the parts are also written to a JSON file, such as results/reliability/campaign.json.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import tests.conftest  # programs are compiled in a hurry, and kept
from onebody.runs import folder
from tests.faults.watching import Counts

PARTS = ("kills", "damage", "command-lines", "python-calls", "disks", "machines")
SHARED = ("damage", "command-lines")
"""parts of which a share can be run"""
assert tests.conftest


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("parts", nargs="*", default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--share", type=float, default=1.0, help="part of the cases of damage and command lines")
    parser.add_argument("--real", type=int, default=5, help="SIGKILLs at random moments for each algorithm")
    parser.add_argument("--out", type=Path, help="JSON file to write; parts that are in it and not run again are kept")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as state:
        os.environ["XDG_STATE_HOME"] = state
        for part in given.parts:
            counts = run(part, given.share, given.real)
            counts.print()
            if given.out:
                existing = json.loads(given.out.read_text()) if given.out.exists() else {}
                given.out.parent.mkdir(parents=True, exist_ok=True)
                chosen = {"kills": f" --real {given.real}", **dict.fromkeys(SHARED, f" --share {given.share:g}")}
                typed = f"python -m tests.faults {part}{chosen.get(part, '')}"
                parts = existing.get("parts", {}) | {part: {"command": typed, **counts.to_json()}}
                text = json.dumps({"versions": folder.versions(), "parts": parts}, indent=1, ensure_ascii=False)
                given.out.write_text(text + "\n")


def run(part: str, share: float, real: int) -> Counts:
    from tests.faults import command_lines, damage, environment, kills, python_calls

    match part:
        case "kills":
            return kills.campaign(list(kills.TRAININGS), real)
        case "damage":
            return damage.campaign(share)
        case "command-lines":
            return command_lines.campaign(share)
        case "python-calls":
            return python_calls.campaign()
        case _:
            return environment.campaign(part)


if __name__ == "__main__":
    main()
