import dataclasses
import json
import os
import random
import re
import runpy
import shlex
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import onebody
import onebody.worlds.gym  # registers its views before the fixture looks
from onebody.cli import main
from onebody.core.errors import OnebodyError
from onebody.tasks import registry
from onebody.tasks.body import Feature
from onebody.tasks.space import Box, FiniteSet
from onebody.worlds.check import check
from onebody.worlds.custom import from_gymnasium, register
from onebody.worlds.simulator import Simulator

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/custom_family.py"
NAME = f"{EXAMPLE}:example/crane"
POINT = registry.make("point/goal")


@pytest.fixture(autouse=True)
def nothing_leaks(tmp_path, monkeypatch):
    """Each test has an empty folder; what it registers, here and in Gymnasium, is forgotten."""
    monkeypatch.chdir(tmp_path)
    with forgotten(), patch.dict(os.environ):
        yield


@contextmanager
def forgotten():
    """Nothing is known but what onebody brings, as in a new process; afterwards, what was known before."""
    built_in = {family.id: family for family in registry._BUILT_IN}
    files = {name: sys.modules.pop(name) for name in list(sys.modules) if name.endswith(".py")}
    with patch.multiple(registry, _FAMILIES=built_in, _FILES={}), patch.dict(gymnasium.registry):
        yield
    for name in list(sys.modules):
        if name.endswith(".py"):
            del sys.modules[name]
    sys.modules.update(files)


@pytest.fixture(scope="module")
def crane():
    with forgotten():
        return registry.make(NAME)


def refusal(family):
    with pytest.raises(OnebodyError) as error:
        check(family)
    assert "\n" not in str(error.value)
    return str(error.value)


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


def fails(*_):
    raise KeyError("left")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (of_body(mjcf="<mujoco><nonsense/></mujoco>"), "body crane: its MJCF does not compile: XML Error"),
        (of_body(mjcf="nowhere.xml"), "'nowhere.xml'"),
        (of_body(mjcf=lambda: fails()), "the function that makes its MJCF raises KeyError: 'left'"),
        (of_body(observation=(Feature("qposs"),)), "names 'qposs', no field of MjData; take one such as qpos"),
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
            "start gives other numbers when it is asked again",
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
        (Space(lambda n: jnp.full((n, 1), random.random())), "space.sample gives other numbers when it is asked again"),
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
        (lambda o, a, n, t: -abs(float(n[4]) - t[0]), "reward turns an array of JAX into a number of Python"),
        (lambda o, a, n, t: -np.abs(n[4] - t[0]), "reward turns an array of JAX into a number of Python"),
        (lambda o, a, n, t: n[a[0].astype(int) + list(range(5))[a[0].astype(int)]], "reward turns an array of JAX"),
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
            "reads .qpos, which an array has not; what it needs must stand in the observation",
        ),
        (lambda o, a, n, t: n[0] * DATA.time, "reward reads DATA (MjData), not its arguments alone"),
        (counting, "reward gives other numbers when it is asked about the same transitions again"),
        (lambda o, a, n, t: n[0] + random.random(), "reward gives other numbers when it is asked"),
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
    assert "reward gives other numbers when it is asked about the same transitions again" in line


# ---------------------------------------------------------------- physics, the test family, the id


@pytest.mark.parametrize(
    ("physics", "said"),
    [
        (
            lambda task: {"body_mas": 1.0},
            "physics names 'body_mas', no field of MjModel that can vary; take one such as",
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
        "family example/crane: its test family point/goal has observations of 2 numbers, it itself of 5"
    )


def test_labels_of_tasks_are_counted(crane):
    line = refusal(dataclasses.replace(crane, task_labels=("x (m)", "y (m)")))
    assert line == "family example/crane: 2 task_labels for tasks of 1 numbers; give each number one"


@pytest.mark.parametrize("name", ["a b", "", "a/b/c", "x.py:y"])
def test_an_id_that_is_no_name_is_refused(name, crane):
    assert "an id is NAME or ROOM/NAME" in refusal(dataclasses.replace(crane, id=name))


# ---------------------------------------------------------------- register


def test_register_makes_both_families_known_everywhere(crane):
    test = dataclasses.replace(crane, id="mine/crane-test", space=Box((1.0,), (1.5,)))
    mine = dataclasses.replace(crane, id="mine/crane", test=test)
    assert register(mine) is mine and register(mine) is mine
    assert onebody.make("mine/crane") is mine and onebody.make("mine/crane-test") is test
    assert {"onebody/mine-crane-v1", "onebody/mine-crane-test-v1"} <= gymnasium.registry.keys()
    env = gymnasium.make("onebody/mine-crane-v1", task=0.5)
    assert env.reset(seed=0)[0].shape == (5,)
    env.close()


def test_what_is_refused_is_not_half_registered(crane, monkeypatch):
    before, views = registry.families(), dict(gymnasium.registry)
    test = dataclasses.replace(crane, id="mine/crane-test")
    taken = dataclasses.replace(crane, id="mine/crane", test=dataclasses.replace(POINT))
    wrong = dataclasses.replace(crane, id="mine/crane", reward=lambda o, a, n, t: n[5])
    for family, said in (
        (
            dataclasses.replace(crane, id="point/goal"),
            "there is a family point/goal already; give yours an id of its own",
        ),
        (dataclasses.replace(crane, id="cheetah-vel"), "there is a family cheetah-vel already"),
        (taken, "there is a family point/goal already"),
        (wrong, "family mine/crane: reward"),
    ):
        with pytest.raises(OnebodyError, match=re.escape(said)):
            register(family)
    with monkeypatch.context() as patched:
        view = onebody.worlds.gym.register_view
        patched.setattr(onebody.worlds.custom, "register_view", lambda f: view(f) if f.id == "mine/crane" else fails())
        with pytest.raises(KeyError):
            register(dataclasses.replace(crane, id="mine/crane", test=test))
    assert registry.families() == before and gymnasium.registry == views


# ---------------------------------------------------------------- a file of the user's


def typed(*arguments):
    """What a command prints as JSON, in a process that knows no family of ours."""
    with forgotten():
        assert main([*map(str, arguments), "--json"]) == 0


def said_no(capsys, *arguments):
    with forgotten():
        assert main([*map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def test_the_command_line_takes_a_file_and_the_run_remembers_it(capsys):
    mine = Path("mine.py")
    mine.write_text(EXAMPLE.read_text())
    train = ("train", "smt", "mine.py:example/crane", "--preset", "smoke", "--config.n-tasks", "1", "--quiet")
    typed(*train)
    run = json.loads(capsys.readouterr().out)
    assert run["run"] == "runs/smt-example-crane-s0" and run["iteration"] == 1
    record = json.loads(Path(run["run"], "config.json").read_text())
    assert record["family"] == "example/crane" and record["family_file"] == str(mine.resolve())
    typed("adapt", run["run"], "--task", "0.5")
    assert np.isfinite(json.loads(capsys.readouterr().out)[0]["real_return"])
    typed("resume", run["run"], "--quiet")
    capsys.readouterr()
    mine.rename("moved.py")
    line = said_no(capsys, "adapt", run["run"], "--task", "0.5")
    assert (
        "the run is of example/crane" in line
        and "mine.py is gone" in line
        and "FILE.py:example/crane --out RUN" in line
    )
    typed("train", "smt", "moved.py:example/crane", *train[3:], "--out", run["run"])
    typed("adapt", run["run"], "--task", "0.5")


def test_the_example_is_a_script_that_trains_and_adapts(capsys):
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert "reached" in capsys.readouterr().out
    typed("adapt", "runs/crane", "--task", "-0.5")


def test_a_family_that_python_registered_must_be_registered_again(crane, capsys):
    mine = register(dataclasses.replace(crane, id="mine/crane"))
    run = onebody.train("smt", mine, preset="smoke", out="run", samples=1, quiet=True)
    with pytest.raises(OnebodyError, match="this mine/crane is not the registered one"):
        onebody.train("smt", dataclasses.replace(mine), preset="smoke", out="run")
    line = said_no(capsys, "resume", run)
    assert "the run is of mine/crane, which is not known here: call onebody.register first" in line
    assert onebody.resume(run, quiet=True) == run


def test_a_file_is_run_once():
    Path("mine.py").write_text(
        "import onebody, dataclasses, pathlib\n"
        "with open('count', 'a') as file: print(end='x', file=file)\n"
        "@dataclasses.dataclass\nclass Mine:\n    size: 'int'\n"
        "point = onebody.make('point/goal')\n"
        "onebody.register(dataclasses.replace(point, id='mine/point'))\n"
        "assert onebody.make(f'{__file__}:mine/point').body is point.body\n"
    )
    first = onebody.make("mine.py:mine/point")
    assert onebody.make(str(Path("mine.py:mine/point").absolute())) is first is onebody.make("mine/point")
    assert Path("count").read_text() == "x"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, ["there is no file", "mine.py", "FILE.py:ID"]),
        ("import nothing_like_it", ["mine.py cannot be run: ModuleNotFoundError: No module named 'nothing_like_it'"]),
        ("x = (", ["mine.py cannot be run: SyntaxError"]),
        ("make('mine.py:point/goal')", ["mine.py registers no family 'point/goal'"]),
        ("", ["mine.py registers no family 'mine/point'; it must call onebody.register(family)"]),
        ("register(replace(point, id='mine/pint'))", ["registers no family 'mine/point'; did you mean 'mine/pint'?"]),
        (
            "register(replace(point, id='mine/point', reward=lambda o, a, n, t: n[2]))",
            ["family mine/point: reward reads"],
        ),
        ("register(replace(point, id='point/goal'))", ["there is a family point/goal already"]),
    ],
)
def test_files_that_are_refused(text, said, capsys):
    if text is not None:
        start = "from dataclasses import replace\nfrom onebody import make, register\npoint = make('point/goal')\n"
        Path("mine.py").write_text(start + text)
    line = said_no(capsys, "train", "smt", "mine.py:mine/point", "--preset", "smoke")
    assert all(words in line for words in said)
    assert not Path("runs").exists()


# ---------------------------------------------------------------- Gymnasium


def pendulum():
    return gymnasium.make("Pendulum-v1")


def upright(observation, action, next_observation, task):
    return next_observation[0] - task[0] * next_observation[1] - 0.01 * next_observation[2] ** 2


SIDE = Box((-1.0,), (1.0,))


class Counting(gymnasium.Env):
    """Observes how many steps it has taken; ends at the fifth."""

    observation_space = gymnasium.spaces.Box(0, 100, (1,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def __init__(self, **spaces):
        vars(self).update(spaces)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.full(1, self.steps, np.float32), 0.0, self.steps == 5, False, {}


def counted(observation, action, next_observation, task):
    return -next_observation[0] * task[0]


def test_an_environment_gives_the_observations_that_it_gives_alone():
    family = from_gymnasium(pendulum, reward=upright, space=SIDE)
    assert (family.id, family.horizon, family.body.dt) == ("gymnasium/Pendulum-v1", 200, 0.05)
    assert (family.body.observation_size, family.body.action_size) == (3, 1)
    register(family)
    simulator, keys = Simulator(family), jax.random.split(jax.random.key(3), 1)
    age, observation = simulator.reset(jnp.zeros((1, 1)), 2, keys)
    seeds = np.random.default_rng(np.asarray(jax.random.key_data(keys))[0]).integers(2**31, size=2)
    alone = [pendulum() for _ in seeds]
    for i, env in enumerate(alone):
        np.testing.assert_array_equal(observation[0, i], env.reset(seed=int(seeds[i]))[0])
    for action in np.random.default_rng(0).uniform(-1, 1, (20, 1, 2, 1)).astype(np.float32):
        age, observation, row = simulator.step(age, observation, action)
        for i, env in enumerate(alone):
            expected = env.step(2.0 * action[0, i])[0]  # torques in [-2, 2]
            np.testing.assert_allclose(observation[0, i], expected, atol=1e-6)
            np.testing.assert_allclose(row.reward[0, i], expected[0] - 0.01 * expected[2] ** 2, atol=1e-5)
    for env in alone:
        env.close()


def test_environments_in_processes_of_their_own():
    """From a file, whose functions no other process can import."""
    Path("mine.py").write_text(
        "import gymnasium, onebody\n"
        "def make():\n    return gymnasium.make('Pendulum-v1')\n"
        "def reward(observation, action, next_observation, task):\n    return next_observation[0] * task[0]\n"
        "space = onebody.Box((0.0,), (1.0,))\n"
        "onebody.register(onebody.from_gymnasium(make, reward=reward, space=space, parallel=True))\n"
    )
    family = onebody.make("mine.py:gymnasium/Pendulum-v1")
    together = dataclasses.replace(family, body=dataclasses.replace(family.body, parallel=False))
    seen = []
    for simulator in (Simulator(family), Simulator(together)):
        age, observation = simulator.reset(jnp.zeros((1, 1)), 2, jax.random.split(jax.random.key(0), 1))
        for _ in range(3):
            age, observation, _ = simulator.step(age, observation, np.ones((1, 2, 1), np.float32))
        seen.append(observation)
    np.testing.assert_array_equal(*seen)


def test_an_environment_that_ends_where_the_family_goes_on_is_refused():
    goes_on = from_gymnasium(Counting, reward=counted, space=SIDE, horizon=20)
    line = refusal(goes_on)
    assert line.startswith("family gymnasium/Counting: body Counting: the environment ended an episode that the family")
    ends = from_gymnasium(
        Counting,
        reward=counted,
        space=SIDE,
        horizon=20,
        terminal=lambda next_observation, task: next_observation[0] > 4.5,
    )
    check(ends)


BOX, ONE = gymnasium.spaces.Box, Counting()


@pytest.mark.parametrize(
    ("env_fn", "changes", "said"),
    [
        (Counting, {}, "environment Counting has no time limit"),
        (pendulum, {"horizon": 201}, "environment Pendulum-v1 ends an episode after 200 steps: horizon 201"),
        (pendulum, {"horizon": 0}, "horizon must be a whole number of steps above 0, not 0"),
        (pendulum, {"labels": ("a", "b")}, "environment Pendulum-v1: 2 labels for observations of 3 numbers"),
        (lambda: gymnasium.make("CartPole-v1"), {}, "environment CartPole-v1: actions must be a flat Box of floats"),
        (lambda: Counting(observation_space=BOX(0, 1, (2, 2))), {}, "observations must be a flat Box, not Box("),
        (lambda: Counting(observation_space=gymnasium.spaces.Discrete(3)), {}, "observations must be a flat Box"),
        (lambda: Counting(action_space=BOX(0, np.inf, (1,))), {}, "actions must have finite bounds"),
        (lambda: Counting(action_space=BOX(0, 3, (1,), int)), {}, "actions must be a flat Box of floats"),
        (lambda: gymnasium.make("Pendulumm-v1"), {}, "env_fn raises NameNotFound"),
        (lambda: 3, {}, "env_fn gives int, not a gymnasium.Env"),
        (lambda env=ONE: env, {}, "env_fn gives the same environment again"),
    ],
)
def test_environments_that_are_refused(env_fn, changes, said):
    with pytest.raises(OnebodyError) as error:
        from_gymnasium(env_fn, reward=counted, space=SIDE, **changes)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_body_with_another_number_of_labels_is_refused():
    family = from_gymnasium(pendulum, reward=upright, space=SIDE)
    wrong = dataclasses.replace(family, body=dataclasses.replace(family.body, labels=("a", "b", "c", "d")))
    assert "its body has 4 labels for observations of 3 numbers" in refusal(wrong)


def test_a_reward_that_reads_an_environment_is_refused():
    env = pendulum()
    family = from_gymnasium(pendulum, reward=upright, space=SIDE)
    wrong = dataclasses.replace(family, reward=lambda o, a, n, t: n[0] * env.unwrapped.g)
    assert "reward reads env (" in refusal(wrong)
    env.close()


# ---------------------------------------------------------------- the page


def test_the_page_does_what_it_says(capsys):
    """Its blocks run in order; a block of text is what the one before it prints."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "docs/custom_family.md").read_text(), re.M | re.S)
    assert [language for language, _ in blocks] == ["python", "sh", "python", "python", "text", "python"]
    names = {}
    for language, text in blocks:
        if text.startswith("# my_family.py"):
            Path("my_family.py").write_text(text)
        elif language == "sh":
            for line in text.splitlines():
                with forgotten():
                    assert main([*shlex.split(line)[1:]]) == 0
        elif language == "python":
            capsys.readouterr()
            exec(text, names)
        else:
            assert capsys.readouterr().out == text
    assert isinstance(names["swing"], onebody.TaskFamily)
    names["env"].close()
    assert np.isfinite(onebody.adapt(names["run"], task=0.5).real_return)


def test_what_a_family_is_written_with_is_public():
    assert set(onebody.__all__) <= set(dir(onebody))
    assert onebody.register is register and onebody.from_gymnasium is from_gymnasium and onebody.FiniteSet is FiniteSet
    for name in onebody.__all__:
        assert getattr(onebody, name)
