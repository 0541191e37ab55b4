from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from onebody.core.errors import OnebodyError
from onebody.tasks import registry

FAMILIES = registry.families()


def reward_and_end(name, position, task):
    """Reward and termination of a step of the point robot to a position."""
    family = registry.make(name)
    nowhere = jnp.full((1, 1, 2), 9.0)
    reward, ended = family.outcome(nowhere, nowhere, jnp.array([[position]]), jnp.array([task]).reshape(1, -1))
    return float(reward[0, 0]), bool(ended[0, 0])


def test_rewards_and_ends_of_the_point_robots():
    """By hand: the goal is five away, or a tenth."""
    for name in ("point/goal", "maml/point", "pearl/point", "pearl/sparse-point"):
        assert reward_and_end(name, (3.0, 4.5), (0.0, 0.5)) == (pytest.approx(-5.0), False)
    assert reward_and_end("pearl/sparse-point-test", (3.0, 4.5), (0.0, 0.5)) == (0.0, False)
    assert reward_and_end("pearl/sparse-point-test", (0.1, 1.0), (0.0, 1.0)) == (pytest.approx(0.9), False)
    assert reward_and_end("pearl/sparse-point-test", (0.21, 1.0), (0.0, 1.0)) == (0.0, False)
    assert reward_and_end("maml/point", (0.305, 0.395), (0.3, 0.4))[1]
    assert not reward_and_end("maml/point", (0.305, 0.38), (0.3, 0.4))[1]
    assert reward_and_end("mbmpo/point", (3.0, 4.0), ()) == (pytest.approx(-5.0), False)
    assert reward_and_end("mbmpo/point", (-0.009, 0.009), ())[1]


def test_a_shift_trains_on_one_family_and_is_tested_on_another():
    pairs = {name: family.test for name, family in FAMILIES.items() if family.test}
    assert set(pairs) == {
        *(f"smt/{name}" for name in ("cheetah-pos-to-neg", "ant-pos-to-neg", "ant-low-friction", "ant-crippled")),
        "pearl/sparse-point",
    }
    for name, test in pairs.items():
        assert FAMILIES[f"{name}-test"] is test and test.tested is test
        assert test.body.observation_size == FAMILIES[name].body.observation_size
    assert pairs["smt/ant-pos-to-neg"].space.bounds == "[-3, 0]"


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


@pytest.mark.parametrize("bad", [{"horizon": 0}, {"version": 0}])
def test_horizon_and_version_are_whole_numbers(bad):
    with pytest.raises(OnebodyError, match=next(iter(bad))):
        replace(registry.make("point/goal"), **bad)


@pytest.mark.parametrize("name", FAMILIES)
def test_description_says_what_a_family_means(name):
    described = FAMILIES[name].describe()
    assert all(described[key] for key in ("id", "version", "source", "tasks", "reward", "dt_seconds", "observation"))
    assert described["horizon_seconds"] == pytest.approx(described["dt_seconds"] * described["horizon_steps"])
