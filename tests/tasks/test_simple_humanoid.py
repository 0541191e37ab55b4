"""rllab's simple humanoid against the parameters of its model, and against how long rllab's own stands."""

import mujoco
import numpy as np
import pytest

from onebody.tasks import registry
from onebody.tasks.simple_humanoid import HUMANOID
from onebody.worlds.engines import MujocoEngine

MODEL = HUMANOID.model
FOOT = 1000 * 4 / 3 * np.pi * 0.075**3
BODIES = {  # mass (kg), principal inertias (kg m²), and the centre of mass in the body's frame (m), of the right side
    "torso": (8.32208, (0.159056, 0.147471, 0.0330627), (0, 0, 0.0403624)),
    "pelvis": (7.88854, (0.0795697, 0.0619562, 0.0449816), (-0.0148387, 0, 0.0387097)),
    "thigh": (5.37761, (0.0792387, 0.0792387, 0.0113602), (0, 0.005, -0.17)),
    "shin": (3.10016, (0.045501, 0.045501, 0.00372174), (0, 0, -0.181)),
    "foot": (FOOT, (0.4 * FOOT * 0.075**2,) * 3, (0, 0, 0.1)),
    "upper_arm": (1.59406, (0.0139972, 0.0139972, 0.00127525), (0.08, -0.08, -0.08)),
}
JOINTS = {  # range (rad), stiffness (N m/rad), torque (N m)
    "hip_x": (-0.15, 0.0872665, 10, 100),
    "hip_y": (-1.91986, 0.174533, 20, 100),
    "knee": (-1.3, -0.0349066, 0, 100),
    "shoulder1": (-1.0472, 0.785398, 1, 20),
    "shoulder2": (-0.785398, 0.785398, 1, 20),
}
LEG, ARM = ("hip_x", "hip_y", "knee"), ("shoulder1", "shoulder2")
ORDER = [f"{side}_{joint}" for limb in (LEG, ARM) for side in ("right", "left") for joint in limb]


def test_joints_and_motors_are_those_of_the_source():
    assert (MODEL.nq, MODEL.nv, MODEL.nu, HUMANOID.dt) == (17, 16, 10, 0.01)
    assert MODEL.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    assert [MODEL.joint(i).name for i in range(1, MODEL.njnt)] == ORDER
    assert [MODEL.joint(i).name for i in MODEL.actuator_trnid[:, 0]] == ORDER
    low, high, stiffness, torque = np.array([JOINTS[name.split("_", 1)[1]] for name in ORDER]).T
    np.testing.assert_allclose(MODEL.jnt_range[1:], np.stack([low, high], 1))
    np.testing.assert_allclose(MODEL.jnt_stiffness, [0, *stiffness])
    np.testing.assert_allclose(MODEL.actuator_ctrlrange, np.stack([-torque, torque], 1))
    np.testing.assert_array_equal(MODEL.actuator_gear[:, 0], 1)
    assert MODEL.jnt_limited[1:].all() and not MODEL.jnt_limited[0]
    for field in (MODEL.dof_armature, MODEL.dof_damping):
        np.testing.assert_array_equal(field, [0] * 6 + [1] * 10)


def test_masses_and_inertias_are_those_of_the_source():
    for i in range(1, MODEL.nbody):
        name = MODEL.body(i).name
        mass, inertia, centre = BODIES[name.removeprefix("right_").removeprefix("left_")]
        np.testing.assert_allclose(MODEL.body_mass[i], mass)
        np.testing.assert_allclose(MODEL.body_inertia[i], inertia)
        np.testing.assert_allclose(MODEL.body_ipos[i], np.array(centre) * (1, -1 if "left" in name else 1, 1))
    assert MODEL.body_mass.sum() == pytest.approx(39.8885, abs=1e-4)


def test_contacts_act_from_a_tenth_of_a_metre_however_mujoco_combines_margins():
    data = mujoco.MjData(MODEL)
    data.qpos[2] -= 0.05
    mujoco.mj_forward(MODEL, data)
    assert data.ncon > 2 and (data.contact.geom1 == MODEL.geom("floor").id).all()
    np.testing.assert_allclose(data.contact.includemargin, 0.1)


def test_left_and_right_are_mirror_images():
    """Where shoulder1 stays in the part of its range that both sides share: its equal angles are no mirror images."""
    legs, arms = np.arange(6).reshape(2, 3)[::-1].ravel(), 6 + np.arange(4).reshape(2, 2)[::-1].ravel()
    swapped, sign = np.concatenate([legs, arms]), np.array([1] * 6 + [-1] * 4)

    def mirrored(root_signs, values):
        root, joints = np.split(values, [len(values) - 10])
        return np.concatenate([root * root_signs, joints[swapped] * sign])

    position, rate = (1, -1, 1, 1, -1, 1, -1), (1, -1, 1, -1, 1, -1)
    engine, rng = MujocoEngine(HUMANOID, 2, 1), np.random.default_rng(0)
    engine.reset(np.arange(2), [(rng, 2)])
    engine.qpos[1], engine.qvel[1] = mirrored(position, engine.qpos[0]), mirrored(rate, engine.qvel[0])
    for _ in range(60):
        action = rng.uniform(-1, 1, 10)
        engine.step(np.stack([action, mirrored((), action)]))
        assert abs(engine.qpos[0, [13, 15]]).max() < 0.78
        np.testing.assert_allclose(engine.qpos[1], mirrored(position, engine.qpos[0]), atol=1e-6)
        np.testing.assert_allclose(engine.qvel[1], mirrored(rate, engine.qvel[0]), atol=1e-5)
    assert engine.qpos[0, 2] > 1.0  # held up by the floor: 0.6 s of free fall are 1.8 m


@pytest.mark.parametrize(("scale", "steps"), [(0.0, 142.6), (1.0, 128.4)], ids=["no action", "random actions"])
def test_it_falls_when_the_sources_robot_does(scale, steps):
    """rllab's file in MuJoCo 2.3.7, which takes the larger margin as that of the papers did: 142.6 ± 1.5 steps without
    action and 128.4 ± 1.4 with normal ones clipped to the limits, means of 400 episodes ± standard error. Version 1 of
    the families, another robot, fell after 90 and 78."""
    falls, rng = registry.make("smt/humanoid-vel").terminal, np.random.default_rng(0)
    engine = MujocoEngine(HUMANOID, 100, 2)
    observation, lasted, up = engine.reset(np.arange(100), [(rng, 100)]), np.zeros(100), np.ones(100, bool)
    while up.any() and lasted.max() < 1000:
        observation = engine.step(scale * np.clip(rng.standard_normal((100, 10)), -1, 1))
        lasted += up
        up &= ~np.asarray(falls(observation.T, None))
    assert lasted.mean() == pytest.approx(steps, abs=12)  # the mean of 100 has a standard error of 3
