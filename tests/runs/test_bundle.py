"""A policy that is exported as a folder for robots."""

import ast
import dataclasses
import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exports import ROWS, TASK, Untrained, checked, large, module_of, parity_of, seen

import onebody
from onebody.algorithms.context.recurrent import Memory, RecurrentNet, RecurrentPolicy
from onebody.cli import main
from onebody.core.errors import OnebodyError
from onebody.learning.policies import ConditionedGaussian, ConditionedPolicy, GaussianPolicy
from onebody.runs import bundle, contract, extras
from onebody.runs.parity import Parity
from onebody.tasks import registry
from onebody.tasks.body import GymnasiumBody
from onebody.tasks.limits import Limits
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator


@jax.jit
def conditioned(key):
    return ConditionedPolicy(key, (16, 24), seen(ROWS[:, :2]), seen(ROWS[:, 2:]), 2)


@jax.jit
def conditioned_gaussian(key):
    return ConditionedGaussian(key, (16,), seen(ROWS), 2)


@jax.jit
def gaussian(key):
    return GaussianPolicy(key, (16, 24), seen(ROWS[:, :2]), 2)


@jax.jit
def recurrent(key):
    net = eqx.tree_at(lambda n: n.observation, RecurrentNet(key, 2, 2, 5), seen(ROWS[:, :2]))
    return RecurrentPolicy(net, Memory(jnp.full(5, 0.3), jnp.array([0.5, -2.0]), jnp.array(1.5), jnp.array(True)))


KINDS = {"any task": conditioned, "any task, gaussian": conditioned_gaussian, "one task": gaussian, "memory": recurrent}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run that has finished no iteration."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return onebody.train("omni", "point", preset="smoke", samples=0, out=out, quiet=True)


@pytest.fixture(scope="module")
def export_of(trained, tmp_path_factory):
    """A kind of policy -> the policy, and the folder that it is exported to."""

    @functools.cache
    def export(kind):
        policy, folder = large(KINDS[kind](jax.random.key(1))), tmp_path_factory.mktemp("to") / "robot"
        run = Untrained(trained, policy, task_is_known=kind != "memory")
        run.export(folder, None if kind == "memory" else TASK)
        return policy, folder

    return export


@pytest.fixture(scope="module", params=KINDS)
def exported(request, export_of):
    return request.param, *export_of(request.param)


@pytest.fixture(scope="module")
def any_task(export_of):
    return export_of("any task")[1]


# ---------------------------------------------------------------- what it does


def test_the_policy_acts_as_in_jax(exported):
    kind, policy, folder = exported
    act = module_of(folder / "policy.py").Policy(folder)
    if kind == "memory":
        policies = jax.tree.map(lambda x: x[None], policy)
        simulator, key = Simulator(registry.make("point/goal")), jax.random.key(2)
        steps = rollout(simulator, policies, jnp.ones((1, 2)), key, episodes=1, steps=30, deterministic=True)
        observation, action, reward, done = (
            np.asarray(x)[0, :, 0] for x in (steps.observation, steps.action, steps.reward, steps.done)
        )
        expected = np.clip(action, -1, 1)
        actions = [act(observation[0])]
        actions += [act(o, reward=r, ended=d) for o, r, d in zip(observation[1:], reward, done, strict=False)]
        act.reset()
        np.testing.assert_array_equal(act(observation[0]), actions[0])
        assert done[:-1].any()
    else:
        tasks = [TASK, (1.0, 0.0)] if "any" in kind else [TASK]
        rows, silence = jnp.array(ROWS[:, :2]), jnp.zeros((20, policy.noise_size))
        own = jax.jit(lambda task: policy(rows, task, (), silence)[0])
        expected = np.clip(np.concatenate([own(jnp.array(task)) for task in tasks]), -1, 1)
        actions = [act(row, task=task if "any" in kind else None) for task in tasks for row in ROWS[:, :2]]
        np.testing.assert_array_equal(act(ROWS[0, :2]), actions[0])
    np.testing.assert_allclose(actions, expected, atol=1e-5)
    assert np.abs(expected).max() > 0.9 and expected.std() > 0.1


def test_numpy_and_onnx_agree_with_jax_on_the_parity_set(exported):
    kind, _, folder = exported
    inputs, outputs = parity_of(folder)
    assert len({tuple(row) for row in inputs.get("task", [TASK])}) == (7 if "any" in kind else 1)
    assert np.abs(outputs["action"]).max() > 0.9 and outputs["action"].std() > 0.1
    if kind == "memory":
        np.testing.assert_array_equal(inputs["state"][1:], outputs["next_state"][:-1])
        assert inputs["reward"][0] == 1.5 and 1 < inputs["ended"].sum() < len(inputs["ended"]) / 2
    found = [module_of(folder / "policy.py").Policy(folder).run(inputs)]
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(folder / "policy.onnx", providers=["CPUExecutionProvider"])
    assert {each.name for each in session.get_inputs()} == inputs.keys()
    found.append(dict(zip(outputs, session.run(list(outputs), inputs), strict=True)))
    for each in found:
        for name, expected in outputs.items():
            np.testing.assert_allclose(each[name], expected, atol=1e-5)


def test_a_policy_that_differs_from_jax_is_not_exported(exported):
    _, _, folder = exported
    arrays, expected = dict(np.load(folder / "policy.npz")), Parity(*parity_of(folder))
    assert 1e-5 <= bundle._tolerance(arrays, expected) < 2e-5
    near = expected._replace(outputs={name: x + np.float32(2e-5) for name, x in expected.outputs.items()})
    assert bundle._tolerance(arrays, near) == pytest.approx(2e-4, rel=0.2)
    with pytest.raises(OnebodyError, match=r"NumPy differs from JAX by 0\.01"):
        bundle._tolerance(arrays, expected._replace(outputs={"action": expected.outputs["action"] + 0.01}))


def test_the_check_passes_and_needs_numpy_alone(exported):
    done = checked(exported[2])
    assert done.returncode == 0 and done.stderr == ""
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["ok", "checksums"],
        ["ok", "policy.npz"],
        ["ok" if importlib.util.find_spec("onnxruntime") else "skipped", "policy.onnx"],
        ["ok", "speed"],
    ]
    for name in ("check.py", "policy.py"):
        imports = [
            alias.name if isinstance(node, ast.Import) else node.module
            for node in ast.walk(ast.parse((exported[2] / name).read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        ]
        assert {each.partition(".")[0] for each in imports} <= sys.stdlib_module_names | {
            "numpy",
            "onnxruntime",
            "policy",
        }


def test_the_check_fails_where_something_was_changed(any_task, tmp_path):
    changed = tmp_path / "robot"
    shutil.copytree(any_task, changed)
    arrays = dict(np.load(changed / "policy.npz"))
    arrays["bias0"][0] += 0.1
    np.savez(changed / "policy.npz", **arrays)
    (changed / "README.md").unlink()
    done = checked(changed)
    assert done.returncode == 1
    assert "FAILED   checksums    missing or changed: README.md, policy.npz" in done.stdout
    assert "FAILED   policy.npz   187 rows, largest difference" in done.stdout
    (changed / "contract.json").unlink()
    done = checked(changed)
    assert done.returncode == 1 and done.stdout.startswith("FAILED   check        FileNotFoundError")


def test_what_the_policy_does_not_take_is_refused(exported):
    kind, _, folder = exported
    act = module_of(folder / "policy.py").Policy(folder)
    with pytest.raises(ValueError, match="observation has 3 numbers, and this policy needs 2"):
        act(np.zeros(3))
    with pytest.raises(ValueError, match="observation must be finite; number 1 is not"):
        act([0.0, np.nan])
    if "any" in kind:
        with pytest.raises(ValueError, match="task has 1 numbers"):
            act(np.zeros(2), task=0.5)
    else:
        with pytest.raises(ValueError, match="takes none"):
            act(np.zeros(2), task=TASK)
    if kind == "memory":
        act(np.zeros(2))
        with pytest.raises(ValueError, match="needs the last reward"):
            act(np.zeros(2))
    else:
        with pytest.raises(ValueError, match="takes no reward"):
            act(np.zeros(2), reward=0.0)


def test_a_task_outside_the_task_space_is_pointed_out(any_task):
    act = module_of(any_task / "policy.py").Policy(any_task)
    number = act.contract["task"]["numbers"][1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        act(np.zeros(2), task=[number["high"], number["low"]])
    with pytest.warns(UserWarning, match=f"{number['name']} of the task is 7.5, outside the range from"):
        act(np.zeros(2), task=[0.0, 7.5])


def test_an_episode_that_never_ends_is_pointed_out(export_of):
    _, folder = export_of("memory")
    act = module_of(folder / "policy.py").Policy(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for t in range(2 * act.contract["horizon"]):
            act(np.zeros(2), reward=0.0 if t else None, ended=t == act.contract["horizon"])
    with pytest.warns(UserWarning, match="longer than those of training, 20 steps: after the last step of an episode"):
        act(np.zeros(2), reward=0.0)


def test_rounding_moves_no_command_out_of_the_actuators_ranges(any_task):
    act = module_of(any_task / "policy.py").Policy(any_task)
    act._low, act._high = np.float32([-3.0, -1.0]), np.float32([0.2, 1.0])
    np.testing.assert_array_equal(act.command(np.ones(2, np.float32)), act._high)


# ---------------------------------------------------------------- the contract


def test_the_contract_says_what_goes_in_and_what_comes_out(exported, trained):
    kind, _, folder = exported
    said = json.loads((folder / "contract.json").read_text())
    assert (said["format"], said["family"], said["dt"], said["horizon"]) == (1, "point/goal", 0.1, 20)
    assert [(each["name"], each["unit"]) for each in said["observation"]] == [("x", "m"), ("y", "m")]
    mean = said["observation"][0]["mean"]
    assert mean is None if kind == "memory" else mean == pytest.approx(ROWS[:, 0].mean(), rel=1e-5)
    assert said["action"][1] == {"name": "action 2", "unit": None, "low": -1.0, "high": 1.0}
    task = said["task"]
    assert task["input"] == ("any" in kind) and task["default"] == (None if kind == "memory" else list(TASK))
    assert task["numbers"][1] == {"name": "y", "unit": "m", "low": -1.0, "high": 1.0}
    assert (said["memory"] is None) == (kind != "memory")
    if kind == "memory":
        assert said["memory"]["state"] == pytest.approx([0.3] * 5 + [0.5, -2.0])
    assert said["run"]["training_samples"] == 80 and said["run"]["command"].startswith("onebody train omni")
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert said["files"].keys() == {name for name in there if "pycache" not in name} - {"contract.json"}


def test_names_units_and_cuts_are_those_of_the_labels():
    labels = "bfoot rate (rad/s), cut at ±10", "cinert 10", "root quaternion w (1)"
    assert [contract.parts_of(label) for label in labels] == [
        ("bfoot rate", "rad/s", 10.0),
        ("cinert 10", None, None),
        ("root quaternion w", "1", None),
    ]


# ---------------------------------------------------------------- C++


HEADERS = [Path(os.environ.get("ONNXRUNTIME_INCLUDE", "/usr/include/onnxruntime")), Path("/usr/local/include")]
"""where the headers of ONNX Runtime may be; no package index has them"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The C++ example, and the folder of the library that it was linked with."""
    runtime = pytest.importorskip("onnxruntime")
    include = next((path for path in HEADERS if (path / "onnxruntime_cxx_api.h").is_file()), None)
    libraries = sorted(Path(runtime.__file__).parent.glob("capi/libonnxruntime.so.*"))
    if include is None or not libraries or shutil.which("g++") is None:
        pytest.skip("needs g++, and ONNX Runtime's headers in the folder ONNXRUNTIME_INCLUDE")
    folder = tmp_path_factory.mktemp("cpp")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(libraries[0])
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", bundle.TEMPLATES / "cpp" / "main.cpp"]
    command += ["-isystem", include, "-L", folder, "-lonnxruntime", "-o", folder / "parity"]
    subprocess.run(command, check=True)
    return folder / "parity", folder


def test_the_cpp_example_acts_as_the_policy(exported, program, tmp_path):
    path, library = program
    environment, folder = os.environ | {"LD_LIBRARY_PATH": str(library)}, exported[2]
    arguments = [path, folder / "policy.onnx", folder / "cpp" / "parity.txt"]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("ok: "), done
    wrong = (folder / "cpp" / "parity.txt").read_text().splitlines()
    wrong[-1] = " ".join("0.123" for _ in wrong[-1].split())
    (tmp_path / "wrong.txt").write_text("\n".join(wrong))
    done = subprocess.run([path, arguments[1], tmp_path / "wrong.txt"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout.startswith("FAILED: "), done


# ---------------------------------------------------------------- what is refused


def test_a_folder_is_replaced_only_if_nothing_else_is_lost(trained, any_task, tmp_path):
    run, folder = Untrained(trained, large(conditioned(jax.random.key(2)))), tmp_path / "robot"
    shutil.copytree(any_task, folder)
    run.export(folder, TASK)
    assert (folder / "policy.npz").read_bytes() != (any_task / "policy.npz").read_bytes()
    assert checked(folder).returncode == 0
    run.export(folder, TASK)  # what the check has left there is no loss
    node = folder / "ros2" / "policy_node.py"
    node.write_text(node.read_text() + "# adapted\n")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(OnebodyError, match=r"files that were changed: ros2/policy_node\.py; choose another"):
        run.export(folder, TASK)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    for path, said in (
        (tmp_path / "mine", r"holds something else .* notes\.txt"),
        (trained, "holds something else"),
        (tmp_path / "mine" / "notes.txt", "is a file"),
        (tmp_path / "none" / "robot", "there is no folder"),
        (trained / "checkpoints", "a part of the run"),
    ):
        with pytest.raises(OnebodyError, match=said):
            run.export(path, TASK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "robot"]


def test_the_earlier_export_stays_where_the_new_one_cannot_take_its_place(trained, any_task, tmp_path, monkeypatch):
    run, folder, replace = Untrained(trained, large(conditioned(jax.random.key(2)))), tmp_path / "robot", os.replace
    shutil.copytree(any_task, folder)

    def fails(source, target):
        if str(source).endswith(".partial"):
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OnebodyError, match="cannot write"):
        run.export(folder, TASK)
    assert (folder / "policy.npz").read_bytes() == (any_task / "policy.npz").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["robot"]


def test_a_failed_export_leaves_nothing(trained, tmp_path, monkeypatch):
    run = Untrained(trained, large(conditioned(jax.random.key(2))))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(OnebodyError, match=r"cannot write .*: No space left"):
            run.export(tmp_path / "robot", TASK)
        with pytest.raises(OnebodyError, match="is outside"):
            run.export(tmp_path / "robot", (3.0, 0.0))
        with pytest.raises(OnebodyError, match="a task is needed"):
            run.export(tmp_path / "robot")
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(OnebodyError, match=r"onebody\[onnx\]"):
        run.export(tmp_path / "robot", TASK)
    assert not list(tmp_path.iterdir())


def test_a_policy_that_is_not_told_its_task_needs_a_memory(trained, tmp_path):
    run = Untrained(trained, gaussian(jax.random.key(1)), task_is_known=False)
    for task in (TASK, None):
        with pytest.raises(OnebodyError, match=r"has no memory to infer it with.*--task … --stages 2"):
            run.export(tmp_path / "robot", task)
    with pytest.raises(OnebodyError, match="omni is not told the task: leave it out"):
        Untrained(trained, recurrent(jax.random.key(1)), task_is_known=False).export(tmp_path / "robot", TASK)
    with pytest.raises(OnebodyError, match="--stages must be 0 or more, not -1"):
        run.export(tmp_path / "robot", TASK, stages=-1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [gaussian, conditioned])
def test_after_real_samples_of_a_task_the_policy_is_for_it_alone(trained, kind, tmp_path):
    run = Untrained(trained, large(kind(jax.random.key(1))), task_is_known=False)
    contract = run.export(tmp_path / "robot", TASK, stages=1)
    assert contract["task"]["input"] is False and contract["task"]["default"] == list(TASK)
    assert contract["run"]["adaptation_samples"] == 20 and checked(tmp_path / "robot").returncode == 0


@pytest.mark.parametrize(
    ("kind", "limits"), [("any task", None), ("memory", None), ("any task", Limits(action_high=0.75))]
)
def test_an_environment_that_may_be_a_robot_is_not_moved(trained, kind, limits, tmp_path):
    def moved():
        raise AssertionError("it was moved")

    run = Untrained(trained, large(KINDS[kind](jax.random.key(1))), task_is_known=kind != "memory")
    body = GymnasiumBody("arm", moved, ("x (m)", "y (m)"), (-1.0, -1.0), (1.0, 1.0), 0.1)
    family = dataclasses.replace(run.algorithm.family, body=body)
    run.algorithm.family = family if limits is None else onebody.limited(family, limits)
    run.export(tmp_path / "robot", None if kind == "memory" else TASK)
    assert checked(tmp_path / "robot").returncode == 0
    inputs, outputs = parity_of(tmp_path / "robot")
    assert len(inputs["observation"]) > 50 and outputs["action"].std() > 0.1


def test_load_policy_says_what_a_policy_for_any_task_is(any_task):
    with pytest.raises(OnebodyError, match=r"it takes the task as an input: policy\.py beside it loads it"):
        onebody.load_policy(any_task / "policy.npz")


# ---------------------------------------------------------------- the command line


def test_export_to_a_folder_on_the_command_line(trained, tmp_path, capsys):
    folder = str(tmp_path / "robot-0.5")
    assert main(["export", str(trained), "--to", folder, "--task", "0.5,-0.25"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"saved: {folder}, policy of omni for point/goal, for any task"
    assert lines[1] == f"next, on the robot: python {folder}/check.py"
    said = json.loads(Path(folder, "contract.json").read_text())
    assert said["task"]["default"] == [0.5, -0.25] and said["prediction"]["interval"] is None  # untrained
    assert checked(Path(folder)).returncode == 0
    assert main(["export", str(trained), "--to", "log.npz", "--task", "1,1"]) == 2
    assert "--task, --stages and --extrapolate are for a policy" in capsys.readouterr().err
