"""A family of your own: a crane that carries its load to any place along the rail. Run it, or train on it by name:

onebody train smt examples/custom_family.py:example/crane --preset smoke
"""

import jax.numpy as jnp

import onebody

MJCF = """
<mujoco model="crane">
  <option timestep="0.01" integrator="implicitfast"/>
  <default> <geom contype="0" conaffinity="0"/> </default>
  <worldbody>
    <light pos="0 -2 3" dir="0 0.6 -1"/>
    <camera name="track" pos="0 -4 1.3" xyaxes="1 0 0 0 0 1"/>
    <geom name="rail" type="capsule" fromto="-2 0 2 2 0 2" size="0.02"/>
    <body name="trolley" pos="0 0 2">
      <joint name="trolley" type="slide" axis="1 0 0" range="-2 2" damping="2"/>
      <geom type="box" size="0.12 0.08 0.05" mass="1"/>
      <body name="load">
        <joint name="swing" axis="0 -1 0" damping="0.05"/>
        <geom type="capsule" fromto="0 0 0 0 0 -1" size="0.01" mass="0.05"/>
        <geom type="sphere" pos="0 0 -1" size="0.1" mass="0.5" rgba="0.76 0.34 0.1 1"/>
        <site name="load" pos="0 0 -1"/>
      </body>
    </body>
  </worldbody>
  <actuator> <motor joint="trolley" gear="8" ctrlrange="-1 1"/> </actuator>
  <sensor> <framepos name="load" objtype="site" objname="load"/> </sensor>
</mujoco>
"""

CRANE = onebody.MujocoBody(
    name="crane",
    mjcf=MJCF,
    frame_skip=5,
    observation=(onebody.Feature("qpos"), onebody.Feature("qvel"), onebody.Feature("sensordata", (0,))),
)


def carry(observation, action, next_observation, task):
    return -jnp.abs(next_observation[4] - task[0]) - 0.01 * jnp.sum(action**2)


onebody.register(
    onebody.TaskFamily(
        "example/crane", CRANE, onebody.Box((-1.0,), (1.0,)), carry, horizon=60, reward_text="-|x - ψ| - 0.01 ‖a‖²"
    )
)

if __name__ == "__main__":
    run = onebody.train("smt", f"{__file__}:example/crane", preset="smoke", out="runs/crane")
    policy = onebody.adapt(run, task=0.5)
    print(f"carried to 0.5 m: {policy.predicted_return:.1f} predicted, {policy.real_return:.1f} reached")
