"""The figures of the fault campaign in docs/reliability.md."""

from collections.abc import Iterator

from results import raw

PARTS = {
    "kills": "python -m tests.faults kills --real {real}",
    "damage": "python -m tests.faults damage --share {share}",
}
GIVEN = ["since version 2.10 `load`"]


def figures() -> Iterator[str]:
    parts = raw.read("reliability/campaign.json")["parts"]
    for part in parts.values():
        defects = " | ".join(str(part[kind]) for kind in ("traceback", "hang", "nonsense", "lost"))
        yield f"| `{part['command']}` | {part['cases']:,} | {defects} |"
    kills, ends = parts["kills"], parts["kills"]["ends"]
    yield (
        f"The {kills['kills']:,} kills are {ends['kill']:,} at a change to the folder, {ends['cut']:,} with the loss of "
        f"what was not flushed, and {ends['SIGKILL']:,} by SIGKILL at random moments."
    )
    facts = parts["environment"]
    early, late = facts["resident_mib"]["50"], facts["resident_mib"]["500"]
    yield f"A training of 500 iterations takes {early:,} MiB of memory after 50 iterations and {late:,} MiB at its end"
