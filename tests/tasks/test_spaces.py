import math

import jax
import numpy as np
import pytest

from onebody.core.errors import OnebodyError
from onebody.tasks import registry
from onebody.tasks.space import ONE_TASK, Arc, Box, Disk, FiniteSet, Split

FAMILIES = registry.families()
KEY = jax.random.key(0)


@pytest.mark.parametrize("name", FAMILIES)
def test_samples_and_held_out_tasks_are_in_the_space(name):
    space = FAMILIES[name].space
    for tasks in (space.sample(KEY, 100), space.held_out(40)):
        assert tasks.shape[1] == space.size and all(space.contains(task) for task in tasks)
    assert len(FAMILIES[name].describe()["task"]) == space.size


def test_held_out_tasks_do_not_depend_on_how_many_and_cover_the_space():
    space = Box((-1.0, 0.0), (1.0, 4.0))
    np.testing.assert_array_equal(space.held_out(40)[:10], space.held_out(10))
    for column, (low, high) in enumerate(zip(space.low, space.high, strict=True)):
        counts = np.histogram(space.held_out(40)[:, column], bins=4, range=(low, high))[0]
        assert counts.min() >= 8
    assert len(FiniteSet(((-1.0,), (1.0,))).held_out(40)) == 2


def test_box_is_uniform():
    draws = np.asarray(Box((0.0,), (2.0,)).sample(KEY, 4000))
    assert draws.mean() == pytest.approx(1.0, abs=0.05) and draws.std() == pytest.approx(2 / 12**0.5, abs=0.05)


@pytest.mark.parametrize("tasks", [Disk(3.0).sample(KEY, 4000), Disk(3.0).held_out(400)])
def test_disk_is_uniform(tasks):
    """By area: a quarter of the tasks within half the radius, a quarter in each quadrant."""
    tasks = np.asarray(tasks)
    assert np.mean(np.linalg.norm(tasks, axis=1) < 1.5) == pytest.approx(0.25, abs=0.03)
    assert np.mean((tasks > 0).all(axis=1)) == pytest.approx(0.25, abs=0.03)
    assert Disk(3.0).contains([0.0, -3.0]) and not Disk(3.0).contains([2.5, 2.5])


def test_arc_is_uniform_in_the_angle():
    draws = np.asarray(Arc(math.pi).sample(KEY, 4000))
    np.testing.assert_allclose(np.linalg.norm(draws, axis=1), 1.0, atol=1e-6)
    angle = np.arctan2(draws[:, 1], draws[:, 0])
    assert angle.min() >= 0 and angle.mean() == pytest.approx(math.pi / 2, abs=0.05)
    assert angle.std() == pytest.approx(math.pi / 12**0.5, abs=0.05)
    assert Arc(math.pi).contains([-1.0, 0.0]) and Arc(math.pi).contains([1.0, -0.0])
    assert not Arc(math.pi).contains([0.0, -1.0]) and not Arc().contains([0.5, 0.5])
    assert Arc().contains([0.0, -1.0])


def test_a_split_trains_and_tests_on_different_fixed_tasks():
    split = FAMILIES["pearl/cheetah-vel"].space
    assert isinstance(split, Split)
    assert set(map(tuple, np.asarray(split.sample(KEY, 5000)).tolist())) == set(split.train)
    assert len(split.train) == 100 and len(split.held_out(40)) == 30 and not set(split.train) & set(split.test)
    # the source's draw: NumPy's global generator with seed 1337, then uniform
    np.testing.assert_allclose(split.train[0][0], np.random.RandomState(1337).uniform(0.0, 3.0, 130)[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "n_train", "n_test"),
    [
        ("pearl/ant-dir-2d", 100, 30),
        ("pearl/ant-goal", 150, 30),
        ("pearl/humanoid-dir", 100, 30),
        ("pearl/walker-params", 40, 10),
        ("pearl/hopper-params", 40, 10),
        ("pearl/point", 80, 20),
        ("pearl/sparse-point", 80, 20),
    ],
)
def test_the_sources_numbers_of_tasks(name, n_train, n_test):
    space = FAMILIES[name].space
    assert (len(set(space.train)), len(set(space.test))) == (n_train, n_test)


def test_a_single_task_has_no_parameter():
    assert ONE_TASK.sample(KEY, 3).shape == (3, 0) and ONE_TASK.held_out(40).shape == (1, 0)
    assert ONE_TASK.contains([]) and not ONE_TASK.contains([1.0])
    assert FAMILIES["mbmpo/swimmer"].parse([]).shape == (0,)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Box((0.0,), (1.0, 2.0)),
        lambda: Box((1.0,), (0.0,)),
        lambda: FiniteSet(()),
        lambda: FiniteSet(((1.0,), (1.0, 2.0))),
    ],
)
def test_spaces_that_cannot_be_are_refused(make):
    with pytest.raises(OnebodyError, match=r"a (Box|FiniteSet)"):
        make()
