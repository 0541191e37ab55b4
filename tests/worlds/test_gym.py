"""Every family is a Gymnasium environment, tested with Gymnasium's own checker and against its vector environment."""

import dataclasses
import subprocess
import sys

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from onebody.core.errors import OnebodyError
from onebody.tasks import registry
from onebody.tasks.body import GymnasiumBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.space import Box
from onebody.worlds.camera import Camera
from onebody.worlds.gym import Env, VectorEnv, register_view, view_id

FAMILIES = list(registry.families().values())
DRAWN = {family.body.name: family for family in FAMILIES}.values()
"""one family a body"""
POINT, HOPPER = registry.make("point/goal"), registry.make("mbmpo/hopper")
HALF_CHEETAH = registry.make("cheetah-vel")


def still(name):
    """A family whose episodes all begin in the model's own pose, at rest."""
    family = registry.make(name)
    start = lambda rng, model, n: (np.tile(model.qpos0, (n, 1)), np.zeros((n, model.nv)))  # noqa: E731
    return dataclasses.replace(family, body=dataclasses.replace(family.body, start=start))


def episode(env, seed=0):
    """One episode of random actions: its steps, and its actions."""
    env.action_space.seed(seed)
    steps, actions = [], []
    while not steps or not (steps[-1][2] or steps[-1][3]):
        actions.append(env.action_space.sample())
        steps.append(env.step(actions[-1]))
    return steps, actions


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.id)
def test_gymnasiums_checker_finds_nothing(family, request):
    """Nor in the pictures of one family a body, where the machine has OpenGL. Its warnings are errors here."""
    drawn = any(family is each for each in DRAWN)
    if drawn:
        try:
            request.getfixturevalue("renders")
        except pytest.skip.Exception:
            drawn = False
    env = gymnasium.make(view_id(family), task=np.asarray(family.space.held_out(1)[0]))
    check_env(env.unwrapped, skip_render_check=not drawn)


def test_what_the_checker_only_warns_of_fails_a_test():
    env = gymnasium.make(view_id(POINT)).unwrapped
    env.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    with pytest.raises(UserWarning, match="minimum value is -infinity"):
        check_env(env, skip_render_check=True)


def test_every_family_has_an_id_of_its_own():
    ids = [view_id(family) for family in FAMILIES]
    assert len(set(ids)) == len(FAMILIES) and set(ids) <= gymnasium.registry.keys()
    assert view_id(HALF_CHEETAH) == "onebody/smt-cheetah-vel-v1"
    for family, name in zip(FAMILIES, ids):
        assert gymnasium.make(name).unwrapped.spec.kwargs["family"] == family.id


def test_registering_again_changes_nothing_and_an_id_that_is_taken_is_refused():
    before = dict(gymnasium.registry)
    assert register_view(POINT) == "onebody/point-goal-v1"
    with pytest.raises(OnebodyError, match="id in Gymnasium, onebody/point-goal-v1, is already that of point/goal"):
        register_view(dataclasses.replace(POINT, id="point-goal"))
    assert gymnasium.registry == before


def test_gymnasium_imports_the_module_by_itself():
    program = """
import gymnasium
env = gymnasium.make("onebody.worlds.gym:onebody/point-goal-v1", task=(0.5, 0.5), render_mode="rgb_array")
env.reset(seed=0)
print(env.step(env.action_space.sample())[4]["task"], env.render().shape)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[0.5 0.5] (240, 320, 3)\n", "")


@pytest.mark.parametrize("name", ["point/goal", "smt/cheetah-vel", "pearl/ant-goal"])
def test_truncated_at_the_horizon_and_not_before(name):
    env = Env(name)
    for _ in range(2):
        env.reset()
        steps, _ = episode(env)
        assert len(steps) == env._family.horizon
        assert [step[3] for step in steps] == [False] * (len(steps) - 1) + [True]
        assert not any(step[2] for step in steps)


@pytest.mark.parametrize("name", ["mbmpo/hopper", "pearl/walker-params", "pearl/humanoid-dir"])
def test_terminated_by_the_step_that_falls(name):
    env = Env(name)
    family = env._family
    _, info = env.reset(seed=0)
    steps, _ = episode(env)
    assert 1 < len(steps) < family.horizon and not any(step[3] for step in steps)
    falls = [bool(family.terminal(jax.device_put(step[0]), jax.device_put(info["task"]))) for step in steps]
    assert falls == [step[2] for step in steps] == [False] * (len(steps) - 1) + [True]
    start, _ = env.reset()
    assert not family.terminal(jax.device_put(start), jax.device_put(info["task"]))


@pytest.mark.parametrize("name", ["point/goal", "smt/ant-vel", "pearl/hopper-params", "admrl/cheetah-linear"])
def test_the_reward_is_the_familys(name):
    env = Env(name)
    observation, info = env.reset(seed=1)
    env.action_space.seed(1)
    outcome = jax.jit(env._family.outcome)  # rounds as the simulator's does
    for _ in range(5):
        action = 1.5 * env.action_space.sample()  # beyond [-1, 1] too
        next_observation, reward, terminated, _, _ = env.step(action)
        row = (jax.device_put(x)[None, None] for x in (observation, action, next_observation))
        expected, ends = outcome(*row, jax.device_put(info["task"])[None])
        assert reward == pytest.approx(float(expected[0, 0]), rel=1e-5) and terminated == bool(ends[0, 0])
        observation = next_observation


@pytest.mark.parametrize("name", ["maml/point", "mbmpo/hopper", "pearl/walker-params"])
def test_the_same_seed_gives_the_same_episodes(name):
    def episodes(seed, env):
        begun = env.reset(seed=seed)
        return [begun, *episode(env)[0], env.reset(), *episode(env)[0]]

    first, again, other = episodes(3, Env(name)), episodes(3, Env(name)), episodes(4, Env(name))
    assert data_equivalence(first, again, exact=True)
    assert not data_equivalence(first[0], other[0])


def test_without_a_task_each_reset_draws_one():
    env, tasks = Env("point/goal"), []
    for _ in range(3):
        tasks.append(env.reset()[1]["task"])
        assert env.step(np.zeros(2, np.float32))[4]["task"].tolist() == tasks[-1].tolist()
        assert tasks[-1].dtype == np.float32 and POINT.space.contains(tasks[-1])
    assert len(np.unique(tasks, axis=0)) == 3
    envs = VectorEnv("point/goal", 3)
    (first, info), (second, later) = envs.reset(seed=0), envs.reset()
    assert len(np.unique([*info["task"], *later["task"]], axis=0)) == len(np.unique([*first, *second], axis=0)) == 6
    again, same = envs.reset(seed=0)
    assert again.tolist() == first.tolist() and same["task"].tolist() == info["task"].tolist()


@pytest.mark.parametrize("name", ["maml/point", "mbmpo/hopper", "pearl/hopper-params"])
def test_the_vector_view_is_gymnasiums_own_vector_of_single_views(name):
    """From one initial state: ends, restarts, last observations and infos too."""
    family = registry.make(name) if name == "maml/point" else dataclasses.replace(still(name), horizon=100)
    tasks = np.asarray(family.space.held_out(3) if family.space.size else np.zeros((3, 0)))
    single = [lambda task=task: Env(family, task) for task in tasks]
    theirs, ours = SyncVectorEnv(single, autoreset_mode=AutoresetMode.SAME_STEP), VectorEnv(family, 3, tasks)
    for space in ("observation_space", "action_space", "single_observation_space", "single_action_space"):
        assert getattr(ours, space) == getattr(theirs, space)
    assert ours.metadata == theirs.metadata
    assert data_equivalence(ours.reset(), theirs.reset())
    ours.action_space.seed(0)
    ends = np.zeros(3, int)
    for _ in range(2 * family.horizon + 10):
        action = ours.action_space.sample()
        if name == "maml/point":  # to the goal, one slower than another
            action = np.clip((tasks - ours._observation[:, 0]) * np.array([[10], [5], [1]]), -1, 1).astype(np.float32)
        (observation, reward, *ended, info), expected = ours.step(action), theirs.step(action)
        assert data_equivalence((observation, reward.astype(float), *ended, info), expected)
        ends += ended[0] | ended[1]
    assert ends.min() >= 2 and len(set(ends)) > 1


def test_many_copies_by_gymnasiums_own_hand():
    envs = gymnasium.make_vec("onebody/point-goal-v1", num_envs=4, task=(0.5, -0.5))
    assert isinstance(envs, VectorEnv) and envs.spec.id == "onebody/point-goal-v1"
    observation, info = envs.reset(seed=0)
    assert observation in envs.observation_space and observation.shape == (4, 2)
    assert info["task"].tolist() == [[0.5, -0.5]] * 4 and info["_task"].all()
    next_observation, reward, terminated, truncated, info = envs.step(envs.action_space.sample())
    assert next_observation in envs.observation_space and not (terminated | truncated).any() and "final_obs" not in info
    np.testing.assert_allclose(reward, -np.linalg.norm(next_observation - (0.5, -0.5), axis=1), rtol=1e-5)
    envs = gymnasium.make_vec("onebody/point-goal-v1", num_envs=2, vectorization_mode="sync")
    assert isinstance(envs, SyncVectorEnv) and envs.reset()[0].shape == (2, 2)


@pytest.mark.parametrize("view", [Env, VectorEnv])
def test_what_is_returned_is_the_users_to_change(view):
    jump = lambda observation, action, next_observation, task: jnp.sum((next_observation - observation) * task)  # noqa: E731
    env, other = (view(dataclasses.replace(POINT, reward=jump), task=(0.3, 0.3)) for _ in range(2))
    (observation, info), (expected, _) = env.reset(seed=0), other.reset(seed=0)
    action = np.full(env.action_space.shape, 0.5, np.float32)
    for _ in range(25):
        assert data_equivalence(observation, expected, exact=True)
        observation += 1.0
        info["task"] += 1.0
        (observation, reward, *_, info), (expected, same, *_) = env.step(action), other.step(action)
        assert data_equivalence(reward, same, exact=True)
        if view is VectorEnv:
            reward += 1.0
        elif _[1]:
            (observation, info), (expected, _) = env.reset(), other.reset()


def test_a_picture_shows_the_last_state_of_an_episode_and_the_way_there():
    env = Env("point/goal", task=(0.5, 0.5), render_mode="rgb_array")
    env.reset(seed=0)
    steps = [env.step(np.array([0.5, 0.0], np.float32)) for _ in range(20)]
    assert steps[-1][3]
    picture = env.render()
    assert picture.shape == (240, 320, 3) and picture.dtype == np.uint8
    rows, columns = np.nonzero(np.abs(picture.astype(int) - (31, 111, 181)).sum(-1) < 40)
    place, reach = steps[-1][0], 1.2 * steps[-1][0][0]
    assert columns.mean() == pytest.approx(160 + 120 * place[0] / reach, abs=1)
    assert rows.mean() == pytest.approx(120 - 120 * place[1] / reach, abs=1)
    assert (np.abs(picture.astype(int) - (143, 179, 220)).sum(-1) < 40)[:, 165:250].any(axis=0).all()
    start, info = env.reset()
    np.testing.assert_array_equal(env.render(), np.asarray(Camera(POINT.body).picture([start], info["task"])))


def test_pictures_of_robots_are_those_of_their_poses(renders):
    hopper = still("mbmpo/hopper")
    env, envs = Env(hopper, render_mode="rgb_array"), VectorEnv(hopper, 2, render_mode="rgb_array")
    env.reset()
    envs.reset()
    with Camera(hopper.body) as camera:
        start = np.asarray(camera.picture([hopper.body.model.qpos0], np.zeros(0)))
    np.testing.assert_array_equal([env.render(), *envs.render()], [start] * 3)
    steps, actions = episode(env)
    for action in actions:
        *_, info = envs.step(np.array([action, np.zeros(3)], np.float32))
    assert steps[-1][2] and info["_final_obs"].tolist() == [True, False]
    first, second = envs.render()
    np.testing.assert_array_equal(first, start)  # that of the new episode
    for other in (env.render(), second):
        assert (np.abs(other.astype(int) - start).max(-1) > 50).any()
    for view in (env, envs):
        view.close()
        view.close()


def test_no_picture_was_asked_for():
    for env in (Env("point/goal"), VectorEnv("point/goal")):
        env.reset()
        assert env.render() is None


def test_frames_are_shown_at_the_pace_of_the_body():
    assert [Env(family).metadata["render_fps"] for family in (POINT, HALF_CHEETAH, "pearl/ant-dir")] == [10, 100, 20]
    slow = dataclasses.replace(POINT, body=dataclasses.replace(POINT.body, dt=5.0))
    assert Env(slow).metadata["render_fps"] == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Env("cheeta-vel"), "no family 'cheeta-vel'; did you mean 'cheetah-vel'"),
        (lambda: Env("point/goal", task=3.0), r"task 3.0 of point/goal must be 2 finite number\(s\)"),
        (lambda: Env("point/goal", task=(2, 0)), r"task 2, 0 of point/goal is outside \[-1, 1\]\^2"),
        (lambda: Env("point/goal", task="near"), "task 'near' of point/goal"),
        (
            lambda: Env("point/goal", render_mode="human"),
            "render_mode 'human' of point/goal: only 'rgb_array' is supported",
        ),
        (lambda: gymnasium.make("onebody/point-goal-v1", task=(2, 0)), "is outside"),
        (lambda: VectorEnv("point/goal", 2, task=np.zeros((3, 2))), "3 tasks for 2 copies of point/goal"),
        (lambda: VectorEnv("point/goal", 2, task=[[0, 0], [2, 0]]), "task 2, 0 of point/goal is outside"),
        (lambda: VectorEnv("point/goal", 2, task=[[0, 0], [1]]), r"task \[1\] of point/goal must be 2"),
        (lambda: VectorEnv("smt/cheetah-vel", 2, task=[0.5, 1.0]), r"must be 1 finite number\(s\)"),
    ],
)
def test_what_cannot_be_made_says_why(make, words):
    with pytest.raises(OnebodyError, match=words):
        make()


def test_actions_of_another_shape_are_refused():
    env, envs = Env("mbmpo/hopper"), VectorEnv("mbmpo/hopper", 2)
    for view, action in ((env, np.zeros(1)), (env, np.zeros((1, 3))), (envs, np.zeros(3)), (envs, np.zeros((1, 3)))):
        view.reset()
        with pytest.raises(OnebodyError, match="actions of mbmpo/hopper here have shape"):
            view.step(action)


@pytest.mark.parametrize("view", [Env, VectorEnv])
def test_reset_comes_first(view):
    env = view("point/goal")
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset first"):
        env.step(env.action_space.sample())
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset first"):
        env.render()


def test_another_environments_body():
    labels, bounds = ("cos", "sin", "rate"), ((-2.0,), (2.0,))
    body = GymnasiumBody("pendulum", lambda: gymnasium.make("Pendulum-v1"), labels, *bounds, 0.05)
    family = TaskFamily(
        id="test/pendulum",
        body=body,
        space=Box((-1.0,), (1.0,)),
        reward=lambda observation, action, next_observation, task: -jnp.abs(next_observation[2] - task[0]),
        horizon=30,
    )
    check_env(Env(family, task=0.5), skip_render_check=True)
    env = Env(family, task=0.5)
    env.reset(seed=0)
    assert len(episode(env)[0]) == 30
    with pytest.raises(OnebodyError, match="cannot be drawn here"):
        Env(family, render_mode="rgb_array")
