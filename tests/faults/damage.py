"""Each file of a run folder is damaged or replaced, and every command that reads run folders is typed.

A command may then refuse (exit code 2, one line). If it does not, one of these must hold:

* `same`: the damaged file is not read, or what is damaged means nothing: output and results are those of the whole run;
* `warned`: stderr names the file, or the checkpoint, that is left out or damaged;
* `made again`: the command replaces the damaged file by a whole one, as `evaluate` does with its result;
* `an edit`: the damaged file is still a valid document of its kind, as if a person had changed a number in it, or it is
  a test during training that was removed, as if it had not been made. These text files are for people to read and to
  edit, and have no checksums; checkpoints have them.

Anything else is `nonsense`. `lost`: the command changed or removed a file that is neither damaged nor its own result.
"""

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from onebody.core.errors import OnebodyError
from onebody.runs import evaluate, folder, log
from tests.faults.watching import Counts, End, command, contents

TRAIN = ["train", "omni", "point", "--preset", "smoke", "--evaluate-every", "1", "--quiet"]
COMPARE = ["--seeds", "1", "--preset", "smoke", "--evaluate-every", "1", "--tasks", "2", "--stages", "1"]
DOCUMENTS = {
    "a list": b"[]",
    "an object": b"{}",
    "a number": b"3",
    "null": b"null",
    "a text": b'"x"',
    "not a number": b"NaN",
    "deep": b"[" * 3000,
}
Damage = Callable[[Path, random.Random], None]


def flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def cut(path: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def without(path: Path) -> Path:
    path.unlink()
    return path


DAMAGES: dict[str, Damage] = {
    **{f"flip {i}": flip for i in range(4)},
    "cut": cut,
    "cut again": cut,
    "one byte short": lambda path, _: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path, _: path.write_bytes(b""),
    "zeros": lambda path, _: path.write_bytes(bytes(path.stat().st_size)),
    "noise": lambda path, chance: path.write_bytes(chance.randbytes(path.stat().st_size)),
    "twice": lambda path, _: path.write_bytes(path.read_bytes() * 2),
    "removed": lambda path, _: path.unlink(),
    "a folder": lambda path, _: without(path).mkdir(),
    "a link to nothing": lambda path, _: without(path).symlink_to("nowhere"),
    "a link to itself": lambda path, _: without(path).symlink_to(path.name),
    "unreadable text": lambda path, _: path.write_bytes(b"\xff\xfe\x00"),
    **{name: lambda path, _, data=data: path.write_bytes(data) for name, data in DOCUMENTS.items()},
}
OLDER = "an older one"


def commands(run: Path, out: Path) -> dict[str, list[str]]:
    """Every command that reads the run; what they write besides goes to `out`."""
    return {
        "resume": ["resume", str(run), "--quiet", "--json"],
        "train": [*TRAIN, "--out", str(run), "--json"],
        "adapt": ["adapt", str(run), "--task", "0.5,0.5", "--json", "--save", str(out / "policy.npz")],
        "evaluate": ["evaluate", str(run), "--tasks", "2", "--stages", "1", "--quiet", "--json"],
        "report": ["report", str(run), "--json", "--out", str(out / "page.html")],
        "compare": ["compare", "point", "omni", *COMPARE, "--out", str(run.parent), "--quiet", "--json", "--workers=1"],
        "play": ["play", str(run), "--save", str(out / "play.npz")],
    }


def campaign(share: float, seed: int = 0) -> Counts:
    """`share`: part of all cases that is run, chosen at random."""
    counts, chance = Counts("damage"), random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        whole, here = Path(place) / "whole", Path(place) / "here"
        run, out = here / "runs/omni-s0", here / "out"
        assert command("compare", "point", "omni", *COMPARE, "--quiet", "--out", whole / "runs", seconds=3600).code == 0
        (whole / "out").mkdir()
        older = {path: (whole / "runs/omni-s0" / path).read_bytes() for path in _old_files(whole / "runs/omni-s0")}
        expected: dict[str, tuple[str, dict[str, bytes | str]]] = {}
        for name in commands(run, out):
            shutil.rmtree(here, ignore_errors=True)
            shutil.copytree(whole, here)
            end = command(*commands(run, out)[name])
            assert end.code == 0, end
            expected[name] = end.out, contents(here)
        files = [path for path, data in contents(run).items() if isinstance(data, bytes)]
        cases = [(file, damage, name) for file in files for damage in [*DAMAGES, OLDER] for name in expected]
        for file, damage, name in cases:
            if chance.random() > share or (damage == OLDER and file not in older):
                continue
            shutil.rmtree(here, ignore_errors=True)
            shutil.copytree(whole, here)
            if damage == OLDER:
                (run / file).write_bytes(older[file])
            else:
                DAMAGES[damage](run / file, chance)
            before = contents(here)
            valid = is_valid(run / file)
            end = command(*commands(run, out)[name])
            _count(counts, f"{name}, {file}: {damage}", name, run, file, end, before, expected[name], valid)
            if counts.ends.total() % 100 == 0:
                print(f"damage: {dict(counts.ends)}", file=sys.stderr, flush=True)
    return counts


def _old_files(run: Path) -> dict[str, str]:
    """Files of which the run has an older version of the same kind, and which that is."""
    newest, before = sorted(path.name for path in (run / "checkpoints").iterdir())[::-1][:2]
    return {f"checkpoints/{newest}/{name}": before for name in ("state.safetensors", "checkpoint.json")}


def is_valid(path: Path) -> bool:
    """Whether a text file that has no checksum is a valid document of its kind."""
    if path.parent.name == "evaluations" and not os.path.lexists(path):
        return True
    try:
        if path.name == "config.json":
            return bool(folder.read_config(path.parent))
        if path.name == "metrics.jsonl":
            return all(line.endswith(b"\n") and log.parse(line) for line in path.read_bytes().splitlines(keepends=True))
        if path.name == "evaluation.json" or path.parent.name == "evaluations":
            return bool(evaluate.read(path))
    except (OnebodyError, OSError):
        pass
    return False


def _count(
    counts: Counts,
    case: str,
    name: str,
    run: Path,
    file: str,
    end: End,
    before: dict[str, bytes | str],
    expected: tuple[str, dict[str, bytes | str]],
    valid: bool,
) -> None:
    after = contents(run.parents[1])
    damaged = str((run / file).relative_to(run.parents[1]))
    own = {"evaluate": "evaluation.json", "compare": "evaluation.json"}.get(name, "\0")
    changed = {path for path in before if after.get(path) != before[path] and path != damaged}
    changed = {path for path in changed if not path.endswith(own) and not path.startswith("out/")}
    if end.hung:
        return counts.add("hang", case)
    if end.code is None or "Traceback" in end.err:
        return counts.add("traceback", f"{case}: {end.err}")
    if end.code != 0:
        if not end.refused:
            return counts.add("traceback", f"{case}: exit code {end.code} and {end.err!r}")
        if changed or after.get(damaged) != before.get(damaged):
            return counts.add("lost", f"{case}: refused, but changed {sorted(changed) or damaged}")
        return counts.add("refused")
    named = any(word in end.err for word in (file, Path(file).parent.name if "checkpoints" in file else file))
    if changed and not named:
        return counts.add("lost", f"{case}: {sorted(changed)} {end.err}")
    if named:
        return counts.add("warned")
    others = {path for path in after.keys() | expected[1].keys() if path != damaged}
    if end.out == expected[0] and all(after.get(path) == expected[1].get(path) for path in others):
        if after.get(damaged) == before.get(damaged):
            return counts.add("same")
        if after.get(damaged) == expected[1].get(damaged):
            return counts.add("made again")
    if valid:
        return counts.add("an edit")
    counts.add("nonsense", f"{case}: {end.out[:200]} {end.err[:200]}")
