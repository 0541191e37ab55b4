"""The bodies against MuJoCo stepped by others: Gymnasium's environments, and single MjData without a batch."""

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import gymnasium
import jax
import mujoco
import numpy as np
import pytest

from onebody.tasks import admrl, mbmpo, pearl, registry, smt
from onebody.tasks.body import MujocoBody, Normal
from onebody.tasks.family import never
from onebody.worlds.engines import MujocoEngine
from onebody.worlds.simulator import Simulator

MUJOCO = {
    f"{family.id.split('/')[0]} {family.body.name}": family.body
    for family in registry.families().values()
    if isinstance(family.body, MujocoBody)
}
TWINS = {
    "HalfCheetah-v5": (pearl.CHEETAH, "half_cheetah"),
    "Ant-v5": (pearl.ANT, "ant"),
    "Humanoid-v5": (pearl.HUMANOID, "humanoid"),
    "Hopper-v5": (admrl.HOPPER, "hopper"),
    "Walker2d-v5": (admrl.WALKER, "walker2d"),  # v5's own file changes the friction of a foot
    "Swimmer-v5": (mbmpo.SWIMMER, "swimmer"),
}


@pytest.mark.parametrize("name", TWINS)
def test_the_same_actions_from_the_same_state_give_gymnasiums_trajectory(name, tmp_path):
    body, asset = TWINS[name]
    path = tmp_path / "robot.xml"
    xml = files("gymnasium").joinpath(f"envs/mujoco/assets/{asset}.xml").read_text()
    path.write_text(xml)
    if asset == "half_cheetah":  # the attribute only sets the total mass, and each load of it warns
        path.write_text(xml.replace('settotalmass="14"', ""))
    theirs = gymnasium.make(name, xml_file=str(path)).unwrapped
    if asset == "half_cheetah":
        mujoco.mj_setTotalmass(theirs.model, 14.0)
        mujoco.mj_setConst(theirs.model, mujoco.MjData(theirs.model))
    assert body.model.opt.timestep == theirs.model.opt.timestep
    ours = MujocoEngine(replace(body, frame_skip=theirs.frame_skip), 2, 2)
    ours.reset(np.arange(2), [(np.random.default_rng(0), 2)])
    theirs.reset(seed=0)
    theirs.set_state(ours.qpos[1].copy(), ours.qvel[1].copy())
    low, high = theirs.model.actuator_ctrlrange.T  # the bounds of its action space are rounded to float32
    rng = np.random.default_rng(1)
    for _ in range(100):
        action = rng.uniform(-1, 1, (2, body.action_size))
        ours.step(action)
        theirs.step((low + high) / 2 + (high - low) / 2 * action[1])
        np.testing.assert_allclose(ours.qpos[1], theirs.data.qpos, atol=1e-6)
        np.testing.assert_allclose(ours.qvel[1], theirs.data.qvel, atol=1e-6)
    theirs.close()


@pytest.mark.parametrize("name", MUJOCO)
def test_an_observation_is_of_the_new_state(name):
    """Against MjData set to the state after a step: no number of it lags, as MuJoCo's sensors do after mj_step."""
    body = MUJOCO[name]
    engine, data, rng = MujocoEngine(body, 2, 2), mujoco.MjData(body.model), np.random.default_rng(0)
    engine.reset(np.arange(2), [(rng, 2)])
    lags = 0.0
    for _ in range(10):
        observation = engine.step(rng.uniform(-1, 1, (2, body.action_size)))[0]
        data.qpos[:], data.qvel[:] = engine.qpos[0], engine.qvel[0]
        mujoco.mj_forward(body.model, data)
        np.testing.assert_allclose(observation, features(body, data), rtol=1e-5, atol=1e-5)
        mujoco.mj_step(body.model, data)  # what it would be with the lag
        lags = max(lags, abs(observation - features(body, data)).max())
    assert lags > 1e-3


def features(body, data):
    parts = []
    for field, columns, limit in body.observation:
        values = np.ravel(getattr(data, field))
        parts.append(np.clip(values[columns if isinstance(columns, slice) else list(columns)], -limit, limit))
    return np.concatenate(parts)


@pytest.mark.parametrize("body", [smt.CHEETAH, smt.ANT, smt.HUMANOID], ids=lambda body: body.name)
def test_whole_robot_velocity_is_that_of_the_centre_of_mass(body):
    """Against the momentum of all parts, and against where the centre of mass goes."""
    engine, data, rng = MujocoEngine(body, 1, 1), mujoco.MjData(body.model), np.random.default_rng(0)
    engine.reset(np.arange(1), [(rng, 1)])
    model, jacobian = body.model, np.zeros((3, body.model.nv))
    axes = [i for i, label in enumerate(body.labels) if label.startswith("velocity")]
    for _ in range(20):
        measured = engine.step(rng.uniform(-1, 1, (1, body.action_size)))[0, axes]
        data.qpos[:], data.qvel[:] = engine.qpos[0], engine.qvel[0]
        mujoco.mj_forward(model, data)
        momentum, centre = np.zeros(3), data.subtree_com[1].copy()
        for part in range(1, model.nbody):
            mujoco.mj_jacBodyCom(model, data, jacobian, None, part)
            momentum += model.body_mass[part] * (jacobian @ data.qvel)
        velocity = momentum / model.body_mass.sum()
        np.testing.assert_allclose(measured, velocity[[0, 2]] if len(axes) == 2 else velocity, atol=1e-4)
        mujoco.mj_integratePos(model, data.qpos, data.qvel, 1e-6)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        np.testing.assert_allclose((data.subtree_com[1] - centre) / 1e-6, velocity, atol=1e-3)


def test_friction_is_halved_and_a_leg_has_no_torque():
    slippery, crippled = smt.SLIPPERY_ANT.model, smt.CRIPPLED_ANT.model
    np.testing.assert_allclose(slippery.geom_friction, smt.ANT.model.geom_friction / 2)
    engine = MujocoEngine(replace(smt.CRIPPLED_ANT, start=without_noise(smt.CRIPPLED_ANT)), 2, 2)
    still, pushed = run_one_step(engine, crippled, "hip_1", "ankle_1")
    np.testing.assert_array_equal(still, pushed)
    still, pushed = run_one_step(engine, crippled, "hip_2")
    assert abs(still - pushed).max() > 1e-3


def without_noise(body):
    return body.start._replace(position=Normal(0.0), velocity=Normal(0.0))


def run_one_step(engine, model, *joints):
    """Velocities after no action, and after a push of these joints."""
    engine.reset(np.arange(2), [(np.random.default_rng(0), 2)])
    action = np.zeros((2, model.nu))
    for actuator in range(model.nu):
        action[1, actuator] = model.joint(model.actuator_trnid[actuator, 0]).name in joints
    engine.step(action)
    return engine.qvel.copy()


@pytest.mark.parametrize("name", ["pearl/walker-params", "pearl/hopper-params"])
def test_each_episode_has_the_physics_of_its_task(name):
    """Against single simulations of models that are changed by hand; and ψ = 0 is the robot as it is."""
    family = replace(registry.make(name), terminal=never)
    body, size = family.body, family.space.size
    tasks = np.array(family.space.sample(jax.random.key(0), 3))
    tasks[0] = 0.0
    simulator = Simulator(family)
    age, observation = simulator.reset(jax.device_put(tasks), 2, jax.random.split(jax.random.key(1), 3))
    singles = []
    for task, qpos, qvel in zip(np.repeat(tasks, 2, 0), simulator._engine.qpos, simulator._engine.qvel, strict=True):
        model = body.mjcf()
        factors = np.split(task.astype(float), np.cumsum([model.nbody - 1, 3 * (model.nbody - 1), model.nv]))
        model.body_mass[1:] *= 1.5 ** factors[0]
        model.body_inertia[1:] *= 1.5 ** factors[1].reshape(-1, 3)
        model.dof_damping *= 1.3 ** factors[2]
        model.geom_friction *= 1.5 ** factors[3].reshape(-1, 3)
        data = mujoco.MjData(model)
        mujoco.mj_setConst(model, data)
        data.qpos, data.qvel = qpos, qvel
        mujoco.mj_forward(model, data)
        singles.append((model, data))
    assert (
        sum(map(np.size, (model.body_mass[1:], model.body_inertia[1:], model.dof_damping, model.geom_friction))) == size
    )
    rng = np.random.default_rng(0)
    for _ in range(5):
        action = rng.uniform(-1, 1, (3, 2, body.action_size)).astype(np.float32)
        age, observation, _ = simulator.step(age, observation, action)
        for (model, data), control, qpos in zip(singles, action.reshape(6, -1), simulator._engine.qpos, strict=True):
            data.ctrl = control
            mujoco.mj_step(model, data, body.frame_skip)
            np.testing.assert_allclose(qpos, data.qpos, atol=1e-9)
    assert len(np.unique(observation[:, 0, 0])) == 3


def test_the_physics_are_those_that_results_were_made_with():
    """States after twenty steps. If they change with MuJoCo or Gymnasium's files, families need new versions."""
    kept = json.loads(Path(__file__).with_name("golden_states.json").read_text())
    assert set(kept) == set(MUJOCO)
    for name, state in kept.items():
        np.testing.assert_allclose(state_after(MUJOCO[name]), state, atol=1e-3, err_msg=name)


def state_after(body, steps=20):
    engine, rng = MujocoEngine(body, 1, 1), np.random.default_rng(0)
    engine.reset(np.arange(1), [(rng, 1)])
    for _ in range(steps):
        engine.step(rng.uniform(-1, 1, (1, body.action_size)))
    return engine.qpos[0].round(6).tolist()
