"""The template of a ROS 2 node in an exported folder, with a stub in place of ROS 2."""

import importlib.util
import json
import shutil
import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from onebody.runs.bundle import TEMPLATES


class Node:
    """What the template uses of rclpy.node.Node, with a clock that the test sets, and messages that it reads."""

    given: ClassVar = {}
    """parameters of the command line"""

    def __init__(self, name):
        self.time, self.parameters, self.subscribed, self.published, self.said = 0.0, {}, {}, [], []

    def declare_parameter(self, name, value):
        self.parameters[name] = self.given.get(name, value)

    def get_parameter(self, name):
        return SimpleNamespace(name=name, value=self.parameters[name])

    def add_on_set_parameters_callback(self, call):
        self.on_set = call

    def create_publisher(self, kind, topic, depth):
        return SimpleNamespace(publish=lambda message: self.published.append((topic, message.data)))

    def create_subscription(self, kind, topic, call, depth):
        self.subscribed[topic] = call

    def create_timer(self, period, call):
        self.period, self.tick = period, call

    def get_clock(self):
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=round(1e9 * self.time)))

    def get_logger(self):
        return SimpleNamespace(error=self.said.append, warning=self.said.append)

    def after(self, seconds):
        """The command of a step so many seconds later."""
        self.time += seconds
        self.tick()
        return self.published[-1][1]


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Starts a node in a folder with a contract like this and a linear policy."""
    message = lambda: SimpleNamespace(data=[])  # noqa: E731
    parts = {
        "rclpy": {},
        "rclpy.node": {"Node": Node},
        "rclpy.signals": {"SignalHandlerOptions": SimpleNamespace(NO=0)},
        "rcl_interfaces.msg": {"SetParametersResult": SimpleNamespace},
        "sensor_msgs.msg": {"JointState": SimpleNamespace},
        "std_msgs.msg": {"Float64MultiArray": message},
    }
    for name, members in parts.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "policy", raising=False)
    folder = tmp_path / "robot"
    shutil.copytree(TEMPLATES, folder)
    numbers = [{"name": name, "unit": None, "cut": None} for name in ("pitch", "hinge", "hinge rate")]
    contract = {
        "dt": 0.1,
        "observation": numbers,
        "action": [{"low": -4.0, "high": 4.0}, {"low": 0.0, "high": 2.0}],
        "task": {"input": True, "default": [0.5], "numbers": [{"name": "velocity", "low": 0.0, "high": 1.0}]},
        "memory": None,
    }
    (folder / "contract.json").write_text(json.dumps(contract))
    weight = np.array([[0.1, 0.0], [0.0, 0.2], [0.1, 0.0], [0.5, 0.0]], np.float32)
    arrays = {"weight0": weight, "bias0": np.zeros(2, np.float32), "limit": np.array("clip")}
    for name, size in (("observation", 3), ("task", 1)):
        arrays |= {f"{name}_mean": np.zeros(size, np.float32), f"{name}_std": np.ones(size, np.float32)}
    np.savez(folder / "policy.npz", **arrays)

    def start(rate=None, **parameters):
        if rate:  # the largest change of an action, in [-1, 1]
            memory = {"state": [0.0, 0.0], "reward": None, "ended": None}
            (folder / "contract.json").write_text(json.dumps(contract | {"memory": memory}))
            of_limits = {"command_low": -1.0, "command_high": 1.0, "command_rate": rate, "commands": 0.0}
            kept = {name: np.full(2, x, np.float32) for name, x in of_limits.items()}
            kept |= {"weight0": np.insert(weight, 3, np.zeros((2, 2)), axis=0)}
            kept |= {"observation_mean": np.zeros(5, np.float32), "observation_std": np.ones(5, np.float32)}
            np.savez(folder / "policy.npz", **arrays | kept)
        monkeypatch.setattr(Node, "given", parameters)
        spec = importlib.util.spec_from_file_location("policy_node", folder / "ros2" / "policy_node.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        start.module = module
        return module.PolicyNode()

    return start


def joints(hinge, rate):
    return SimpleNamespace(name=["other", "hinge"], position=[9.0, hinge], velocity=[9.0, rate])


def test_it_acts_in_the_units_of_the_actuators_on_the_newest_observation(started):
    node = started(joints=["hinge"])
    assert node.period == 0.1 and node.subscribed.keys() == {"joint_states", "observation"}
    node.subscribed["joint_states"](joints(1.0, 2.0))
    node.subscribed["observation"](SimpleNamespace(data=[3.0]))
    np.testing.assert_allclose(node.after(0.01), [4 * (0.3 + 0.2 + 0.25), 1 + 0.2], rtol=1e-6)
    node.subscribed["joint_states"](joints(-5.0, 0.0))
    np.testing.assert_allclose(node.after(0.1), [4 * (0.3 + 0.25), 0.0], rtol=1e-6, atol=1e-6)
    assert [topic for topic, _ in node.published] == ["commands"] * 2 and not node.said


def test_it_stops_the_robot_where_a_sensor_is_silent_or_broken(started):
    node = started(joints=["hinge"], stop_command=[0.0, 0.5])
    assert node.after(0.01) == [0.0, 0.5] and "pitch was not received" in node.said[-1]
    node.subscribed["observation"](SimpleNamespace(data=[3.0]))
    assert node.after(0.01) == [0.0, 0.5] and "hinge was not received" in node.said[-1]
    node.subscribed["joint_states"](joints(1.0, 2.0))
    assert node.after(0.1) != [0.0, 0.5]
    node.subscribed["observation"](SimpleNamespace(data=[3.0]))
    assert node.after(0.16) == [0.0, 0.5] and "hinge was not received" in node.said[-1]
    node.subscribed["joint_states"](joints(np.nan, 2.0))
    assert node.after(0.01) == [0.0, 0.5] and "observation must be finite; number 1 is not" in node.said[-1]
    node.subscribed["observation"](SimpleNamespace(data=[3.0, 1.0]))
    assert node.said[-1] == "observation has 2 numbers, not 1"
    node.on_outcome(SimpleNamespace(data=[1.0]))
    assert node.said[-1] == "outcome has 1 numbers, not 2" and node.outcome is None
    assert started().after(0.01) == [0.0, 0.0]


def test_it_stops_the_robot_where_it_ends(started, monkeypatch):
    node = started(stop_command=[0.0, 0.5])
    node.destroy_node = lambda: node.said.append("destroyed")

    def interrupted(node):
        raise KeyboardInterrupt

    library = SimpleNamespace(init=lambda signal_handler_options: None, spin=interrupted, try_shutdown=lambda: None)
    monkeypatch.setattr(started.module, "rclpy", library)
    monkeypatch.setattr(started.module, "PolicyNode", lambda: node)
    started.module.main()
    assert node.published == [("commands", [0.0, 0.5])] and node.said == ["destroyed"]


def test_it_needs_a_stop_command_for_every_actuator(started):
    with pytest.raises(ValueError, match="stop_command has 2 numbers"):
        started(stop_command=[0.0])


def test_it_stops_the_robot_where_the_outcome_is_old(started):
    node = started()
    node.on_observation(SimpleNamespace(data=[3.0, 1.0, 1.0]))
    node.on_outcome(SimpleNamespace(data=[1.0, 0.0]))
    for _ in range(3):
        node.time += 0.1
        node.on_observation(SimpleNamespace(data=[3.0, 1.0, 1.0]))
    assert node.after(0.0) == [0.0, 0.0] and "outcome was not received" in node.said[-1]


def test_after_a_stop_the_limits_begin_again(started):
    node = started(rate=0.25)
    assert node.after(0.01) == [0.0, 0.0]
    node.subscribed["observation"](SimpleNamespace(data=[9.0, 9.0, 9.0]))
    np.testing.assert_allclose([node.after(0.01) for _ in range(3)], [[1.0, 1.25], [2.0, 1.5], [3.0, 1.75]])
    assert node.after(1.0) == [0.0, 0.0]
    node.subscribed["observation"](SimpleNamespace(data=[9.0, 9.0, 9.0]))
    np.testing.assert_allclose([node.after(0.01) for _ in range(2)], [[1.0, 1.25], [2.0, 1.5]])


def test_its_task_changes_while_it_runs(started):
    node = started()
    node.subscribed["observation"](SimpleNamespace(data=[0.0, 0.0, 0.0]))
    np.testing.assert_allclose(node.after(0.01), [1.0, 1.0], rtol=1e-6)
    assert node.on_set([SimpleNamespace(name="task", value=[1.0])]).successful
    np.testing.assert_allclose(node.after(0.01), [2.0, 1.0], rtol=1e-6)
    for task, said in (([2.0], "velocity is in [0, 1]"), ([1.0, 1.0], "1 finite"), ([np.nan], "1 finite")):
        refused = node.on_set([SimpleNamespace(name="task", value=task)])
        assert not refused.successful and said in refused.reason
    np.testing.assert_allclose(node.after(0.01), [2.0, 1.0], rtol=1e-6)
    with pytest.raises(ValueError, match="velocity is in"):
        started(task=[3.0])
