"""A robot that acts step by step: its task may change at any moment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import onebody
from onebody.core.errors import OnebodyError
from onebody.runs import loop, playable, policy_file
from onebody.runs.live import Live
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator


@pytest.fixture(scope="module")
def omni(tmp_path_factory):
    return loop.train("omni", "point/goal", preset="smoke", out=tmp_path_factory.mktemp("live") / "omni", quiet=True)


def test_it_acts_as_its_policy_does_and_goes_on_after_the_horizon(omni):
    live, family = Live(playable.load(omni)), registry.make("point/goal")
    world, act, key = Simulator(family), live._act, jax.random.fold_in(jax.random.key(0), 1)
    age, observation = world.reset(jax.device_put(live.task[None]), 1, key[None])
    for _ in range(family.horizon + 3):
        age, row = world.advance(age, observation, act(observation))
        observation = row.next_observation
        live.step()
        np.testing.assert_array_equal(live.pose, observation[0, 0])


def test_another_task_has_its_policy_at_once(omni):
    live, task = Live(playable.load(omni)), np.array([0.5, -0.25], np.float32)
    live.step()
    before, place = live._act(live._observation), live.pose
    live.act_on(task, live.playable.adapted(task))
    assert live.playable.any_task and not np.allclose(live._act(live._observation), before)
    np.testing.assert_array_equal(live.pose, place)


def test_it_begins_again_after_a_fall(tmp_path):
    run = loop.train("omni", "smt/ant-vel", preset="smoke", out=tmp_path / "ant", quiet=True)
    live = Live(playable.load(run))
    for _ in range(5):
        live.step()
    live._world._engine.qpos[:, 2] = 3.0  # above the height that the family allows
    live.step()
    assert live._age.item() == 0 and live.pose[2] < 1.0


def test_a_ghost_begins_where_the_robot_begins_and_acts_on_its_own(omni):
    live, ghost, task = Live(playable.load(omni)), Live(playable.load(omni)), np.array([0.5, -0.25], np.float32)
    other = live.playable.adapted(-task)
    live.act_on(task, live.playable.adapted(task))
    ghost.act_on(-task, other)
    for _ in range(3):
        live.step()
    live.beside(ghost)
    np.testing.assert_array_equal(live.pose, ghost.pose)
    live.step()
    assert not np.allclose(live.pose, ghost.pose)
    live.reset()
    np.testing.assert_array_equal(live.pose, ghost.pose)
    live.act_on(-task, other)
    assert live.ghost is None


def test_a_fall_of_the_ghost_ends_the_episode_of_both_and_a_push_moves_both(tmp_path):
    run = loop.train("omni", "smt/ant-vel", preset="smoke", out=tmp_path / "ant", quiet=True)
    live = Live(playable.load(run))
    live.beside(Live(live.playable))
    live.push(5.0)
    live.step()
    np.testing.assert_array_equal(live.pose, live.ghost.pose)
    live.ghost._world._engine.qpos[:, 2] = 3.0
    live.step()
    assert live._age.item() == live.ghost._age.item() == 0
    np.testing.assert_array_equal(live.pose, live.ghost.pose)


def test_a_policy_is_optimised_inside_the_model_for_the_task_or_another_reward(omni, tmp_path):
    load, task = playable.load(omni), np.array([0.5, -0.25], np.float32)
    refined = load.refine(task, 0.01)
    again = onebody.adapt(omni, task, refine=0.01)
    assert refined.family is load.family and refined.updates >= 50
    assert float(refined.before.predicted_return[0]) == pytest.approx(again.predicted_before)

    def right(observation, action, next_observation, task):
        return next_observation[0]

    rewarded = load.refine(task, 10_000.0, right, lambda: True)
    assert rewarded.updates == 50 and rewarded.family.reward is right
    live = Live(load)
    live.act_on(task, rewarded.after, "right")
    about = onebody.load_policy(live.save(tmp_path / "policy.npz")).about
    assert (about.task, about.reward) == ((0.5, -0.25), "right")
    assert about.predicted_return == pytest.approx(float(rewarded.after.predicted_return[0]))
    assert playable.load(None).refine is None


def test_a_policy_is_optimised_where_there_is_none_for_any_task(tmp_path):
    run = loop.train("smt", "point/goal", preset="smoke", out=tmp_path / "smt", quiet=True)
    live, task = Live(playable.load(run)), np.array([0.5, -0.25], np.float32)
    before, adapted = live._act(live._observation), live.playable.adapted(task)
    live.act_on(task, adapted)
    assert not live.playable.any_task and not np.allclose(live._act(live._observation), before)


def test_what_a_step_achieves_is_the_velocity():
    for name in ("smt/cheetah-vel", "smt/ant-vel-2d", "smt/humanoid-vel", "pearl/cheetah-vel"):
        family = registry.make(name)
        world = Simulator(family)
        tasks = family.space.held_out(1)
        age, before = world.reset(tasks, 1, jax.random.split(jax.random.key(0), 1))
        _, row = world.advance(age, before, np.zeros((1, 1, family.body.action_size), np.float32))
        after = row.next_observation[0, 0]
        achieved = np.asarray(jax.jit(family.achieved)(before[0, 0], after))
        assert achieved.shape == (family.space.size,)
        # the task whose reward for this step is the highest is the velocity that it has
        outcome, action = jax.jit(family.outcome), np.zeros(family.body.action_size, np.float32)
        best, *others = (outcome(before[0, 0], action, after, achieved + change)[0] for change in (0.0, -0.1, 0.1))
        assert all(best > other for other in others)


def test_what_a_step_achieves_is_the_direction_or_the_place():
    for name in ("smt/cheetah-dir", "smt/ant-dir", "pearl/cheetah-dir", "pearl/ant-dir", "pearl/ant-dir-2d"):
        before, family = jnp.zeros(40), registry.make(name)
        after = before.at[jnp.array([13, 14, 17, 36])].set(jnp.array([-0.3, 0.4, -0.3, -0.3]))
        achieved = np.asarray(family.achieved(before, after))
        assert achieved == pytest.approx([-0.6, 0.8] if family.space.size == 2 else [-1.0])
    humanoid = registry.make("pearl/humanoid-dir")
    assert np.asarray(humanoid.achieved(after, jnp.append(after, jnp.array([0.0, -2.0])))) == pytest.approx([0.0, -1.0])
    for name in ("pearl/ant-goal", "point/goal", "pearl/sparse-point-test"):
        assert np.asarray(registry.make(name).achieved(jnp.zeros(2), jnp.array([0.5, 0.25]))).tolist() == [0.5, 0.25]


def test_a_hidden_task_cannot_be_told(tmp_path):
    run = loop.train("pearl", "pearl/point", preset="smoke", out=tmp_path / "pearl", quiet=True)
    with pytest.raises(OnebodyError, match="pearl is not told the task"):
        playable.load(run)


def test_a_planner_cannot_be_played(tmp_path):
    run = loop.train("mb-mpc", "point/goal", preset="smoke", samples=0, out=tmp_path / "mpc", quiet=True)
    with pytest.raises(OnebodyError, match="it has no file, and cannot be played"):
        Live(playable.load(run))


def test_a_push_moves_a_robot(tmp_path):
    run = loop.train("omni", "smt/cheetah-vel", preset="smoke", out=tmp_path / "cheetah", quiet=True)
    live = Live(playable.load(run))
    live.step()
    before = live.pose
    live.push(5.0)
    live.step()
    assert np.abs(live.pose - before).max() > 0.02
    assert live.achieved is not None and live.achieved.shape == (1,)


def test_a_file_acts_and_predicts_as_its_run(tmp_path):
    run = loop.train("omni", "smt/cheetah-vel", preset="smoke", out=tmp_path / "omni", quiet=True)
    of_run = playable.load(run)
    path = of_run.save(tmp_path / "cheetah.npz")
    assert path.stat().st_size < 500_000
    of_file = playable.load(path)
    assert (of_file.family, of_file.any_task, of_file.title) == (of_run.family, True, of_run.title)
    observation = np.random.default_rng(0).normal(size=(5, 19)).astype(np.float32)
    for task in np.array([[0.35], [1.7]], np.float32):
        one, other = (policy_file.arrays(each.adapted(task).policies, task) for each in (of_run, of_file))
        np.testing.assert_array_equal(policy_file.actor(one)(observation), policy_file.actor(other)(observation))
    exact, stored = of_run.curve(), of_file.curve()
    assert exact.task[0] == -0.5 and exact.task[-1] == 2.5
    for one, other in zip(exact, stored, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    middle = stored.at(stored.task[:2].mean())
    assert middle.low == pytest.approx(stored.low[:2].mean())


def test_a_file_knows_what_was_trained_and_what_is_tested(tmp_path):
    run = loop.train("omni", "smt/cheetah-pos-to-neg", preset="smoke", out=tmp_path / "omni", quiet=True)
    of_run = playable.load(run)
    of_file = playable.load(of_run.save(tmp_path / "cheetah.npz"))
    for each in (of_run, of_file):
        assert each.training_space.bounds == "[0, 2]" and each.family.space.bounds == "[-2, 0]"


def test_only_one_policy_for_any_task_can_be_saved(tmp_path):
    run = loop.train("smt", "point/goal", preset="smoke", out=tmp_path / "smt", quiet=True)
    with pytest.raises(OnebodyError, match="its policies cannot be saved for any task"):
        playable.load(run).save(tmp_path / "point.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"about": None}, "is not a policy for any task"),
        ({"about": '{"family": "smt/cheetah-vel", "version": 99, "title": "x"}'}, "made for version 99"),
        ({"about": '{"family": "smt/ant-vel", "version": 1, "title": "x"}'}, "and the body ant"),
        ({".net.weights[0]": np.zeros((3, 4), np.float32)}, "and the body half-cheetah"),
    ],
)
def test_another_file_is_refused(tmp_path, change, message):
    with np.load(playable.BUNDLED) as file:
        arrays = {**file, **{name: np.array(value) for name, value in change.items() if value is not None}}
    arrays = {name: value for name, value in arrays.items() if name not in change or change[name] is not None}
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(OnebodyError, match=message):
        playable.load(tmp_path / "other.npz")


def test_a_policy_comes_with_the_package():
    live = Live(playable.load(None))
    assert live.family.id == "smt/cheetah-vel"
    for velocity in (0.5, 1.3):
        task = np.array([velocity], np.float32)
        live.act_on(task, live.playable.adapted(task))
        live.reset()
        reached = []
        for _ in range(199):
            live.step()
            reached.append(live.achieved[0])
        assert np.mean(reached[100:]) == pytest.approx(velocity, abs=0.2)
