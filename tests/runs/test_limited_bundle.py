"""A policy of a body with limits, exported as a folder for robots, keeps them."""

import json

import equinox as eqx
import jax
import numpy as np
import pytest
from exports import ROWS, TASK, Untrained, checked, large, module_of, parity_of, seen

import onebody
from onebody.algorithms.context.recurrent import Memory, RecurrentNet, RecurrentPolicy
from onebody.learning.policies import ConditionedPolicy, GaussianPolicy
from onebody.tasks.limits import Limits

LIMITS = {
    "bounds": (Limits(action_low=(-0.5, -1.0), action_high=0.75), 0),
    "rate": (Limits(action_low=(-0.5, -1.0), action_rate=(0.25, 0.5)), 1),
    "smoothness": (Limits(smoothness=0.1, action_high=0.5, observation_low={0: -3.0}), 1),
    "latency": (Limits(action_low=(-0.5, 0.125), action_rate=0.25, latency=2), 2),
}
"""limits, and the number of past commands that a policy observes"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run that has finished no iteration."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return onebody.train("omni", "point", preset="smoke", samples=0, out=out, quiet=True)


@pytest.fixture(
    scope="module",
    params=[
        ("any task", "bounds"),
        ("any task", "latency"),
        ("one task", "rate"),
        ("one task", "smoothness"),
        ("memory", "bounds"),
        ("memory", "latency"),
    ],
    ids="-".join,
)
def limited_export(request, trained, tmp_path_factory):
    """A policy whose actions jump, exported for a body with limits."""
    kind, name = request.param
    limits, n = LIMITS[name]
    normalizer, key = seen(np.random.default_rng(1).normal(0, 1, (20, 2 + 2 * n)).astype(np.float32)), jax.random.key(3)
    if kind == "any task":
        policy = ConditionedPolicy(key, (8,), normalizer, seen(ROWS[:, 2:]), 2)
    elif kind == "one task":
        policy = GaussianPolicy(key, (8,), normalizer, 2)
    else:
        net = eqx.tree_at(lambda net: net.observation, RecurrentNet(key, 2 + 2 * n, 2, 5), normalizer)
        policy = RecurrentPolicy(net, Memory.fresh((), 5, 2))
    folder = tmp_path_factory.mktemp("limited") / "robot"
    run = Untrained(trained, large(policy), task_is_known=kind != "memory")
    run.algorithm.family = onebody.limited(run.algorithm.family, limits, id="test/limited-bundle")
    run.export(folder, None if kind == "memory" else TASK)
    return kind, run.algorithm.family.limited, folder


def in_onnx(folder):
    """Inputs by name -> outputs by name, in ONNX Runtime."""
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(folder / "policy.onnx", providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


@pytest.mark.filterwarnings("ignore:this episode is longer")
@pytest.mark.parametrize("runtime", ["numpy", "onnx"])
def test_no_action_is_outside_the_limits(limited_export, runtime, monkeypatch):
    kind, body, folder = limited_export
    act = module_of(folder / "policy.py").Policy(folder)
    if runtime == "onnx":
        monkeypatch.setattr(act, "run", in_onnx(folder))
    rows = np.random.default_rng(0).normal(0, 100, (60, 2))
    actions = [act(rows[0])]
    actions += [act(row, **({"reward": 1.0} if kind == "memory" else {})) for row in rows[1:]]
    start = np.clip(0, body.low, body.high)
    assert (actions >= body.low).all() and (actions <= body.high).all()
    change = np.abs(np.diff(actions, axis=0, prepend=start[None])).max(0)
    assert (change <= body.rate + 1e-6).all()
    assert (change > 0.9 * np.minimum(body.rate, body.high - body.low)).all()  # it would do more
    if kind == "memory":
        change = act(rows[0], reward=1.0, ended=True) - start
    else:
        act.reset()
        np.testing.assert_array_equal(act(rows[0]), actions[0])
    assert (np.abs(change) <= body.rate + 1e-6).all()


def test_the_parity_set_of_a_policy_with_limits_is_of_steps_that_follow_each_other(limited_export):
    kind, body, folder = limited_export
    inputs, outputs = parity_of(folder)
    assert inputs["observation"].shape[1] == 2 and ("state" in inputs) == (kind == "memory" or body.rest.size > 0)
    for run in (module_of(folder / "policy.py").Policy(folder).run, in_onnx(folder)):
        found = run(inputs)
        assert found.keys() == outputs.keys()
        for name, expected in outputs.items():
            np.testing.assert_allclose(found[name], expected, atol=1e-5)
    if n := body.rest.size:
        before, after = inputs["state"][1:, -n:], outputs["next_state"][:, -n:]
        begins = (before != after[:-1]).any(-1)
        assert begins.sum() == {"any task": 13, "one task": 1, "memory": 0}[kind]
        np.testing.assert_array_equal(before[begins], np.tile(body.rest, (begins.sum(), 1)))
        np.testing.assert_array_equal(after[:, -2:], outputs["action"])
    done = checked(folder)
    assert done.returncode == 0 and done.stderr == "", done.stdout


def test_the_contract_states_the_limits(limited_export):
    kind, body, folder = limited_export
    said = json.loads((folder / "contract.json").read_text())
    limits, memory, rest = said["limits"], said["memory"], body.rest.tolist()
    assert limits["text"] == list(body.describe()) and limits["latency"] == body.limits.latency
    assert (limits["low"], limits["high"]) == (body.low.tolist(), body.high.tolist())
    assert limits["rate"] == [x if np.isfinite(x) else None for x in body.rate.tolist()]
    assert limits["observation"][0] == {"low": -3.0 if body.limits.smoothness else None, "high": None, "noise": 0.0}
    assert [each["name"] for each in said["observation"]] == ["x", "y"]
    if kind == "memory":
        assert memory["state"] == [0.0] * 7 + rest and memory["reward"] == 0.0
    else:
        assert memory == ({"state": rest, "reward": None, "ended": None, "belief": None} if rest else None)
    text = (folder / "README.md").read_text()
    assert ("`policy.reset()` at the start of each episode" in text) == (kind != "memory" and bool(rest))
