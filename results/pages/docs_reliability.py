"""The figures of the fault campaign in docs/reliability.md."""

from collections.abc import Iterator

from results import raw

GIVEN = ["since version 2.10 `load`", "and in exit code 2", "runs at 50 Hz", "the 99th percentile"]


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
    robot = raw.read("reliability/robot.json")
    ends, period = robot["ends of processes"], robot["control period (ms)"]
    signals = ends["SIGKILL"] + ends["SIGINT"]
    yield f"`{robot['command']}`"
    yield f"ended {sum(ends.values())} times: {signals} by a signal in the middle of an episode ({ends['SIGKILL']} SIGKILL),"
    yield f"{ends['error']} by an error of the robot and {ends['hang']} by a step that hung"
    yield f"{robot['steps executed']:,} steps, of which {robot['steps kept']:,} were in the replay buffer in the end"
    yield f"The other {robot['steps lost']} were under way"
    yield f"{robot['emergency stops']} emergency stops and {robot['dropped observations']} dropped observations"
    late, longest = robot["late steps by the robot's clock"], robot["time to the action (ms)"]["longest"]
    yield f"The control period was {period['mean']} ms in the mean and {period['99th percentile']} ms in the 99th percentile"
    unseen = "late steps by the clock of the training"
    yield f"{late} of the actions came late, after {longest:,.0f} ms, by the robot's clock, and {robot[unseen]} by that of"
    loaded = raw.read("reliability/robot-loaded.json")
    late, longest = loaded["late steps by the robot's clock"], loaded["time to the action (ms)"]["longest"]
    yield f"{late} actions of {loaded['steps executed']:,} came late by the robot's clock, the latest after {longest:,.0f}"
    yield f"ms, and {loaded[unseen]} by that of the training"
    yield f"no step was lost but the {loaded['steps lost']} that were under way"
