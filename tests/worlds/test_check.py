"""Families that pass the check, and those that are refused."""

import dataclasses
import random

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from customs import POINT, fails, refusal

from onebody.tasks import registry
from onebody.tasks.body import Feature
from onebody.tasks.space import ONE_TASK
from onebody.worlds.check import check

pytestmark = pytest.mark.usefixtures("nothing_leaks")


# ---------------------------------------------------------------- what passes


@pytest.mark.parametrize("name", registry.families())
def test_every_family_of_ours_passes(name):
    check(registry.make(name))


def test_what_jax_can_compile_passes(crane):
    def reward(observation, action, next_observation, task):
        row = next_observation.at[0].add(1.0)  # NumPy's arrays have no .at
        x, *_ = row[-1:]
        return jax.lax.cond(x > task[0], lambda: -(action**2).sum(), lambda: jnp.sum(row[1:3]) * 1e-3)

    def heavier(task):
        return {
            "body_mass": crane.body.model.body_mass * (1.5 + task[0]),
            "opt.gravity": np.array([0, 0, -9 - task[0]]),
        }

    good = dataclasses.replace(crane, reward=reward, physics=heavier, terminal=lambda x, task: jnp.abs(x[4]) > 0.1)
    check(dataclasses.replace(good, test=dataclasses.replace(good, id="example/light", physics=None)))


# ---------------------------------------------------------------- what is refused: the body


def of_body(**changes):
    return lambda crane: dataclasses.replace(crane, body=dataclasses.replace(crane.body, **changes))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (of_body(mjcf="<mujoco><nonsense/></mujoco>"), "body crane: its MJCF does not compile: XML Error"),
        (of_body(mjcf="nowhere.xml"), "'nowhere.xml'"),
        (of_body(mjcf=lambda: fails()), "the function that makes its MJCF raises KeyError: 'left'"),
        (of_body(observation=(Feature("qposs"),)), "names 'qposs', no field of MjData; use one such as qpos"),
        (of_body(observation=(Feature("qpos", (0, 2)),)), "columns (0, 2) of qpos, which has 2 numbers"),
        (of_body(observation=(Feature("qpos", (-3,)),)), "columns (-3,) of qpos"),
        (of_body(observation=(Feature("qpos", slice(1, 3)),)), "columns slice(1, 3, None) of qpos"),
        (of_body(observation=(Feature("qpos", slice(2, None)),)), "columns slice(2, None, None) of qpos"),
        (of_body(frame_skip=0), "a control step lasts 0 s"),
        (
            of_body(start=lambda rng, m, n: (np.zeros(m.nq), np.zeros((n, m.nv)))),
            "qpos of shape (2,) for n = 3, not (3, 2)",
        ),
        (of_body(start=lambda rng, m, n: (np.zeros((n, m.nq)), np.zeros((n, 9)))), "qvel of shape (3, 9)"),
        (
            of_body(start=lambda rng, m, n: (np.full((n, m.nq), np.nan), np.zeros((n, m.nv)))),
            "qpos that are not finite",
        ),
        (of_body(start=lambda rng, m, n: np.zeros((n, m.nq))), "two arrays, qpos [n, nq] and qvel [n, nv]"),
        (of_body(start=fails), "start raises KeyError: 'left'"),
        (
            of_body(start=lambda rng, m, n: (np.random.default_rng().normal(size=(n, m.nq)), np.zeros((n, m.nv)))),
            "start gives other numbers in a second call",
        ),
    ],
)
def test_bodies_that_are_refused(make, said, crane):
    line = refusal(make(crane))
    assert line.startswith("family example/crane: ") and said in line


def test_unstable_physics_are_refused(crane):
    mjcf = crane.body.mjcf.replace('gear="8"', 'gear="1e9"').replace('timestep="0.01"', 'timestep="5"')
    line = refusal(of_body(mjcf=mjcf)(crane))
    assert line.startswith("family example/crane: observation is not finite at step")
    assert line.endswith("smaller time step or weaker actuators")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"dynamics": lambda x, a: x[0]},
            "dynamics gives float32 of shape (); it must give the next observation, 2 floats",
        ),
        ({"dynamics": lambda x, a: x + a[2]}, "dynamics reads what is not there (index 2"),
        ({"dynamics": lambda x, a: x + 1 if x[0] > 0 else x}, "dynamics branches"),
        ({"start": lambda rng, n: np.zeros((n, 3))}, "observations of shape (3, 3) for n = 3, not (3, 2)"),
        ({"dynamics": lambda x, a: x + jnp.inf}, "observation is not finite at step"),
        ({"dt": 0.0}, "a control step lasts 0 s"),
    ],
)
def test_formulas_that_are_refused(changes, said):
    line = refusal(dataclasses.replace(POINT, id="mine/point", body=dataclasses.replace(POINT.body, **changes)))
    assert line.startswith("family mine/point: ") and said in line


# ---------------------------------------------------------------- the task space


class Space:
    """Of tasks that are one number, with whatever is wrong."""

    size, bounds, split = 1, "", ""

    def __init__(self, sample=None, held_out=None, contains=True):
        self._sample, self._held_out, self._contains = sample, held_out, contains

    def sample(self, key, n):
        return self._sample(n) if self._sample else jnp.zeros((n, 1))

    def held_out(self, n):
        return self._held_out(n) if self._held_out else jnp.zeros((n, 1))

    def contains(self, task):
        return self._contains


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (Space(contains=False), "space.contains rejects (0), which space.sample gave"),
        (
            Space(lambda n: jnp.zeros(n)),
            "space.sample(3) has shape (3,); it must give 3 rows, each a task of 1 numbers",
        ),
        (Space(lambda n: jnp.zeros((n, 2))), "space.sample(3) has shape (3, 2)"),
        (
            Space(held_out=lambda n: jnp.zeros((0, 1))),
            "space.held_out(3) has shape (0, 1); it must give 3 or fewer rows",
        ),
        (Space(held_out=lambda n: jnp.zeros((9, 1))), "space.held_out(3) has shape (9, 1)"),
        (Space(lambda n: jnp.full((n, 1), jnp.inf)), "space.sample gives a task that is not finite"),
        (Space(lambda n: jnp.zeros((n, 1), int)), "space.sample gives int32; tasks are floats"),
        (Space(fails), "space.sample raises KeyError: 'left'"),
        (Space(lambda n: jnp.full((n, 1), random.random())), "space.sample gives other numbers in a second call"),
    ],
)
def test_spaces_that_are_refused(space, said, crane):
    line = refusal(dataclasses.replace(crane, space=space))
    assert line.startswith("family example/crane: ") and said in line


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("space", "its space must have size, sample, held_out"),
        ("body", "its body must be a MujocoBody or a ClosedFormBody"),
    ],
)
def test_what_is_no_space_or_no_body_is_refused(part, said, crane):
    family = dataclasses.replace(crane)
    object.__setattr__(family, part, "crane.xml")  # beartype, which only tests have, refuses it at once
    assert said in refusal(family)


# ---------------------------------------------------------------- reward and terminal

COUNT = {"asked": 0}


def counting(observation, action, next_observation, task):
    COUNT["asked"] += 1
    return next_observation[4] * COUNT["asked"]


LISTED = "(0 trolley (m), 1 swing (rad), 2 trolley rate (m/s), 3 swing rate (rad/s), 4 load x (m))"
DATA = mujoco.MjData(mujoco.MjModel.from_xml_string("<mujoco/>"))


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (lambda o, a, n, t: n[0] if n[0] > 0 else t[0], "reward branches, or picks by a mask"),
        (lambda o, a, n, t: n[n > 0].sum(), "reward branches, or picks by a mask"),
        (lambda o, a, n, t: -abs(float(n[4]) - t[0]), "reward converts a JAX array to a Python number"),
        (lambda o, a, n, t: -np.abs(n[4] - t[0]), "reward converts a JAX array to a Python number"),
        (lambda o, a, n, t: n[a[0].astype(int) + list(range(5))[a[0].astype(int)]], "reward converts a JAX array"),
        (
            lambda o, a, n, t: -jnp.abs(n[4:] - t),
            "reward gives float32 of shape (1,); it must give one float, a scalar",
        ),
        (lambda o, a, n, t: (n[0], {}), "reward gives tuple"),
        (lambda o, a, n, t: None, "reward gives NoneType"),
        (lambda o, a, n, t: n[0] > 0, "reward gives bool of shape ()"),
        (lambda o, a, t: t[0], "reward must take (observation, action, next_observation, task)"),
        (fails, "reward raises KeyError: 'left'"),
        (lambda o, a, n, t: jnp.nothing(n), "reward raises AttributeError: module 'jax.numpy'"),
        (lambda o, a, n, t: jnp.sqrt(n[4] - 100.0), "reward is not finite at step 1 of an episode; keep roots"),
        (
            lambda o, a, n, t: n[5] - t[0],
            f"must stand in the observation, one row of 5 numbers {LISTED}; the action has 1, the task 1",
        ),
        (lambda o, a, n, t: n[-6], "index -6 is out of bounds"),
        (lambda o, a, n, t: n[0] - t[1], "index 1 is out of bounds for axis 0 with size 1"),
        (lambda o, a, n, t: a[1], "index 1 is out of bounds for axis 0 with size 1"),
        (lambda o, a, n, t: jnp.sum(n[4:7]), "slice 4:7 is out of bounds with size 5"),
        (lambda o, a, n, t: jnp.sum(n[5:]), "slice 5:None is out of bounds with size 5"),
        (lambda o, a, n, t: (n - jnp.ones(5))[7], "index 7 is out of bounds with size 5"),
        (lambda o, a, n, t: n[jnp.array([4, 5])].sum(), "index 5 is out of bounds"),
        (lambda o, a, n, t: n[4 + (t[0] > -2).astype(int)], "index 5 is out of bounds"),
        (lambda o, a, n, t: n[:, 4], "too many indices"),
        (
            lambda o, a, n, t: o.qpos[0],
            "reads .qpos, which an array does not have; what it needs must stand in the observation",
        ),
        (lambda o, a, n, t: n[0] * DATA.time, "reward reads DATA (MjData), not only its arguments"),
        (counting, "reward gives other numbers for the same transitions in a second call"),
        (lambda o, a, n, t: n[0] + random.random(), "reward gives other numbers"),
    ],
)
def test_rewards_that_are_refused(reward, said, crane):
    line = refusal(dataclasses.replace(crane, reward=reward))
    assert line.startswith("family example/crane: reward") and said in line


@pytest.mark.parametrize(
    ("terminal", "said"),
    [
        (lambda n, t: n[4], "terminal gives float32 of shape (); it must give one bool, a scalar"),
        (lambda n, t: n > t, "terminal gives bool of shape (5,)"),
        (lambda n, t: n[4] > 0 and n[0] > 0, "terminal branches"),
        (lambda n: n[4] > 0, "terminal must take (next_observation, task)"),
        (lambda n, t: n[9] > 0, "terminal reads what is not there (index 9"),
    ],
)
def test_terminals_that_are_refused(terminal, said, crane):
    line = refusal(dataclasses.replace(crane, terminal=terminal))
    assert line.startswith("family example/crane: terminal") and said in line


def test_a_goal_that_start_keeps_outside_the_observation_is_refused(crane):
    goal = {}

    def start(rng, model, n):
        goal["x"] = rng.uniform(-1, 1)
        return np.zeros((n, model.nq)), np.zeros((n, model.nv))

    family = of_body(start=start)(crane)
    line = refusal(dataclasses.replace(family, reward=lambda o, a, n, t: -jnp.abs(n[4] - goal["x"])))
    assert "reward gives other numbers for the same transitions in a second call" in line


# ---------------------------------------------------------------- physics, the test family, the id


@pytest.mark.parametrize(
    ("physics", "said"),
    [
        (
            lambda task: {"body_mas": 1.0},
            "physics names 'body_mas', no field of MjModel that can vary; use one such as",
        ),
        (lambda task: {"qpos": 1.0}, "physics names 'qpos'"),
        (lambda task: {"body_mass": np.ones(2)}, "physics gives body_mass of shape (2,), the model's has (3,)"),
        (lambda task: {"opt.gravity": -9.81}, "physics gives opt.gravity of shape (), the model's has (3,)"),
        (lambda task: {"opt.gravity": np.full(3, np.inf)}, "physics gives opt.gravity that is not finite"),
        (
            lambda task: {"opt.gravity": np.zeros(3)} if task[0] > 0 else {},
            "physics gives other fields for other tasks",
        ),
        (lambda task: {"opt.gravity": np.full(3, random.random())}, "physics gives other numbers"),
        (fails, "physics raises KeyError: 'left'"),
    ],
)
def test_physics_that_are_refused(physics, said, crane):
    line = refusal(dataclasses.replace(crane, physics=physics))
    assert line.startswith("family example/crane: physics") and said in line


def test_physics_of_a_formula_are_refused():
    line = refusal(dataclasses.replace(POINT, id="mine/point", physics=lambda task: {}))
    assert line == "family mine/point: physics that vary with the task need a MuJoCo body; leave physics out"


def test_a_wrong_test_family_is_refused(crane):
    wrong = dataclasses.replace(crane, id="mine/test", reward=lambda o, a, n, t: n[5])
    assert refusal(dataclasses.replace(crane, test=wrong)).startswith(
        "family mine/test: reward reads what is not there"
    )
    line = refusal(dataclasses.replace(crane, test=POINT))
    assert line.startswith(
        "family example/crane: its test family point/goal has observations of 2 numbers, but its own have 5"
    )


def test_what_is_achieved_has_one_value_for_each_number_of_a_task(crane):
    assert not check(dataclasses.replace(crane, achieved=lambda observation, next_observation: next_observation[:1]))
    wrong = dataclasses.replace(crane, achieved=lambda observation, next_observation: next_observation[:3])
    assert refusal(wrong) == (
        "family example/crane: achieved gives float32 of shape (3,); it must give one float for each number of a task, "
        "1 in all"
    )


def test_labels_of_tasks_are_counted(crane):
    line = refusal(dataclasses.replace(crane, task_labels=("x (m)", "y (m)")))
    assert line == "family example/crane: 2 task_labels for tasks of 1 numbers; give one per number"


@pytest.mark.parametrize("name", ["a b", "", "a/b/c", "x.py:y", "..", ".", "../x", "x/..", ".x/y", "-x", "a/.b"])
def test_an_id_that_is_no_name_is_refused(name, crane):
    assert "an id is NAME or GROUP/NAME" in refusal(dataclasses.replace(crane, id=name))


def test_labels_of_an_observation_differ(crane):
    twice = dataclasses.replace(crane.body, observation=(*crane.body.observation, Feature("qpos", (0,))))
    assert "several numbers called" in refusal(dataclasses.replace(crane, body=twice))
    body = dataclasses.replace(POINT.body, labels=("x (m)", "x (m)"))
    assert "several numbers called 'x (m)'" in refusal(dataclasses.replace(POINT, body=body))


# ---------------------------------------------------------------- what is said and not refused


def test_a_family_as_it_should_be_has_no_notes(crane):
    assert check(crane) == []
    one_task = dataclasses.replace(crane, space=ONE_TASK, reward=lambda o, a, n, t: n[4])
    assert check(one_task) == []


def test_a_column_that_never_varies_is_noted(crane):
    """By its label, in the family or in that it is tested on; not what varies between episodes alone."""
    still = dataclasses.replace(POINT.body, start=lambda rng, n: rng.normal(size=(n, 2)), dynamics=lambda x, a: x)
    assert check(dataclasses.replace(POINT, id="mine/still", body=still)) == []
    flat = dataclasses.replace(POINT.body, dynamics=lambda x, a: (x + 0.1 * a) * jnp.array([1.0, 0.0]))
    flat = dataclasses.replace(flat, start=lambda rng, n: rng.normal(size=(n, 2)) * [1.0, 0.0])
    line = "family mine/flat: column 1 (y (m)) never varied in 120 random steps; "
    (said,) = check(dataclasses.replace(POINT, id="mine/flat", body=flat))
    assert said == line + "leave out of the observation what will never vary"
    mine = dataclasses.replace(POINT, id="mine/point", test=dataclasses.replace(POINT, id="mine/flat", body=flat))
    assert check(mine) == [said]


def test_a_task_that_nothing_uses_is_noted(crane):
    """A reward that is 0 almost everywhere uses it; so does a terminal function, and so do physics."""
    blind = dataclasses.replace(crane, reward=lambda o, a, n, t: n[4] - jnp.sum(a**2))
    said = "family example/crane: neither its reward nor its terminal function uses the task, so all its tasks are the"
    (line,) = check(blind)
    assert line.startswith(said)
    sparse = dataclasses.replace(crane, reward=lambda o, a, n, t: jnp.where(jnp.abs(n[4] - t[0]) < 1e-6, 1.0, 0.0))
    ends = dataclasses.replace(blind, terminal=lambda n, t: jnp.abs(n[4]) > 100 + t[0])
    heavier = dataclasses.replace(blind, physics=lambda task: {"opt.gravity": np.array([0.0, 0.0, -9.0 - task[0]])})
    assert [check(each) for each in (sparse, ends, heavier)] == [[], [], []]
