import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.core.errors import OnebodyError
from onebody.tasks import registry
from onebody.tasks.family import TaskFamily
from onebody.tasks.space import Box, FiniteSet

FAMILIES = registry.families()


@pytest.mark.parametrize("name", FAMILIES)
def test_samples_and_held_out_tasks_are_in_the_space(name):
    space = FAMILIES[name].space
    for tasks in (space.sample(jax.random.key(0), 100), space.held_out(40)):
        assert all(space.contains(task) for task in tasks)


def test_held_out_tasks_do_not_depend_on_how_many_and_cover_the_space():
    space = Box((-1.0, 0.0), (1.0, 4.0))
    np.testing.assert_array_equal(space.held_out(40)[:10], space.held_out(10))
    for column, (low, high) in enumerate(zip(space.low, space.high, strict=True)):
        counts = np.histogram(space.held_out(40)[:, column], bins=4, range=(low, high))[0]
        assert counts.min() >= 8
    assert len(FiniteSet(((-1.0,), (1.0,))).held_out(40)) == 2


def test_box_is_uniform():
    draws = np.asarray(Box((0.0,), (2.0,)).sample(jax.random.key(0), 4000))
    assert draws.mean() == pytest.approx(1.0, abs=0.05) and draws.std() == pytest.approx(2 / 12**0.5, abs=0.05)


def test_velocity_reward_is_the_papers_formula():
    family = registry.make("cheetah-vel")
    rng = np.random.default_rng(0)
    observation, action = rng.normal(size=(2, 3, 19)), rng.uniform(-2, 2, (2, 3, 6))
    tasks = np.array([[0.5], [1.5]])
    reward, terminated = family.outcome(*map(jnp.asarray, (observation, action, observation, tasks)))
    velocity = observation[..., 17]
    expected = -np.abs(velocity - tasks) - 0.05 * (np.clip(action, -1, 1) ** 2).sum(-1)
    np.testing.assert_allclose(reward, expected, rtol=1e-5)
    assert not terminated.any()


@pytest.mark.parametrize(
    ("task", "words"),
    [(3.0, ["3", "[0, 2]", "--extrapolate"]), ([1.0, 2.0], ["1 finite"]), ("fast", ["fast"]), (float("nan"), ["nan"])],
)
def test_a_task_outside_is_refused_with_the_bounds(task, words):
    with pytest.raises(OnebodyError) as error:
        registry.make("smt/cheetah-vel").parse(task)
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


def test_extrapolation_is_allowed_when_asked_for():
    np.testing.assert_array_equal(registry.make("smt/cheetah-vel").parse(3.0, extrapolate=True), [3.0])


def test_unknown_family_names_the_nearest():
    with pytest.raises(OnebodyError, match="smt/cheetah-vel"):
        registry.make("smt/cheeta-vel")


def test_a_horizon_below_one_is_refused():
    good = registry.make("point/goal")
    with pytest.raises(OnebodyError, match="horizon"):
        TaskFamily(id="bad", body=good.body, space=good.space, reward=good.reward, horizon=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_description_says_what_a_family_means(name):
    described = FAMILIES[name].describe()
    assert all(described[key] for key in ("id", "version", "source", "tasks", "reward", "dt_seconds", "observation"))
    assert described["horizon_seconds"] == pytest.approx(described["dt_seconds"] * described["horizon_steps"])
