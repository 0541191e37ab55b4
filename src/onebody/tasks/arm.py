"""A seven-joint arm, torque-controlled and without gravity, with the lengths and joint limits of a PR2's left arm."""

import mujoco
import numpy as np

from onebody.tasks.body import Feature, MujocoBody

MJCF = """
<mujoco model="arm">
  <compiler angle="radian"/>
  <option timestep="0.05" gravity="0 0 0" integrator="implicitfast"/>
  <default>
    <joint armature="0.04" damping="1"/>
    <geom contype="0" conaffinity="0" density="300" rgba="0.55 0.6 0.65 1"/>
    <motor ctrlrange="-3 3"/>
  </default>
  <asset>
    <texture builtin="gradient" type="skybox" rgb1="1 1 1" rgb2="0.6 0.7 0.8" width="100" height="100"/>
  </asset>
  <worldbody>
    <light directional="true" pos="0 0 3" dir="0 0 -1"/>
    <camera name="track" pos="2.2 -1.2 1.6" xyaxes="0.5 0.87 0 -0.26 0.15 0.95"/>
    <body name="shoulder" pos="0 0.19 0.8">
      <joint name="shoulder pan" axis="0 0 1" range="-0.71 2.28"/>
      <geom type="capsule" fromto="0 0 -0.3 0 0 0.1" size="0.08"/>
      <body name="shoulder lift" pos="0.1 0 0">
        <joint name="shoulder lift" axis="0 1 0" range="-0.52 1.39"/>
        <geom type="capsule" fromto="0 -0.08 0 0 0.08 0" size="0.07"/>
        <body name="upper arm">
          <joint name="upper arm roll" axis="1 0 0" range="-0.8 3.9"/>
          <geom type="capsule" fromto="0 0 0 0.4 0 0" size="0.05"/>
          <body name="elbow" pos="0.4 0 0">
            <joint name="elbow flex" axis="0 1 0" range="-2.32 0"/>
            <geom type="capsule" fromto="0 -0.05 0 0 0.05 0" size="0.05"/>
            <body name="forearm">
              <joint name="forearm roll" axis="1 0 0" range="-3.14 3.14"/>
              <geom type="capsule" fromto="0 0 0 0.321 0 0" size="0.04"/>
              <body name="wrist" pos="0.321 0 0">
                <joint name="wrist flex" axis="0 1 0" range="-2.09 0"/>
                <geom type="capsule" fromto="0 -0.03 0 0 0.03 0" size="0.03"/>
                <body name="hand">
                  <joint name="wrist roll" axis="1 0 0" range="-3.14 3.14"/>
                  <geom type="capsule" fromto="0 0 0 0.18 0 0" size="0.025"/>
                  <site name="tip" pos="0.18 0 0" size="0.02" rgba="0.1 0.4 0.7 1"/>
                </body>
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>
    <body name="goal">
      <joint name="goal x" type="slide" axis="1 0 0"/>
      <joint name="goal y" type="slide" axis="0 1 0"/>
      <joint name="goal z" type="slide" axis="0 0 1"/>
      <geom type="sphere" size="0.03" rgba="0.76 0.34 0.1 1"/>
      <site name="goal"/>
    </body>
  </worldbody>
  <actuator>
    <motor joint="shoulder pan"/>
    <motor joint="shoulder lift"/>
    <motor joint="upper arm roll"/>
    <motor joint="elbow flex"/>
    <motor joint="forearm roll"/>
    <motor joint="wrist flex"/>
    <motor joint="wrist roll"/>
  </actuator>
  <sensor>
    <framepos name="tip from goal" objtype="site" objname="tip" reftype="site" refname="goal"/>
  </sensor>
</mujoco>
"""
POSE = (0.5, 0.3, 0.5, -1.2, 0.0, -0.6, 0.0)
"""joint angles (rad) near which an episode starts"""
GOALS = ((0.4, 0.25, 0.6), (0.6, 0.75, 1.0))
"""corners of the box (m) from which goals are sampled"""


def start(rng: np.random.Generator, model: mujoco.MjModel, n: int) -> tuple[np.ndarray, np.ndarray]:
    """a bent pose, angles + N(0, 0.01²), rates N(0, 0.1²); the goal in [0.4, 0.6] × [0.25, 0.75] × [0.6, 1] m"""
    angles = np.array(POSE) + 0.01 * rng.standard_normal((n, 7))
    rates = 0.1 * rng.standard_normal((n, 7))
    return np.concatenate([angles, rng.uniform(*GOALS, (n, 3))], axis=1), np.pad(rates, ((0, 0), (0, 3)))


ARM = MujocoBody(
    name="arm",
    mjcf=MJCF,
    frame_skip=1,
    observation=(Feature("qpos", slice(0, 7)), Feature("qvel", slice(0, 7)), Feature("sensordata")),
    start=start,
)
