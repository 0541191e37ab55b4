"""Bodies that are environments of Gymnasium."""

import dataclasses
import json
import weakref
from importlib import metadata
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from customs import refusal

import onebody
from onebody.core.errors import OnebodyError
from onebody.core.nets import Normalizer
from onebody.learning.policies import Exploring, GaussianPolicy, UniformPolicy, for_each
from onebody.runs import evaluate
from onebody.tasks.family import never
from onebody.tasks.space import Box
from onebody.worlds.check import check
from onebody.worlds.custom import from_gymnasium, register
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator
from tests.worlds.carts import Cart, carts

pytestmark = pytest.mark.usefixtures("nothing_leaks")


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


class Early(Counting):
    """Ends a share `early` of its episodes at the fourth step, and the others after `late`."""

    def reset(self, *, seed=None, options=None):
        first = super().reset(seed=seed)
        self.last = 4 if self.np_random.random() < self.early else self.late
        return first

    def step(self, action):
        observation, reward, *_ = super().step(action)
        return observation, reward, self.steps == self.last, False, {}


def at_fifth(next_observation, task):
    return next_observation[0] > 4.5


def ending(early, horizon=20, terminal=at_fifth):
    """The family of an environment that ends so many of its episodes a step before the family does."""
    return from_gymnasium(
        lambda: Early(early=early, late=5), reward=counted, space=SIDE, horizon=horizon, terminal=terminal
    )


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


def test_a_limited_number_of_environments_exists_at_once(monkeypatch):
    alive, counts = weakref.WeakSet(), []
    monkeypatch.setattr(Cart, "__init__", lambda cart: alive.add(cart) or counts.append(len(alive)))
    family, _ = carts()
    tasks = family.space.held_out(9)
    explorers = Exploring(for_each(GaussianPolicy(jax.random.key(0), (4,), Normalizer(2), 1), 9), jnp.linspace(0, 1, 9))

    def tested():
        counts.clear()
        world = Simulator(family)
        results = [rollout(world, explorers, tasks, jax.random.key(1), episodes=episodes) for episodes in (10, 6)]
        del world
        results.append(evaluate.real_return(family, explorers, tasks))
        return jax.tree.map(np.asarray, results)

    in_blocks = tested()
    assert (max(counts), len(counts)) == (30, 30 + 18 + 30)  # one block of three tasks after the other
    monkeypatch.setattr("onebody.worlds.simulator.MAX_ENVIRONMENTS", 1000)
    together = tested()
    assert (max(counts), len(counts)) == (90, 90 + 54 + 90) and together[0].terminated.any()
    for here, there in zip(jax.tree.leaves(in_blocks), jax.tree.leaves(together), strict=True):
        np.testing.assert_allclose(here, there, atol=1e-6)


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
    observations = []
    for simulator in (Simulator(family), Simulator(together)):
        age, observation = simulator.reset(jnp.zeros((1, 1)), 2, jax.random.split(jax.random.key(0), 1))
        for _ in range(3):
            age, observation, _ = simulator.step(age, observation, np.ones((1, 2, 1), np.float32))
        observations.append(observation)
    np.testing.assert_array_equal(*observations)


def test_an_environment_that_ends_where_the_family_goes_on_is_refused():
    goes_on = from_gymnasium(Counting, reward=counted, space=SIDE, horizon=20)
    line = refusal(goes_on)
    assert line.startswith("family gymnasium/Counting: the environment ended 6 of 6 episodes before the family did")
    some = from_gymnasium(lambda: Early(early=0.2, late=99), reward=counted, space=SIDE, horizon=20)
    assert refusal(some).startswith("family gymnasium/Early: the environment ended 5 of 11 episodes")
    check(from_gymnasium(Counting, reward=counted, space=SIDE, horizon=20, terminal=at_fifth))
    check(from_gymnasium(Counting, reward=counted, space=SIDE, horizon=5))  # as with a time limit


def acted(family, steps=26):
    """Transitions of 80 episodes at a time, with their simulator."""
    simulator, uniform = Simulator(family), UniformPolicy(1)
    transitions = rollout(
        simulator, for_each(uniform, 2), jnp.ones((2, 1)), jax.random.key(0), episodes=40, steps=steps
    )
    return simulator, jax.tree.map(np.asarray, transitions)


@pytest.mark.parametrize(("horizon", "terminal"), [(20, at_fifth), (5, never)])
def test_an_episode_that_the_environment_alone_ends_is_truncated_and_another_begins(horizon, terminal):
    simulator, transitions = acted(ending(0.01, horizon, terminal))
    reached = transitions.next_observation[:, :-1, :, 0]  # the last row ends all episodes
    terminated, truncated = transitions.terminated[:, :-1], transitions.truncated[:, :-1]
    cut = (reached == 4) & truncated
    assert simulator.cut == cut.sum() > 0
    np.testing.assert_array_equal(terminated, (reached == 5) & (terminal is at_fifth))
    np.testing.assert_array_equal(truncated, cut | ((reached == 5) & (terminal is never)))
    np.testing.assert_array_equal(transitions.observation[:, 1:, :, 0], np.where(terminated | truncated, 0, reached))
    np.testing.assert_array_equal(transitions.reward, -transitions.next_observation[..., 0])
    for a, b in zip(transitions, acted(ending(0.01, horizon, terminal))[1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_environment_that_often_ends_where_the_family_goes_on_is_refused():
    check(family := ending(0.1))  # too few steps to see it
    with pytest.raises(OnebodyError, match=r"the environment ended 6 of 80 episodes before the family did; give a"):
        acted(family)


def test_a_training_goes_on_and_says_so_once_and_resumes_to_the_same_bytes(capsys):
    register(family := ending(0.05))
    config = dataclasses.replace(onebody.preset("random-search", "smoke"), n_iterations=3)
    whole, run = (
        onebody.train("random-search", family, config=config, samples=samples, out=f"run-{samples}", quiet=True)
        for samples in (None, 1)
    )
    said = capsys.readouterr().err
    assert said.count("onebody: run-None: the environment ended ") == 1
    (run / "config.json").write_bytes((whole / "config.json").read_bytes())
    onebody.resume(run, quiet=True)
    assert (said + capsys.readouterr().err).count("onebody: run-1: the environment ended ") == 1
    facts = [json.loads((each / "checkpoints/000003/checkpoint.json").read_text())["facts"] for each in (whole, run)]
    assert facts[0] == facts[1] and facts[0]["cut"] > 1
    state = "checkpoints/000003/state.safetensors"
    assert (run / state).read_bytes() == (whole / state).read_bytes()


BOX, ONE = gymnasium.spaces.Box, Counting()
DICT = gymnasium.spaces.Dict(position=BOX(0, 1, (2,)))
GOAL = gymnasium.spaces.Dict({name: BOX(0, 1, (2,)) for name in ("achieved_goal", "desired_goal", "observation")})


@pytest.mark.parametrize(
    ("env_fn", "changes", "said"),
    [
        (Counting, {}, "environment Counting has no time limit"),
        (pendulum, {"horizon": 201}, "environment Pendulum-v1 ends an episode after 200 steps: horizon 201"),
        (pendulum, {"horizon": 0}, "horizon must be a whole number of steps above 0, not 0"),
        (pendulum, {"labels": ("a", "b")}, "environment Pendulum-v1: 2 labels for observations of 3 numbers"),
        (lambda: gymnasium.make("CartPole-v1"), {}, "environment CartPole-v1: actions must be a flat Box of floats"),
        (lambda: gymnasium.make("CartPole-v1"), {}, "not Discrete(2): onebody does not learn discrete actions"),
        (lambda: Counting(observation_space=BOX(0, 1, (2, 2))), {}, "observations must be a flat Box, not Box("),
        (lambda: Counting(observation_space=BOX(0, 255, (9, 9, 3), np.uint8)), {}, "does not learn from images"),
        (lambda: Counting(observation_space=gymnasium.spaces.Discrete(3)), {}, "observations must be a flat Box"),
        (lambda: Counting(observation_space=GOAL), {}, "FilterObservation(env, ['achieved_goal', 'observation']))"),
        (lambda: Counting(observation_space=DICT), {}, "; wrap it in gymnasium.wrappers.FlattenObservation"),
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


def test_an_environment_that_fails_names_the_package_that_it_is_of(tmp_path):
    """Of an assertion without a text, the line of code; MuJoCo's version where the package uses it."""
    path, line = tmp_path / "envs.py", "assert 'ball' in ('hinge', 'slide')"
    path.write_text(f"def make():\n    {line}\n")
    beside = f" beside mujoco {mujoco.__version__} (docs/robots.md"
    places = {
        "mjviser.envs": f", in mjviser {metadata.version('mjviser')}{beside}",
        "optax.envs": f", in optax {metadata.version('optax')}",
        "my_robots": "",
    }
    for module, place in places.items():
        names = {"__name__": module}
        exec(compile(path.read_text(), path, "exec"), names)
        with pytest.raises(OnebodyError) as error:
            from_gymnasium(names["make"], reward=counted, space=SIDE)
        said = str(error.value)
        assert said.startswith(f"from_gymnasium: env_fn raises AssertionError: {line}{place}")
        assert ("mujoco" in said) == ("mujoco" in place) and (", in " in said) == bool(place)


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
