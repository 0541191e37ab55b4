"""The numbers of results/benchmarks."""

import json
import re
from collections.abc import Iterator
from typing import Any

from results import raw


def lines(name: str) -> dict[str, dict[str, Any]]:
    """The benchmarks of a file, by their names."""
    result = map(json.loads, (raw.HERE / "benchmarks" / name).read_text().splitlines())
    return {line["name"]: line for line in result}


def ms(line: dict[str, Any]) -> str:
    """The time that a benchmark's detail begins with."""
    (result,) = re.findall(r"^(\d+) ms", line["detail"])
    return result


def figures() -> Iterator[str]:
    result = lines("two-cores.jsonl")
    single, half = (ms(result[f"pearl/gradient-step{kind}"]) for kind in ("", "-bfloat16"))
    yield f"{single} ms in float32 and {half} ms in bfloat16, {raw.number(int(half) / int(single), 2)} of the time"
    plans = [ms(result[f"mb-mpc/plan{kind}"]) for kind in ("", "-bfloat16", "-bfloat16-laptop")]
    yield "{} ms with models of 2 × 512 units, {} in bfloat16, {} with 2 × 256 units in bfloat16".format(*plans)

    def ratio(name: str, digits: int) -> str:
        line = result[name]
        return f"{raw.number(line['ratio'], digits)} (goal {line['goal']:g})"

    yield f"takes the time of its matrix products times {ratio('virtual-training/iteration', 2)}"
    yield f"cost as much as one times {ratio('omni/four-seeds', 1)}"
    yield f"Physics is a share of {ratio('maml/iteration', 2)} of an iteration of MAML"
    yield f"Updates of OMNI's policy just meet theirs, {ratio('omni/policy-update', 2)}"
    error = [line for line in lines("families.jsonl").values() if not line["met"]]
    names = ", ".join(f"`{line['name'].removeprefix('simulator/')}` {raw.number(line['ratio'], 2)}" for line in error)
    yield f"Those that miss the goal of {error[0]['goal']:g}: {names}"


GIVEN = ["1,000 candidates of 10 steps at 20 environments", "goal 60"]
