"""Examples with robots of other packages: each is registered and stepped, where its package is installed."""

import runpy

import jax
import numpy as np
import pytest
from customs import ROOT, forgotten

from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

PACKAGES = {
    "fetch-reach": "gymnasium_robotics",
    "panda-reach": "panda_gym",
    "dm-control-walker": "shimmy",
    "meta-world-reach": "metaworld",
}


@pytest.mark.filterwarnings("ignore")  # of the packages
@pytest.mark.parametrize("name", PACKAGES)
def test_the_example_is_registered_and_stepped(name, capsys):
    pytest.importorskip(PACKAGES[name])
    with forgotten():
        runpy.run_path(str(ROOT / f"examples/{name.replace('-', '_')}.py"))
        family = registry.make(f"robots/{name}")
    assert "onebody: " not in capsys.readouterr().err  # no note on what may be unintended
    simulator, tasks = Simulator(family), family.space.held_out(2)
    age, observation = simulator.reset(tasks, 2, jax.random.split(jax.random.key(0), 2))
    moved = observation
    for _ in range(5):
        age, moved, row = simulator.step(age, moved, np.full((2, 2, family.body.action_size), 0.5, np.float32))
    assert np.isfinite(moved).all() and (moved != observation).any() and simulator.cut == 0
    expected = [family.reward(*each, task) for each, task in zip(rows_of(row), np.asarray(tasks), strict=True)]
    np.testing.assert_allclose(row.reward[:, 0], expected, rtol=1e-4)
    assert np.unique(row.reward[:, 0]).size == 2  # it depends on the task


def rows_of(row):
    """Observation, action and next observation of the first episode of each task."""
    return zip(*(np.asarray(x)[:, 0] for x in (row.observation, row.action, row.next_observation)), strict=True)
