"""The figures of the fault campaign in docs/reliability.md."""

from collections.abc import Iterator

from results import raw

GIVEN = ["since version 2.10 `load`", "and in exit code 2"]


def figures() -> Iterator[str]:
    parts = raw.read("reliability/campaign.json")["parts"]
    for part in parts.values():
        defects = " | ".join(str(part[kind]) for kind in ("traceback", "hang", "nonsense", "lost"))
        yield f"| `{part['command']}` | {part['cases']:,} | {defects} |"
    kills, ends = parts["kills"], parts["kills"]["ends"]
    yield f"{kills['kills']:,} kills: {ends['kill']:,} at a change to the folder, {ends['cut']:,} with the loss of what was"
    yield f"not flushed, and {ends['SIGKILL']:,} by SIGKILL at random moments."
    machines = parts["machines"]
    memory = machines["resident_mib"]
    yield f"takes {memory['50']:,} MiB of memory after 50 iterations and {memory['500']:,} MiB after 500"
    yield f"its folder {machines['folder_kib']:,} KiB at the end"
