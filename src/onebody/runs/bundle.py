"""A policy as a folder for robots: ONNX and NumPy files, a contract, a parity check, and templates of programs."""

import dataclasses
import importlib.util
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from string import Template
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Array, Float

from onebody.algorithms.protocol import InfersOnline
from onebody.core.errors import OnebodyError, whole
from onebody.learning.policies import Inferring, Remembering, sees_task
from onebody.runs import contract as contracts
from onebody.runs import documents, evaluate, journal, onnx_file, outputs, parity, policy_file
from onebody.runs.contract import Kind
from onebody.runs.loaded import Run
from onebody.runs.parity import Parity
from onebody.worlds import robot

TEMPLATES = Path(__file__).parent / "deployment"
CONTRACT = "contract.json"
TOLERANCE = 1e-5
"""difference between outputs of an exported policy and of the one in JAX that is always allowed"""
ROUNDING = 10.0
"""allowed difference, relative to the one that NumPy has where the policy is exported"""
WRONG = 1e-3
"""difference that is never allowed"""


def export(
    run: Run, folder: Path | str, task: Any = None, *, stages: SupportsIndex = 0, extrapolate: bool = False
) -> dict[str, Any]:
    """As `Run.export`."""
    folder, stages = Path(folder), whole("--stages", stages)
    if stages < 0:
        raise OnebodyError(f"--stages must be 0 or more, not {stages}")
    check(folder)
    onnx_file.check()
    algorithm = run.algorithm
    hidden = not algorithm.task_is_known and algorithm.family.space.size > 0 and not stages
    value = algorithm.family.space.held_out(1)[0] if hidden else run.parse(() if task is None else task, extrapolate)
    later = evaluate.stages_of(algorithm, run.checkpoint.state, value[None], stages, run.record["seed"])
    first = next(later)
    if hidden and isinstance(algorithm, InfersOnline):
        first = first[0]._replace(policies=algorithm.online(run.checkpoint.state)), first[1]
    _check_policy(run, first[0].policies, hidden)  # before real samples are taken
    if hidden and task is not None:
        name = run.record["algorithm"]
        raise OnebodyError(f"{name} is not told the task: leave it out, or adapt to it with real samples (--stages 2)")
    recording = journal.adaptation(run.path, run.checkpoint, [algorithm.simulator], value[None], stages)
    with recording:  # until the folder is written, so that what the robot did is not lost if that fails
        with robot.released() if stages else nullcontext():
            *_, (adapted, used) = first, *later
        kind = Kind(sees_task(adapted.policies) and value.size > 0 and not stages, hidden)
        about = run.about(value, adapted, 0, used)
        if hidden:
            about = dataclasses.replace(about, task=(), task_labels=())
        arrays, expected = _policy(run, adapted.policies, value, kind)
        contract = contracts.contract(run, about, arrays, kind, _tolerance(arrays, expected))
        contents = {"policy.onnx": onnx_file.model(arrays, about), "README.md": _readme(contract, expected).encode()}
        try:
            return _write(folder, contract, contents, arrays, expected)
        except OSError as error:
            raise OnebodyError(f"cannot write {folder}: {error.strerror}") from error


def check(folder: Path) -> None:
    """Raises OnebodyError if a bundle cannot be written to a folder, or something else would be lost there."""
    outputs.check_name(folder)
    outputs.check_no_part(folder)
    if not folder.absolute().parent.is_dir():
        raise OnebodyError(f"{folder}: there is no folder {folder.parent}")
    if folder.exists() and not folder.is_dir():
        raise OnebodyError(f"{folder} is a file; give the name of a folder")
    if folder.is_dir() and (foreign := _foreign(folder)):
        raise OnebodyError(
            f"{folder} holds something else than an exported policy, or files that were changed: {foreign}; choose "
            "another folder"
        )


def _foreign(folder: Path) -> str:
    """The first file of a folder that is not an unchanged part of a bundle; empty if there is none."""
    try:
        files = documents.parse((folder / CONTRACT).read_bytes())["files"]
        known = {CONTRACT} | {name for name in files if contracts.sha256(folder / name) == files[name]}
    except (OSError, ValueError, TypeError, LookupError):
        return min((path.name for path in folder.iterdir()), default="")
    there = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return min({path.as_posix() for path in there if "__pycache__" not in path.parts} - known, default="")


def _check_policy(run: Run, policies: Any, hidden: bool) -> None:
    """Raises OnebodyError if the policies are more than a network, or know nothing of a hidden task."""
    name = run.record["algorithm"]
    if isinstance(policies, Inferring):
        raise OnebodyError(
            f"a policy of {name} cannot be exported: while it acts it computes the family's reward function, which is "
            "a program; export a run of omni, which takes the task as an input, or of rl2 or pearl, which infer it "
            "from rewards"
        )
    if hidden and not isinstance(policies, Remembering):
        raise OnebodyError(
            f"{name} is not told the task, and its policy has no memory to infer it with: adapt to a task with real "
            f"samples, as in: onebody export {run.path} --task … --stages 2 --to FOLDER"
        )


def _policy(
    run: Run, policies: Any, task: Float[Array, " feature"], kind: Kind
) -> tuple[dict[str, np.ndarray], Parity]:
    """The arrays of the first of stacked policies, and what it does."""
    family = run.algorithm.family
    if isinstance(policies, Remembering):
        arrays = policy_file.arrays(policies, task, family.limited)
        return arrays, parity.remembering(family, policies, arrays, task)
    if kind.task_input:
        arrays = policy_file.for_any_task(policies, task.size, family.limited)
    else:
        arrays = policy_file.arrays(policies, task, family.limited)
    return arrays, parity.memoryless(family, policies, arrays, task, kind.task_input)


def _tolerance(arrays: Mapping[str, np.ndarray], expected: Parity) -> float:
    """The difference from the expected outputs that is allowed on other computers.

    Raises:
        OnebodyError: the exported policy does not act here as the one in JAX.
    """
    spec = importlib.util.spec_from_file_location("exported_policy", TEMPLATES / "policy.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.run(arrays, expected.inputs)
    worst = max(float(np.abs(found[name] - x).max()) for name, x in expected.outputs.items())
    if not worst <= WRONG / ROUNDING:
        raise OnebodyError(
            f"the policy cannot be exported: in float32, NumPy differs from JAX by {worst:.1g} for the same inputs, "
            "since its weights are too large"
        )
    return max(TOLERANCE, ROUNDING * worst)


def _readme(contract: Mapping[str, Any], expected: Parity) -> str:
    """README.md of a bundle."""
    names = {name: ", ".join(f"`{each}`" for each in part) for name, part in expected._asdict().items()}
    arguments, notes = ["observation"], []
    task, memory, dt = contract["task"], contract["memory"], contract["dt"]
    infers = memory is not None and memory["reward"] is not None
    if task["input"]:
        numbers = ", ".join(f"{x:g}" for x in task["default"])
        arguments.append(f"task=[{numbers}]")
        notes.append("The task is an input, so that this policy serves all tasks in `task` of `contract.json`.")
    if infers:
        arguments += ["reward=reward", "ended=ended"]
        notes.append(
            "It has a memory, by which it adapts to the task from rewards. Tell it the reward of the step before, and "
            "whether that step\n   ended an episode (in the first step, leave both out); `policy.reset()` forgets all."
        )
    if memory and (belief := memory["belief"]):
        n, horizon = belief["exploration_episodes"], contract["horizon"]
        first = f"{n} episodes" if n > 1 else "one"
        notes.append(
            f"At the start of each episode it draws z, a guess of the task: in the first {first} from N(0, I), then "
            f"from its belief.\n   So tell it `ended` after {horizon} steps at the latest. `policy.py` draws it; "
            f"`policy.onnx` needs `noise`,\n   {belief['size']} standard normal numbers, or zeros for the mean."
        )
    if contract["limits"]:
        notes.append(
            "Its actions are within `low` and `high` of `limits` in `contract.json`, and change by at most `rate`, if "
            "there is one, from one call to the\n   next. It adds no latency: the robot has its own."
        )
    if memory and not infers:
        notes.append("It remembers its newest actions: call `policy.reset()` at the start of each episode.")
    if memory:
        notes.append(
            "With `policy.onnx`, `state` is at the start `state` of `memory` in `contract.json`, and then `next_state` "
            "of the step before."
        )
    template = Template((TEMPLATES / "README.md").read_text("utf-8"))
    return template.substitute(
        title=f"Policy of {contract['algorithm']} for {contract['family']}, version {contract['family_version']}",
        onebody=contract["onebody"],
        dt=f"{dt:g}",
        rate=f"{1 / dt:g}",
        signature=f"{names['inputs']} → {names['outputs']}, each float32 [batch, numbers]",
        arguments=", ".join(arguments),
        notes="".join(f"\n   {note}\n" for note in notes),
    )


def _write(
    folder: Path,
    contract: dict[str, Any],
    contents: Mapping[str, bytes],
    arrays: Mapping[str, np.ndarray],
    expected: Parity,
) -> dict[str, Any]:
    """Write the folder completely or not at all; gives the contract with the checksums of all other files."""
    target = folder.resolve()
    partial, old = (target.with_name(f".{target.name}.{kind}") for kind in ("partial", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for template in (path for path in TEMPLATES.rglob("*") if path.suffix in (".py", ".cpp")):
            copy = partial / template.relative_to(TEMPLATES)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(template.read_bytes())
        for name, content in contents.items():
            (partial / name).write_bytes(content)
        np.savez(partial / "policy.npz", **arrays)  # pyright: ignore[reportArgumentType]
        np.savez(partial / "parity.npz", **expected.arrays)  # pyright: ignore[reportArgumentType]
        (partial / "cpp" / "parity.txt").write_text(expected.text(contract["parity"]["tolerance"]))
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        contract["files"] = {path.relative_to(partial).as_posix(): contracts.sha256(path) for path in files}
        text = json.dumps(contract, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        (partial / CONTRACT).write_text(text, "utf-8")
        _replace(target, partial, old)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return contract


def _replace(target: Path, new: Path, old: Path) -> None:
    """Put the folder `new` in the place of `target`, which is called `old` for a moment."""
    check(target)
    if not target.exists():
        os.replace(new, target)
        return
    shutil.rmtree(old, ignore_errors=True)
    os.replace(target, old)
    try:
        os.replace(new, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old)
