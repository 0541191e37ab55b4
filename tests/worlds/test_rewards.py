"""Rewards and ends of episodes written out a second time, from each source's formula and the state of MuJoCo.

Nothing here knows of observations: `b` and `d` are MjData before and after a step, `v` the whole robot's velocity.
"""

from dataclasses import replace
from itertools import cycle
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from onebody.tasks import registry
from onebody.tasks.body import MujocoBody
from onebody.tasks.family import never
from onebody.worlds.simulator import Simulator

FAMILIES = {name: family for name, family in registry.families().items() if isinstance(family.body, MujocoBody)}


def squared(action, cost):
    return cost * np.sum(action**2)


REWARDS = {
    "smt/cheetah-vel": lambda s: -abs(s.v[0] - s.psi[0]) - squared(s.a, 0.05),
    "smt/cheetah-dir": lambda s: s.psi[0] * s.v[0] - squared(s.a, 0.05),
    "smt/ant-vel": lambda s: -abs(s.v[0] - s.psi[0]) + 1 - squared(s.a, 0.005) + 0.05,
    "smt/ant-vel-2d": lambda s: -abs(s.v[0] - s.psi[0]) - abs(s.v[1] - s.psi[1]) + 5 + 0.05 - squared(s.a, 0.005),
    "smt/ant-dir": lambda s: s.psi[0] * s.v[0] - squared(s.a, 0.005) + 0.05,
    "smt/humanoid-vel": lambda s: (
        -abs(s.v[0] - s.psi[0]) + 0.2 + 0.8 - squared(s.a, 5e-4) - 5e-3 * (s.v[1] ** 2 + s.v[2] ** 2)
    ),
    "pearl/cheetah-vel": lambda s: -abs((s.d.qpos[0] - s.b.qpos[0]) / 0.05 - s.psi[0]) - squared(s.a, 0.05),
    "pearl/cheetah-dir": lambda s: s.psi[0] * (s.d.qpos[0] - s.b.qpos[0]) / 0.05 - squared(s.a, 0.05),
    "pearl/ant-dir": lambda s: s.psi[0] * s.d.qvel[0] - squared(s.a, 0.5) + 1,
    "pearl/ant-dir-2d": lambda s: s.psi @ s.d.qvel[:2] - squared(s.a, 0.5) + 1,
    "pearl/ant-goal": lambda s: -np.abs(s.d.qpos[:2] - s.psi).sum() - squared(s.a, 0.1),
    "pearl/humanoid-dir": lambda s: 1.25 * s.v[:2] @ s.psi - squared(s.d.ctrl, 0.1) + 5,
    "pearl/walker-params": lambda s: s.d.qvel[0] + 1 - squared(s.a, 1e-3),
    "pearl/hopper-params": lambda s: s.d.qvel[0] + 1 - squared(s.a, 1e-3),
    "mbmpo/half-cheetah": lambda s: s.d.qvel[0] - squared(s.a, 0.1),
    "mbmpo/ant": lambda s: s.d.qvel[0] - squared(s.a, 0.005) + 1,
    "mbmpo/hopper": lambda s: s.d.qvel[0] + 1 - squared(s.a, 1e-3),
    "mbmpo/walker2d": lambda s: s.d.qvel[0] + 1 - squared(s.a, 1e-3),
    "mbmpo/swimmer": lambda s: s.d.qvel[0] - squared(s.a, 1e-4),
    "mbmpo/arm-reacher": lambda s: -np.sum((s.b.site("tip").xpos - s.b.qpos[7:]) ** 2) - squared(s.a, 0.005),
    "admrl/ant-2d": lambda s: -np.abs(s.d.qvel[:2] - s.psi).sum() + 5 + 0.05 - squared(s.a, 0.005),
    "admrl/ant-3d": lambda s: (
        -np.abs(s.d.qvel[:2] - s.psi[:2]).sum() - 30 * abs(s.d.qpos[2] - s.psi[2]) + 3 + 0.05 - squared(s.a, 0.005)
    ),
    "admrl/hopper-2d": lambda s: (
        -abs(s.d.qvel[0] - s.psi[0]) - 5 * abs(s.d.qpos[1] - s.psi[1]) + 10 - squared(s.a, 0.001)
    ),
    "admrl/walker-2d": lambda s: (
        -abs(s.d.qvel[0] - s.psi[0]) - 5 * abs(s.d.qpos[1] - s.psi[1]) + 10 - squared(s.a, 0.001)
    ),
    # two of its eighteen directions, with AdMRL's printed statistics: the place, and the forward velocity
    "admrl/cheetah-linear": lambda s: (
        s.psi[0] * (s.d.qpos[0] + 0.2032) / 0.2466 + s.psi[9] * (s.d.qvel[0] + 0.2398) / 0.5503 - squared(s.a, 0.05)
    ),
}
ENDS = {
    "smt/ant-vel": lambda d: not 0.2 <= d.qpos[2] <= 1.0,
    "smt/humanoid-vel": lambda d: not 0.8 <= d.qpos[2] <= 2.0,
    "pearl/ant-dir": lambda d: not 0.2 <= d.qpos[2] <= 1.0,
    "pearl/humanoid-dir": lambda d: not 1.0 <= d.qpos[2] <= 2.0,
    "pearl/walker-params": lambda d: not (0.8 < d.qpos[1] < 2.0 and abs(d.qpos[2]) < 1.0),
    "pearl/hopper-params": lambda d: d.qpos[1] <= 0.7 or abs(d.qpos[2]) >= 0.2,
    "mbmpo/ant": lambda d: not 0.2 <= d.qpos[2] <= 1.0,
    "mbmpo/hopper": lambda d: d.qpos[1] <= 0.7 or abs(d.qpos[2]) >= 0.2,
    "mbmpo/walker2d": lambda d: not (0.8 < d.qpos[1] < 2.0 and abs(d.qpos[2]) < 1.0),
    "admrl/ant-3d": lambda d: not 0.2 <= d.qpos[2] <= 1.0,
    "admrl/hopper-2d": lambda d: d.qpos[1] <= 0.7 or abs(d.qpos[2]) >= 0.2,
    "admrl/walker-2d": lambda d: not (0.8 < d.qpos[1] < 2.0 and abs(d.qpos[2]) < 1.0),
}
BY_FUNCTION = {FAMILIES[name].terminal: end for name, end in ENDS.items()}


def test_every_robot_family_is_here_or_shares_its_reward_with_one_that_is():
    written = {(FAMILIES[name].reward, str(FAMILIES[name].body.observation)) for name in REWARDS}
    assert all((family.reward, str(family.body.observation)) in written for family in FAMILIES.values())
    assert all(family.terminal is never or family.terminal in BY_FUNCTION for family in FAMILIES.values())


@pytest.mark.parametrize("name", REWARDS)
def test_reward_and_end_are_the_sources(name):
    family = FAMILIES[name]
    tasks = family.space.sample(jax.random.key(0), 2)
    if name == "admrl/cheetah-linear":
        tasks = tasks * jnp.zeros(18).at[jnp.array([0, 9])].set(1.0)
    simulator = Simulator(replace(family, terminal=never))
    age, observation = simulator.reset(tasks, 1, jax.random.split(jax.random.key(0), 2))
    tasks, engine, ends = np.asarray(tasks), simulator._engine, []
    scenes = [Scene(engine, i, np.asarray(task, float)) for i, task in enumerate(tasks)]
    rng, outcome = np.random.default_rng(1), jax.jit(family.outcome)
    for step in range(family.horizon - 1):
        checked = step % 7 == 0
        before = [scene.data() for scene in scenes if checked]
        action = rng.uniform(-1.5, 1.5, (2, 1, family.body.action_size)).astype(np.float32)
        age, observation, row = simulator.step(age, observation, action)
        if not checked:
            continue
        ended = np.asarray(outcome(row.observation, action, row.next_observation, tasks[:, None])[1]).ravel()
        for i, (scene, b) in enumerate(zip(scenes, before, strict=True)):
            a, d = np.clip(action[i, 0], -1, 1).astype(float), scene.data()
            d.ctrl = engine.ctrl[i]
            seen = SimpleNamespace(b=b, d=d, v=velocity(scene.model, d), a=a, psi=scene.psi)
            assert row.reward.ravel()[i] == pytest.approx(REWARDS[name](seen), abs=1e-4)
            assert ended[i] == (ENDS.get(name) or BY_FUNCTION.get(family.terminal, lambda d: False))(d)
            ends.append(bool(ended[i]))
    assert name not in ENDS or len(set(ends)) == 2 or name == "admrl/ant-3d"  # which stays up for its two seconds


class Scene:
    """Robot `i` of an engine in two MjData, used in turn: its state before a step, and after it."""

    def __init__(self, engine, i, psi):
        self.engine, self.i, self.psi, self.model = engine, i, psi, engine.batch.get_model(i)
        self.datas = cycle([mujoco.MjData(self.model), mujoco.MjData(self.model)])

    def data(self):
        data = next(self.datas)
        data.qpos, data.qvel = self.engine.qpos[self.i], self.engine.qvel[self.i]
        mujoco.mj_forward(self.model, data)
        return data


def velocity(model, data):
    """Of the centre of mass, from the momentum of all parts."""
    momentum, jacobian = np.zeros(3), np.zeros((3, model.nv))
    for part in range(1, model.nbody):
        mujoco.mj_jacBodyCom(model, data, jacobian, None, part)
        momentum += model.body_mass[part] * (jacobian @ data.qvel)
    return momentum / model.body_mass.sum()
