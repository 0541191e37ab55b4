"""Algorithms that infer the task refuse a family whose observation says it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms import presets
from onebody.core.errors import OnebodyError
from onebody.tasks import registry
from onebody.tasks.body import MujocoBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.space import Box
from onebody.worlds.check import check_hidden
from onebody.worlds.simulator import Simulator

SLIDER = MujocoBody(
    "slider",
    """<mujoco>
      <worldbody><site name="goal"/><body><joint name="x" type="slide"/><geom size="0.1"/></body></worldbody>
      <actuator><motor joint="x" ctrlrange="-1 1"/></actuator>
      <sensor><framepos objtype="site" objname="goal"/></sensor>
    </mujoco>""",
    frame_skip=1,
)
TELLS = TaskFamily(
    "test/slider",
    SLIDER,
    Box((-1.0,), (1.0,)),
    lambda observation, action, next_observation, task: -jnp.abs(next_observation[0] - task[0]),
    horizon=4,
    physics=lambda task: {"site_pos": np.array([[task[0], 0.0, 0.0]])},
)
"""The goal is a part of the model, and a sensor sees it."""


@pytest.mark.parametrize("name", ["pearl", "maml", "promp", "maesn", "rl2"])
def test_a_task_that_stands_in_the_observation_is_refused(name):
    def begin(family):
        simulator = Simulator(family)
        presets.algorithm(name)(family, presets.preset(name, "smoke"), simulator).init(jax.random.key(0))
        return simulator.samples

    with pytest.raises(OnebodyError, match=r"test/slider: its observation tells the task \(sensor 0 x \(m\)\)"):
        begin(TELLS)
    blind = dataclasses.replace(SLIDER, observation=SLIDER.observation[:2])
    assert begin(dataclasses.replace(TELLS, body=blind)) == 0


@pytest.mark.parametrize("family", [name for name, family in registry.families().items() if family.physics])
def test_the_papers_families_hide_their_tasks(family):
    check_hidden(registry.make(family))
