"""The page that defines every family: `python -m onebody.reports.families > docs/families.md` (`make docs`)."""

import itertools
import re
from collections.abc import Sequence
from typing import Any

from onebody.tasks import registry
from onebody.tasks.family import TaskFamily

HEAD = """# Task families

Each family is one exact, versioned definition: a change of body, time step, horizon, reward or tasks makes a new
version. Actions are in [-1, 1] and are scaled to the motors' ranges; in rewards, a is the clipped action. Velocities
are those of the new state, unless the reward says Δx/dt. An observation contains everything that the reward needs, so
the simulator and the learned model share one reward function.

ψ is the task. Training draws tasks from p(ψ); a meta-test uses held-out tasks that the family fixes, the same for every
algorithm and seed. Where a family is *tested on* another one, adaptation and evaluation use that other family.

This page is generated from the definitions (`make docs`); `onebody list --families --json` prints the same.
"""


def page() -> str:
    """Content of docs/families.md."""
    rows = [family.describe() for family in registry.families().values()]
    aliases: dict[str, list[str]] = {}
    for alias, name in registry.aliases().items():
        aliases.setdefault(name, []).append(f"`{alias}`")
    parts = [HEAD, _pictures(), _table(rows)]
    for group in dict.fromkeys(row["id"].split("/")[0] for row in rows):
        parts.append(f"## {group}\n")
        parts += [_section(row, aliases.get(row["id"], [])) for row in rows if row["id"].startswith(f"{group}/")]
    return "\n".join(parts)


def looks() -> dict[str, TaskFamily]:
    """A family for each body that looks different, by the body's name."""
    result: dict[str, TaskFamily] = {}
    for family in registry.families().values():
        result.setdefault(re.sub(r",.*| with .*", "", family.body.name), family)
    return result


def look(name: str) -> str:
    """Path of a body's picture from docs/, which `python docs/bodies.py` draws."""
    return f"bodies/{name.replace(' ', '-')}.webp"


def _pictures(columns: int = 3) -> str:
    cells = [f"![{name}]({look(name)})<br>{name}" for name in looks()]
    cells += [""] * (-len(cells) % columns)
    lines = ["| " + " | ".join(cells[i : i + columns]) + " |" for i in range(0, len(cells), columns)]
    return "\n".join([lines[0], "|" + "---|" * columns, *lines[1:]]) + "\n"


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["| family | body | tasks ψ | dt (s) | horizon |", "|---|---|---|---|---|"]
    for row in rows:
        horizon = f"{row['horizon_steps']} steps, {row['horizon_seconds']:g} s"
        link = f"[{row['id']}](#{row['id'].replace('/', '')})"
        lines.append(f"| {link} | {row['body']} | {row['tasks']} | {row['dt_seconds']:g} | {horizon} |")
    return "\n".join(lines) + "\n"


def _section(row: dict[str, Any], aliases: Sequence[str]) -> str:
    size = len(row["observation"])
    facts = {
        "version": row["version"],
        "source": row["source"],
        "differs": row["differs"] or "nothing",
        "body": f"{row['body']}, {row['actions']} actions",
        "initial state": row["initial_state"],
        "time": f"{row['dt_seconds']:g} s a step; an episode has {row['horizon_steps']}, {row['horizon_seconds']:g} s",
        "tasks": f"ψ ∈ {row['tasks']}: {', '.join(_abbreviated(row['task']))}; {row['split']}"
        if row["task"]
        else row["tasks"],
        "dynamics": "vary with the task" if row["dynamics_vary"] else "",
        "tested on": row["tested_on"] if row["tested_on"] != row["id"] else "",
        "reward": row["reward"],
        "episode ends early": row["terminates"],
        "observation": f"{size} numbers: {', '.join(_abbreviated(row['observation']))}",
    }
    name = f"### {row['id']}" + (f"\n\nalias {', '.join(aliases)}" if aliases else "")
    return name + "\n\n" + "\n".join(f"* **{key}**: {value}" for key, value in facts.items() if value) + "\n"


def _abbreviated(labels: Sequence[str]) -> list[str]:
    """Four or more consecutive numbered labels are shortened to first … last."""
    result: list[str] = []
    for _, group in itertools.groupby(labels, lambda label: re.sub(r"\d+$", "", label)):
        members = list(group)
        result += members if len(members) < 4 else [f"{members[0]} … {members[-1]}"]
    return result


if __name__ == "__main__":
    print(page(), end="")
