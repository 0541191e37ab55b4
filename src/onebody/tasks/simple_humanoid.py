"""rllab's simple humanoid: torso and pelvis in one piece, arms without elbows, feet without ankles; ten motors.

Written from the parameters of rllab's model (m, kg, rad, N m), which gives masses and inertias separately from the
geoms. Limbs collide with the floor, but not with each other. The range of shoulder1 is the same on both sides, as in
rllab's model, although equal angles of the two are not mirror images because of their axes.

Contacts act from a distance of 0.1 m. rllab's model gives this margin to the limbs and to the floor: the MuJoCo version
that it used took the larger one, but current versions take their sum, so here the floor has no margin.
"""

from onebody.tasks.body import Feature, MujocoBody
from onebody.tasks.robots import RLLAB


def _arm(side: str, y: int) -> str:
    """An upper arm; y is -1 on the right and 1 on the left."""
    place = f'pos="0.08 {0.08 * y} -0.08" quat="0.888074 {0.325058 * y} -0.325058 0"'
    return f"""
      <body name="{side}_upper_arm" pos="0 {0.17 * y} 0.06">
        <inertial {place} mass="1.59406" diaginertia="0.0139972 0.0139972 0.00127525"/>
        <joint name="{side}_shoulder1" axis="0 {0.707107 * y} 0.707107" stiffness="1" range="-1.0472 0.785398"/>
        <joint name="{side}_shoulder2" axis="0.816497 {-0.408248 * y} 0.408248" stiffness="1"
               range="-0.785398 0.785398"/>
        <geom type="capsule" {place} size="0.04 0.2"/>
      </body>"""


def _leg(side: str, y: int) -> str:
    """Thigh, shin and foot; y is -1 on the right and 1 on the left."""
    place = f'pos="0 {-0.005 * y} -0.17" quat="0.999892 {-0.0147011 * y} 0 0"'
    return f"""
        <body name="{side}_thigh" pos="0 {0.1 * y} -0.04">
          <inertial {place} mass="5.37761" diaginertia="0.0792387 0.0792387 0.0113602"/>
          <joint name="{side}_hip_x" axis="{-y} 0 0" stiffness="10" range="-0.15 0.0872665"/>
          <joint name="{side}_hip_y" axis="0 1 0" stiffness="20" range="-1.91986 0.174533"/>
          <geom type="capsule" {place} size="0.065 0.170074"/>
          <body name="{side}_shin" pos="0 {-0.01 * y} -0.403">
            <inertial pos="0 0 -0.181" mass="3.10016" diaginertia="0.045501 0.045501 0.00372174"/>
            <joint name="{side}_knee" pos="0 0 0.05" axis="0 -1 0" range="-1.3 -0.0349066"/>
            <geom type="capsule" pos="0 0 -0.181" size="0.049 0.181"/>
            <body name="{side}_foot" pos="0 0 -0.45">
              <geom type="sphere" pos="0 0 0.1" size="0.075"/>
            </body>
          </body>
        </body>"""


MJCF = f"""
<mujoco model="simple humanoid">
  <compiler angle="radian"/>
  <option timestep="0.01" integrator="RK4"/>
  <default>
    <joint limited="true" armature="1" damping="1" margin="0.01"/>
    <geom condim="3" conaffinity="0" margin="0.1" friction="1 0.5 0.5" rgba="0.8 0.6 0.4 1"/>
    <motor ctrlrange="-100 100"/>
    <default class="across y">
      <geom type="capsule" quat="0.707107 0.707107 0 0"/>
    </default>
    <default class="arm">
      <motor ctrlrange="-20 20"/>
    </default>
  </default>
  <asset>
    <texture type="skybox" builtin="gradient" width="100" height="100" rgb1="1 1 1" rgb2="0.6 0.7 0.8"/>
    <texture name="floor" type="2d" builtin="checker" width="100" height="100" rgb1="0.8 0.85 0.8" rgb2="0.6 0.65 0.6"/>
    <material name="floor" texture="floor" texrepeat="40 40"/>
  </asset>
  <worldbody>
    <light directional="true" pos="0 0 3" dir="0 0 -1"/>
    <geom name="floor" type="plane" size="40 40 40" conaffinity="1" margin="0" material="floor" rgba="1 1 1 1"/>
    <body name="torso" pos="0 0 1.4">
      <camera name="track" mode="trackcom" pos="0 -4 0" xyaxes="1 0 0 0 0 1"/>
      <freejoint name="root"/>
      <inertial pos="0 0 0.0403624" mass="8.32208" diaginertia="0.159056 0.147471 0.0330627"/>
      <geom class="across y" size="0.07 0.07"/>
      <geom type="sphere" pos="0 0 0.19" size="0.09"/>
      <geom class="across y" pos="0 0 -0.12" size="0.06 0.06"/>
      <body name="pelvis" pos="0 0 -0.425" quat="0.999998 0 -0.002 0">
        <inertial pos="-0.0148387 0 0.0387097" quat="0.997805 0 0.0662273 0" mass="7.88854"
                  diaginertia="0.0795697 0.0619562 0.0449816"/>
        <geom class="across y" pos="0 0 0.15" size="0.06 0.06"/>
        <geom class="across y" pos="-0.02 0 0" size="0.09 0.07"/>{_leg("right", -1)}{_leg("left", 1)}
      </body>{_arm("right", -1)}{_arm("left", 1)}
    </body>
  </worldbody>
  <actuator>
    <motor joint="right_hip_x"/>
    <motor joint="right_hip_y"/>
    <motor joint="right_knee"/>
    <motor joint="left_hip_x"/>
    <motor joint="left_hip_y"/>
    <motor joint="left_knee"/>
    <motor class="arm" joint="right_shoulder1"/>
    <motor class="arm" joint="right_shoulder2"/>
    <motor class="arm" joint="left_shoulder1"/>
    <motor class="arm" joint="left_shoulder2"/>
  </actuator>
  <sensor>
    <subtreelinvel name="velocity" body="torso"/>
  </sensor>
</mujoco>
"""

HUMANOID = MujocoBody(
    name="simple humanoid",
    mjcf=MJCF,
    frame_skip=1,
    observation=(Feature("qpos", slice(2, None)), Feature("qvel"), Feature("sensordata")),
    start=RLLAB,
)
