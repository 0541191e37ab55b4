"""A ROS 2 node that runs the policy of this folder: a template to adapt to your robot.

python3 policy_node.py --ros-args -p task:="[0.7]"

Subscribes to
    joint_states  sensor_msgs/JointState: of each joint in the parameter `joints`, its position and its velocity are the
                  numbers JOINT and "JOINT rate" of the observation
    observation   std_msgs/Float64MultiArray: all other numbers of the observation, in the order of contract.json
    outcome       std_msgs/Float64MultiArray, only for a policy that infers the task from rewards: reward of the last
                  step, and 1 if it ended an episode, otherwise 0
Publishes
    commands      std_msgs/Float64MultiArray, every dt: one number per actuator, in its unit
Parameters
    task           the task, which can be changed while the node runs: ros2 param set /policy task "[0.7]"
    joints         names of the joints that joint_states is read for
    stop_command   what is published while there is no action: by default zeros
    bundle         the folder with policy.py

Where a part of the observation or the outcome is older than two control steps, or the policy refuses it, the node
publishes stop_command; also when it ends, by Ctrl-C or an exception, but not if it is killed. Check what that means for
your actuators: for a motor, zero is no torque; for a position servo, it is the position zero. The next action begins an
episode of the policy: whatever stop_command is, it is within `rate` in contract.json, if there is one, of the action 0,
or of the bound nearest to 0.
"""

import sys
from pathlib import Path

import numpy as np
import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

STALE = 2.5
"""age in control steps above which a number of the observation is not used: two steps, and half a step for jitter"""


class PolicyNode(Node):
    """Acts every dt on the newest observation."""

    def __init__(self):
        super().__init__("policy")
        self.declare_parameter("bundle", str(Path(__file__).resolve().parents[1]))
        folder = self.get_parameter("bundle").value
        sys.path.insert(0, folder)
        from policy import Policy

        self.policy = Policy(folder)
        contract = self.contract = self.policy.contract
        names = [each["name"] for each in contract["observation"]]
        self.declare_parameter("joints", [""])
        self.declare_parameter("stop_command", [0.0] * len(contract["action"]))
        if len(self.get_parameter("stop_command").value) != len(contract["action"]):
            raise ValueError(f"stop_command has {len(contract['action'])} numbers, one for each actuator")
        joints = self.get_parameter("joints").value
        of_joints = {part for joint in joints for part in (joint, joint + " rate")}
        self.of_joints = {name: i for i, name in enumerate(names) if name in of_joints}
        self.others = [i for i, name in enumerate(names) if name not in of_joints]
        self.observation = np.zeros(len(names))
        self.received = np.full(len(names), -np.inf)  # seconds
        self.outcome = None
        self.outcome_received = -np.inf  # seconds
        self.task = None
        if contract["task"]["input"]:
            self.task = list(contract["task"]["default"])
            self.declare_parameter("task", self.task)
            self.add_on_set_parameters_callback(self.on_parameters)
            result = self.on_parameters([self.get_parameter("task")])
            if not result.successful:
                raise ValueError(result.reason)

        self.commands = self.create_publisher(Float64MultiArray, "commands", 1)
        self.create_subscription(JointState, "joint_states", self.on_joints, 1)
        self.create_subscription(Float64MultiArray, "observation", self.on_observation, 1)
        self.begins = True  # there was no action in the last step
        if self.policy.infers:
            self.create_subscription(Float64MultiArray, "outcome", self.on_outcome, 1)
        self.create_timer(contract["dt"], self.on_timer)

    def seconds(self):
        return 1e-9 * self.get_clock().now().nanoseconds

    def on_joints(self, message):
        rates = [name + " rate" for name in message.name]
        for names, values in ((message.name, message.position), (rates, message.velocity)):
            for name, value in zip(names, values):
                if name in self.of_joints:
                    self.set_numbers([self.of_joints[name]], [value])

    def on_observation(self, message):
        if len(message.data) != len(self.others):
            self.get_logger().error(f"observation has {len(message.data)} numbers, not {len(self.others)}")
            return
        self.set_numbers(self.others, message.data)

    def set_numbers(self, indices, values):
        self.observation[indices], self.received[indices] = values, self.seconds()

    def on_outcome(self, message):
        if len(message.data) != 2:
            self.get_logger().error(f"outcome has {len(message.data)} numbers, not 2")
            return
        self.outcome = float(message.data[0]), bool(message.data[1])
        self.outcome_received = self.seconds()

    def on_parameters(self, parameters):
        for parameter in parameters:
            if parameter.name == "task":
                wrong = self.wrong_task(list(parameter.value))
                if wrong:
                    return SetParametersResult(successful=False, reason=wrong)
                self.task = list(parameter.value)
        return SetParametersResult(successful=True)

    def wrong_task(self, task):
        """What is wrong with a task; empty if nothing is."""
        numbers = self.contract["task"]["numbers"]
        if len(task) != len(numbers) or not np.all(np.isfinite(task)):
            return f"a task is {len(numbers)} finite numbers"
        for value, number in zip(task, numbers):
            if number["low"] is not None and not number["low"] <= value <= number["high"]:
                return f"{number['name']} is in [{number['low']:g}, {number['high']:g}]"
        return ""

    def on_timer(self):
        command = self.command()
        self.begins = command is None
        self.publish(self.get_parameter("stop_command").value if self.begins else command)

    def publish(self, command):
        message = Float64MultiArray()
        message.data = [float(x) for x in command]
        self.commands.publish(message)

    def command(self):
        """The command of this step; None to stop."""
        oldest = int(np.argmin(self.received))
        if self.seconds() - self.received[oldest] > STALE * self.contract["dt"]:
            name = self.contract["observation"][oldest]["name"]
            self.get_logger().warning(f"{name} was not received for two control steps: stop_command")
            return None
        if self.outcome is not None and self.seconds() - self.outcome_received > STALE * self.contract["dt"]:
            self.get_logger().warning("outcome was not received for two control steps: stop_command")
            return None
        arguments = {} if self.task is None else {"task": self.task}
        if self.outcome is not None:
            reward, ended = self.outcome
            arguments.update(reward=reward, ended=ended or self.begins)
        elif self.begins and not self.policy.infers:
            self.policy.reset()
        try:
            return self.policy.command(self.policy(self.observation, **arguments))
        except ValueError as error:
            self.get_logger().error(f"{error}: stop_command")
            return None


def main():
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # so that Ctrl-C can still publish a command
    node = PolicyNode()
    try:
        rclpy.spin(node)
    except KeyboardInterrupt:
        pass
    finally:
        node.publish(node.get_parameter("stop_command").value)
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
