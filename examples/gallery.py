"""A gallery of foreign bodies: nine robots that onebody was not made for, each with tasks of one to two numbers.

onebody train omni examples/gallery.py:gallery/crane --preset laptop
onebody adapt runs/omni-gallery-crane-s0 --task 0.5,1.2

Each of them shows something else that a family of your own may need:

    gallery/pendulum          a Gymnasium environment as it is
    gallery/double-pendulum   a wrapper that leaves out an observation; an environment that ends its episodes itself
    gallery/double-pendulum-9 the same with that observation, a force that is zero nearly always
    gallery/reacher           a wrapper that takes the environment's own goal out of the observation
    gallery/pusher            somebody else's MJCF, changed with `MjSpec`: sensors and p0 of our own
    gallery/quadrotor         a formula; episodes that end
    gallery/crane             MJCF of our own: a motor and a winch
    gallery/press             a contact force as an observation and as a task
    gallery/swimmer           a body without a place: nothing depends on where it is
    gallery/plate             a ball that rolls on what is moved; positions in a moving frame

All episodes have 100 control steps. Rewards are smooth, about one a step, and 0 at best. Where an episode may end early
they are 2 at best, and above 0 where the body gets to, so that no policy gains by a fall.
"""

from pathlib import Path

import gymnasium
import jax.numpy as jnp
import mujoco
import numpy as np

import onebody

HORIZON = 100


def off(*errors):
    """How far off the target, in the errors' unit: their Euclidean norm, but rounded at 0, where a norm has a kink."""
    return jnp.sqrt(sum(error**2 for error in errors) + 0.02**2) - 0.02


def effort(action):
    """A little, so that of two ways to the target the calmer one is better."""
    return 0.01 * jnp.sum(action**2)


# ---------------------------------------------------------------- pendulum


def upright(observation, action, next_observation, task):
    cosine, sine, rate = next_observation
    return cosine * jnp.cos(task[0]) + sine * jnp.sin(task[0]) - 1.0 - 0.01 * rate**2 - effort(action)


pendulum = onebody.from_gymnasium(
    lambda: gymnasium.make("Pendulum-v1"),
    id="gallery/pendulum",
    reward=upright,
    space=onebody.Box((-0.35,), (0.35,)),
    horizon=HORIZON,
    labels=("cosine", "sine", "rate (rad/s)"),
    reward_text="cos(θ - ψ) - 1 - 0.01 ω² - 0.01 ‖a‖²; θ: angle from upright (rad), ω its rate (rad/s)",
)
"""Swing up and hold an angle ψ from upright (rad). The motor is too weak to lift the rod at once, and holds no angle
beyond asin(0.4) = 0.41. The episode begins at any angle."""


# ---------------------------------------------------------------- double pendulum


class WithoutForce(gymnasium.ObservationWrapper):
    """The constraint force on the cart, the last number, is zero until the cart hits the end of its rail."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (8,))

    def observation(self, observation):
        return observation[:8]


def tip_height(observation):
    """Above the rail (m), of two poles of 0.6 m; the second angle is relative to the first."""
    sin1, sin2, cos1, cos2 = observation[1:5]
    return 0.6 * cos1 + 0.6 * (cos1 * cos2 - sin1 * sin2)


def tip_is_low(next_observation, task):
    """The environment ends an episode at 1 m, with the tip up to 0.1 mm away from where the angles have it. Ours must
    not end later, so it ends 1 mm earlier."""
    return tip_height(next_observation) < 1.001


def balance(observation, action, next_observation, task):
    return 2.0 - off(next_observation[0] - task[0]) - effort(action)


def double_pendulum(id, env_fn, columns):
    labels = ("cart (m)", "sin 1", "sin 2", "cos 1", "cos 2", "cart rate (m/s)", "rate 1 (rad/s)", "rate 2 (rad/s)")
    return onebody.from_gymnasium(
        env_fn,
        id=id,
        reward=balance,
        terminal=tip_is_low,
        space=onebody.Box((-0.5,), (0.5,)),
        horizon=HORIZON,
        labels=(*labels, "rail's force (N)")[:columns],
        reward_text="2 - |x - ψ| - 0.01 ‖a‖²; x: the cart's place (m)",
    )


double_pendulum_9 = double_pendulum(
    "gallery/double-pendulum-9", lambda: gymnasium.make("InvertedDoublePendulum-v5"), columns=9
)
double_pendulum_8 = double_pendulum(
    "gallery/double-pendulum", lambda: WithoutForce(gymnasium.make("InvertedDoublePendulum-v5")), columns=8
)
"""Balance two poles on a cart at ψ (m) on its rail. Upright the tip is at 1.2 m; the episode ends when it is at 1 m."""


# ---------------------------------------------------------------- reacher


class FingertipAlone(gymnasium.ObservationWrapper):
    """Reacher-v5 draws a goal and shows it, and the fingertip relative to it. Our goal is the task, so we show the
    fingertip's own place."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (8,))

    def observation(self, observation):
        goal, rates, from_goal = observation[4:6], observation[6:8], observation[8:10]
        return np.concatenate([observation[:4], rates, goal + from_goal])


def reach(observation, action, next_observation, task):
    return -5.0 * off(*(next_observation[6:8] - task)) - effort(action)


reacher = onebody.from_gymnasium(
    lambda: FingertipAlone(gymnasium.make("Reacher-v5", max_episode_steps=HORIZON)),
    id="gallery/reacher",
    reward=reach,
    space=onebody.Disk(0.2),
    horizon=HORIZON,
    labels=("cos 1", "cos 2", "sin 1", "sin 2", "rate 1 (rad/s)", "rate 2 (rad/s)", "tip x (m)", "tip y (m)"),
    reward_text="-5 ‖(x, y) - ψ‖ - 0.01 ‖a‖²; x, y: the fingertip's place (m)",
)
"""Bring the fingertip of an arm of two links to ψ = (x, y) (m) and hold it there. Its motors are strong: at full torque
a joint gains 4 rad/s a step."""


# ---------------------------------------------------------------- pusher


def pusher_model():
    """Gymnasium's Pusher-v5, an arm of seven joints, without its goal and with sensors for hand and puck."""
    assets = Path(gymnasium.__file__).parent / "envs/mujoco/assets"
    spec = mujoco.MjSpec.from_file(str(assets / "pusher_v5.xml"))
    spec.delete(spec.body("goal"))
    body = mujoco.mjtObj.mjOBJ_BODY  # its centre of mass
    for name in ("tips_arm", "object"):
        spec.add_sensor(name=name, type=mujoco.mjtSensor.mjSENS_FRAMEPOS, objtype=body, objname=name)
    return spec.compile()


def arm_and_puck(rng, model, n):
    """the arm stretched out, the puck in 0.3 to 0.6 × -0.35 to -0.25 m, velocities + U[-0.02, 0.02]"""
    qpos = np.tile(model.qpos0, (n, 1))
    qpos[:, -2] += rng.uniform(-0.3, -0.2, n)
    qpos[:, -1] += rng.uniform(-0.15, 0.15, n)
    return qpos, rng.uniform(-0.02, 0.02, (n, model.nv))


PUSHER = onebody.MujocoBody(
    name="pusher",
    mjcf=pusher_model,
    frame_skip=5,
    observation=(
        onebody.Feature("qpos", slice(0, 7)),
        onebody.Feature("qvel"),
        onebody.Feature("sensordata", slice(0, 5)),  # the puck's height is always the same
    ),
    start=arm_and_puck,
)


def push(observation, action, next_observation, task):
    hand, puck = next_observation[16:19], next_observation[19:21]
    reached = off(hand[0] - puck[0], hand[1] - puck[1], hand[2] + 0.275)
    return -4.0 * off(*(puck - task)) - reached - effort(action)


pusher = onebody.TaskFamily(
    "gallery/pusher",
    PUSHER,
    onebody.Box((0.3, -0.15), (0.6, 0.0)),
    push,
    HORIZON,
    task_labels=("x (m)", "y (m)"),
    source="Gymnasium's Pusher-v5",
    reward_text="-4 ‖puck - ψ‖ - ‖hand - puck‖ - 0.01 ‖a‖² (m)",
)
"""Push a puck to ψ = (x, y) (m), farther away than it lies: the hand must come down in front of it first."""


# ---------------------------------------------------------------- quadrotor

GRAVITY, ROTOR_ARM, INERTIA, STRENGTH = 9.81, 0.2, 0.03, 0.25
"""m/s²; m; kg m²; how far an action changes a rotor's thrust, as a share. The mass is 1 kg."""


def fly(observation, action):
    """Two rotors in a vertical plane, 0.05 s in five steps of semi-implicit Euler; without action it hovers."""
    x, z, tilt, vx, vz, rate = observation
    left, right = GRAVITY / 2 * (1.0 + STRENGTH * action)
    for _ in range(5):
        vx = vx + 0.01 * (-(left + right) * jnp.sin(tilt) - 0.1 * vx)
        vz = vz + 0.01 * ((left + right) * jnp.cos(tilt) - GRAVITY - 0.1 * vz)
        rate = rate + 0.01 * ROTOR_ARM * (right - left) / INERTIA
        x, z, tilt = x + 0.01 * vx, z + 0.01 * vz, tilt + 0.01 * rate
    return jnp.stack([x, z, tilt, vx, vz, rate])


def in_the_air(rng, n):
    """hovers at 1 m, all numbers + U[-0.1, 0.1]"""
    return np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0]) + rng.uniform(-0.1, 0.1, (n, 6))


QUADROTOR = onebody.ClosedFormBody(
    name="quadrotor",
    dynamics=fly,
    labels=("x (m)", "z (m)", "tilt (rad)", "x rate (m/s)", "z rate (m/s)", "tilt rate (rad/s)"),
    action_size=2,
    start=in_the_air,
    dt=0.05,
)


def hover(observation, action, next_observation, task):
    return 2.0 / (1.0 + off(*(next_observation[:2] - task))) - effort(action)


def crashed(next_observation, task):
    return (next_observation[1] < 0.0) | (jnp.abs(next_observation[2]) > 1.2)


quadrotor = onebody.TaskFamily(
    "gallery/quadrotor",
    QUADROTOR,
    onebody.Box((-1.0, 0.5), (1.0, 1.5)),
    hover,
    HORIZON,
    crashed,
    task_labels=("x (m)", "z (m)"),
    reward_text="2 / (1 + ‖(x, z) - ψ‖) - 0.01 ‖a‖² (m)",
    terminal_text="on the ground, z < 0 m, or tipped over, |tilt| > 1.2 rad",
)
"""Fly to ψ = (x, z) (m) and hover there. It may get far away, so its reward is above 0 at any distance. The tilt needs
no sine and cosine: beyond 1.2 rad the episode is over."""


# ---------------------------------------------------------------- crane

CRANE = onebody.MujocoBody(
    name="crane with a winch",
    mjcf="""
      <mujoco model="crane">
        <option timestep="0.01" integrator="implicitfast"/>
        <default> <geom contype="0" conaffinity="0"/> </default>
        <custom> <numeric name="start" data="0 0 0.8"/> </custom>
        <worldbody>
          <light pos="0 -2 3" dir="0 0.6 -1"/>
          <camera name="track" pos="0 -4 1.3" xyaxes="1 0 0 0 0 1"/>
          <geom name="rail" type="capsule" fromto="-2 0 2 2 0 2" size="0.02"/>
          <body name="trolley" pos="0 0 2">
            <joint name="trolley" type="slide" axis="1 0 0" range="-2 2" damping="2"/>
            <geom type="box" size="0.12 0.08 0.05" mass="1"/>
            <body name="hook">
              <joint name="swing" axis="0 -1 0" damping="0.02"/>
              <joint name="rope" type="slide" axis="0 0 -1" range="0.2 1.5"/>
              <geom name="load" type="sphere" size="0.1" mass="0.5" rgba="0.76 0.34 0.1 1"/>
              <site name="load"/>
            </body>
          </body>
        </worldbody>
        <actuator>
          <motor joint="trolley" gear="8" ctrlrange="-1 1"/>
          <velocity joint="rope" kv="500" ctrlrange="-0.5 0.5"/>
        </actuator>
        <sensor> <framepos name="load" objtype="site" objname="load"/> </sensor>
      </mujoco>
    """,
    frame_skip=5,
    observation=(onebody.Feature("qpos"), onebody.Feature("qvel"), onebody.Feature("sensordata", (0, 2))),
    start=onebody.Start(onebody.Uniform(0.05), onebody.Uniform(0.05), pose="start"),
)


def carry(observation, action, next_observation, task):
    return -off(*(next_observation[6:8] - task)) - effort(action)


crane = onebody.TaskFamily(
    "gallery/crane",
    CRANE,
    onebody.Box((-1.0, 0.9), (1.0, 1.5)),
    carry,
    HORIZON,
    task_labels=("x (m)", "z (m)"),
    reward_text="-‖(x, z) - ψ‖ - 0.01 ‖a‖²; x, z: the load's place (m)",
)
"""Carry the load to ψ = (x, z) (m) and let it hang there at rest."""


# ---------------------------------------------------------------- press

PRESS = onebody.MujocoBody(
    name="pressing arm",
    mjcf="""
      <mujoco model="press">
        <compiler angle="radian"/>
        <option timestep="0.002" integrator="implicitfast"/>
        <default>
          <joint axis="0 1 0" damping="1" armature="0.02"/>
          <geom contype="0" conaffinity="0" density="800"/>
          <motor ctrlrange="-1 1"/>
        </default>
        <custom> <numeric name="ready" data="-0.2 1.5"/> </custom>
        <worldbody>
          <light pos="0 -2 3" dir="0 0.6 -1"/>
          <camera name="track" pos="0.3 -1.4 0.35" xyaxes="1 0 0 0 0.1 1"/>
          <geom name="table" type="plane" size="1 0.3 0.1" conaffinity="1" rgba="0.8 0.8 0.75 1"/>
          <body name="upper" pos="0 0 0.35" gravcomp="1">
            <joint name="shoulder" range="-1.2 1.6"/>
            <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.025"/>
            <body name="lower" pos="0.3 0 0" gravcomp="1">
              <joint name="elbow" range="0.1 2.6"/>
              <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.02"/>
              <geom name="tip" type="sphere" pos="0.3 0 0" size="0.025" contype="1" friction="0.3" solref="0.04 1"/>
              <site name="tip" pos="0.3 0 0" size="0.03" rgba="0.76 0.34 0.1 1"/>
            </body>
          </body>
        </worldbody>
        <actuator>
          <motor joint="shoulder" gear="8"/>
          <motor joint="elbow" gear="4"/>
        </actuator>
        <sensor>
          <touch name="force (N)" site="tip"/>
          <framepos name="tip" objtype="site" objname="tip"/>
        </sensor>
      </mujoco>
    """,
    frame_skip=10,
    observation=(
        onebody.Feature("qpos"),
        onebody.Feature("qvel"),
        onebody.Feature("sensordata", (0,), limit=40.0),
        onebody.Feature("sensordata", (1, 3)),
    ),
    start=onebody.Start(onebody.Uniform(0.05), onebody.Uniform(0.05), pose="ready"),
)


def press_there(observation, action, next_observation, task):
    force, place = next_observation[4], next_observation[5]
    return -5.0 * off(place - task[0]) - 0.1 * off(force - task[1]) - effort(action)


press = onebody.TaskFamily(
    "gallery/press",
    PRESS,
    onebody.Box((0.2, 2.0), (0.45, 8.0)),
    press_there,
    HORIZON,
    task_labels=("x (m)", "force (N)"),
    reward_text="-5 |x - ψ₁| - 0.1 |F - ψ₂| - 0.01 ‖a‖²; x: the tip's place (m), F: the force on it (N), cut at 40 N",
)
"""Press on the table at ψ₁ (m) with a force of ψ₂ (N). A contact force changes within a step from nothing to much,
which is hard to learn; a soft contact (`solref`), as of a rubber tip, makes it easier."""


# ---------------------------------------------------------------- swimmer


def swimmer_mjcf(links=5, length=0.2):
    """A chain of equal links in a plane, in a thick liquid."""
    joint = '<joint name="bend {}" axis="0 0 1" range="-1.7 1.7"/>'
    link = f'<geom type="capsule" fromto="0 0 0 {-length} 0 0" size="0.02"/>'
    chain = ""
    for i in range(links - 1, 0, -1):
        chain = f'<body pos="{-length} 0 0">{joint.format(i)}{link}{chain}</body>'
    motors = "".join(f'<motor joint="bend {i}" gear="0.3" ctrlrange="-1 1"/>' for i in range(1, links))
    return f"""
      <mujoco model="swimmer">
        <compiler angle="radian"/>
        <option timestep="0.01" density="2000" viscosity="0.1" gravity="0 0 0" integrator="implicitfast"/>
        <default> <joint armature="0.001"/> <geom contype="0" conaffinity="0" density="1000"/> </default>
        <worldbody>
          <light directional="true" pos="0 0 3" dir="0 0 -1"/>
          <camera name="track" mode="trackcom" pos="0 -0.6 2" xyaxes="1 0 0 0 1 0.3"/>
          <body name="head">
            <joint name="x" type="slide" axis="1 0 0"/>
            <joint name="y" type="slide" axis="0 1 0"/>
            <joint name="heading" axis="0 0 1"/>
            {link}
            {chain}
          </body>
        </worldbody>
        <actuator>{motors}</actuator>
        <sensor> <subtreelinvel name="velocity" body="head"/> </sensor>
      </mujoco>
    """


SWIMMER = onebody.MujocoBody(
    name="swimmer of five links",
    mjcf=swimmer_mjcf(),
    frame_skip=4,
    observation=(
        onebody.Feature("qpos", slice(2, None)),
        onebody.Feature("qvel"),
        onebody.Feature("sensordata", (0, 1)),
    ),
    start=onebody.Start(onebody.Uniform(0.1), onebody.Uniform(0.1)),
)


def swim(observation, action, next_observation, task):
    return -10.0 * off(next_observation[12] - task[0]) - effort(action)


swimmer = onebody.TaskFamily(
    "gallery/swimmer",
    SWIMMER,
    onebody.Box((-0.2,), (0.2,)),
    swim,
    HORIZON,
    task_labels=("velocity (m/s)",),
    reward_text="-10 |v - ψ| - 0.01 ‖a‖²; v: velocity of the centre of mass along x (m/s)",
)
"""Swim along x with ψ (m/s), forwards or backwards. Where it is does not matter, so its place is not observed; how it
is turned does, and an unwrapped angle from `qpos` never jumps."""


# ---------------------------------------------------------------- ball on a plate


def on_the_plate(rng, model, n):
    """the plate level, the ball at rest within ±0.15 m of its middle"""
    qpos = np.tile(model.qpos0, (n, 1))
    qpos[:, 2:4] = rng.uniform(-0.15, 0.15, (n, 2))
    return qpos, np.zeros((n, model.nv))


PLATE = onebody.MujocoBody(
    name="ball on a plate",
    mjcf="""
      <mujoco model="plate">
        <compiler angle="radian"/>
        <option timestep="0.005" integrator="implicitfast"/>
        <default> <joint damping="0.05"/> <position kp="20" kv="2" ctrlrange="-0.15 0.15"/> </default>
        <worldbody>
          <light pos="0 -2 3" dir="0 0.6 -1"/>
          <camera name="track" pos="0 -0.9 0.7" xyaxes="1 0 0 0 0.6 0.8"/>
          <body name="plate">
            <joint name="roll" axis="1 0 0"/>
            <joint name="pitch" axis="0 1 0"/>
            <geom type="box" size="0.35 0.35 0.005" mass="0.5" rgba="0.8 0.8 0.75 1"/>
          </body>
          <body name="ball" pos="0 0 0.035">
            <freejoint/>
            <geom type="sphere" size="0.03" mass="0.05" rgba="0.76 0.34 0.1 1"/>
          </body>
        </worldbody>
        <actuator>
          <position joint="roll"/>
          <position joint="pitch"/>
        </actuator>
        <sensor>
          <framepos name="ball" objtype="body" objname="ball" reftype="body" refname="plate"/>
          <framelinvel name="ball rate" objtype="body" objname="ball" reftype="body" refname="plate"/>
        </sensor>
      </mujoco>
    """,
    frame_skip=10,
    observation=(
        onebody.Feature("qpos", (0, 1)),
        onebody.Feature("qvel", (0, 1)),
        onebody.Feature("sensordata", (0, 1, 3, 4)),
    ),
    start=on_the_plate,
)


def roll(observation, action, next_observation, task):
    return 2.0 - 2.5 * off(*(next_observation[4:6] - task)) - effort(action)


def fallen(next_observation, task):
    return (jnp.abs(next_observation[4:6]) > 0.35).any()


plate = onebody.TaskFamily(
    "gallery/plate",
    PLATE,
    onebody.Box((-0.2, -0.2), (0.2, 0.2)),
    roll,
    HORIZON,
    fallen,
    task_labels=("x (m)", "y (m)"),
    reward_text="2 - 2.5 ‖(x, y) - ψ‖ - 0.01 ‖a‖²; x, y: the ball's place on the plate (m)",
    terminal_text="the ball leaves the plate, |x| or |y| > 0.35 m",
)
"""Roll a ball to ψ = (x, y) on a plate (m) and stop it there. The ball's place and velocity are sensors in the frame of
the plate; its quaternion, on which nothing depends, is left out."""


FAMILIES = tuple(
    map(
        onebody.register,
        (pendulum, double_pendulum_8, double_pendulum_9, reacher, pusher, quadrotor, crane, press, swimmer, plate),
    )
)
