"""Beliefs about hidden tasks against closed forms, and acting by them."""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms import presets
from onebody.algorithms.omni import belief
from onebody.algorithms.omni.belief import Evidence, Observed
from onebody.algorithms.omni.omni_hidden import PosteriorSamplingPolicy, _draw
from onebody.core.errors import OnebodyError
from onebody.core.gaussian import Gaussian
from onebody.core.nets import Normalizer
from onebody.learning.ensemble import Ensemble, EnsembleConfig
from onebody.learning.policies import ConditionedPolicy
from onebody.learning.replay import Replay
from onebody.tasks import registry
from onebody.tasks.space import Arc, Box, Disk, FiniteSet, Split, continuous
from onebody.worlds.simulator import Simulator

LINEAR = dataclasses.replace(
    registry.make("point/goal"),
    id="linear",
    space=Box((-4.0, -4.0), (4.0, 4.0)),
    reward=lambda observation, action, next_observation, task: next_observation @ task,
)
SPARSE = registry.make("pearl/sparse-point").tested


places_of = jax.jit(lambda space, unit: space.at(unit), static_argnums=0)
evaluated = eqx.filter_jit(Evidence.__call__)
act = eqx.filter_jit(PosteriorSamplingPolicy.__call__)


def rewarded(family, next_observation, task, noise=0.0):
    """Transitions to these places, with the rewards of a task."""
    next_observation = np.float32(next_observation)
    zeros = np.zeros_like(next_observation)
    reward = np.asarray(family.compiled_outcome(zeros, zeros, next_observation, np.float32(task))[0])
    rows = Observed(zeros, zeros, next_observation, np.float32(reward + noise), np.ones(len(zeros), bool))
    return jax.tree.map(jax.device_put, rows)


def inferred(family, seen, sigma, n=2048, key=0, moves=5):
    space = continuous(family.space)
    prior = belief.prior(space, n)
    unit = belief.infer(Evidence(family, jnp.array(sigma)), space, prior, seen, jax.random.key(key), moves)
    return np.asarray(places_of(space, unit))


def test_a_linear_gaussian_reward_has_the_posterior_of_the_closed_form():
    rng = np.random.default_rng(0)
    places, sigma = rng.normal(size=(12, 2)) * [1.0, 0.3], 0.4
    seen = rewarded(LINEAR, places, [1.0, -0.5], sigma * rng.normal(size=12))
    covariance = sigma**2 * np.linalg.inv(places.T @ places)
    mean = np.linalg.solve(places.T @ places, places.T @ np.asarray(seen.reward))
    found = inferred(LINEAR, seen, sigma)
    deviation = np.sqrt(np.diag(covariance))
    assert np.abs(found.mean(0) - mean).max() < 0.15 * deviation.max()
    assert np.cov(found.T) == pytest.approx(covariance, rel=0.15, abs=0.02 * covariance.max())


def test_a_narrow_posterior_is_found():
    places = np.random.default_rng(1).normal(size=(30, 2))
    seen = rewarded(LINEAR, places, [3.2, -2.9])
    found = inferred(LINEAR, seen, 1e-3, n=256)
    deviation = 1e-3 * np.sqrt(np.diag(np.linalg.inv(places.T @ places)))
    assert np.abs(found.mean(0) - [3.2, -2.9]).max() < 1e-3
    assert found.std(0) == pytest.approx(deviation, rel=0.4)


def test_places_without_reward_exclude_the_goals_that_they_would_have_shown():
    """The rest of the half circle stays uniform: two places exclude 60° each, a third is left."""
    angles = np.radians([30.0, 90.0])
    half = math.radians(30.0)
    wide = dataclasses.replace(
        SPARSE, id="wide", reward=lambda s, a, place, goal: 1.0 * (place @ goal > math.cos(half))
    )
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    seen = rewarded(wide, places, [-1.0, 0.0])
    assert not np.asarray(seen.reward).any()
    found = np.degrees(np.arctan2(*inferred(wide, seen, 0.01).T[::-1]))
    assert found.min() > 120.0 and found.max() <= 180.0
    low, middle, high = np.quantile(found, [0.1, 0.5, 0.9])
    assert (low, middle, high) == pytest.approx((126.0, 150.0, 174.0), abs=3.0)


def test_a_reward_of_the_sparse_point_leaves_goals_as_far_away_as_it_says():
    goal, place = np.array([np.cos(1.0), np.sin(1.0)]), np.array([[0.95 * np.cos(1.1), 0.95 * np.sin(1.1)]])
    found = inferred(SPARSE, rewarded(SPARSE, place, goal), 0.01)
    distance = np.linalg.norm(found - place, axis=1)
    assert np.abs(distance - np.linalg.norm(goal - place)).max() < 0.05
    sides = np.arctan2(*found.T[::-1]) > 1.1
    assert 0.3 < sides.mean() < 0.7  # both goals that are so far away


def test_the_order_of_transitions_and_unknown_rows_say_nothing():
    places = np.random.default_rng(2).normal(size=(9, 2))
    seen = rewarded(LINEAR, places, [1.0, 2.0])
    tasks, evidence = LINEAR.space.sample(jax.random.key(0), 50), Evidence(LINEAR, jnp.array(0.3))
    order = np.random.default_rng(3).permutation(9)
    other_order = jax.tree.map(lambda x: np.asarray(x)[order], seen)
    each, shuffled = (np.asarray(evaluated(evidence, rows, tasks)) for rows in (seen, other_order))
    assert each[order] == pytest.approx(shuffled)
    longer = jax.tree.map(lambda x: np.concatenate([x, np.zeros_like(x)]), seen)
    total = eqx.filter_jit(lambda rows: evidence(rows, tasks).sum(0))
    assert np.asarray(total(longer)).tobytes() == np.asarray(total(seen)).tobytes()
    one, other = (inferred(LINEAR, rows, 0.3) for rows in (seen, other_order))
    assert np.abs(one.mean(0) - other.mean(0)).max() < 0.02 and one.std(0) == pytest.approx(other.std(0), rel=0.1)


def test_the_task_that_is_acted_for_stays_a_draw_from_the_belief():
    """After a step, and after a second one, tasks have the frequencies of the belief, though most draws stay."""
    tasks = jnp.linspace(0.0, 1.0, 5)[:, None]
    evidence = jnp.array([[0.0, -0.5, -2.0, 0.0, -4.0], [-1.0, 0.0, 0.0, -0.3, -0.2]])
    weights = jnp.zeros(5)
    n = 20_000
    chosen, keys = jnp.full(n, -1), jax.random.split(jax.random.key(0), n)
    draw = jax.jit(jax.vmap(_draw, in_axes=(None, None, None, None, 0, 0)), static_argnums=1)
    for step in (jnp.zeros(5), *evidence):
        before, earlier, weights = chosen, weights, weights + step
        chosen, keys = draw(tasks, 1, earlier, weights, chosen, keys)
        frequency = np.bincount(np.asarray(chosen), minlength=5) / n
        assert frequency == pytest.approx(np.asarray(jax.nn.softmax(weights)), abs=0.015)
    old, new = (np.asarray(jax.nn.softmax(x)) for x in (earlier, weights))
    most = 1 - np.abs(new - old).sum() / 2  # 1 - total variation: no coupling stays more often
    assert np.mean(np.asarray(before == chosen)) == pytest.approx(most, abs=0.015)


def test_of_several_draws_the_nearest_is_taken():
    """One third of the belief is excluded; the next task is near by, and the excluded tasks are left."""
    tasks = jnp.linspace(0.0, 1.0, 100)[:, None]
    before, after = jnp.zeros(100), jnp.where(jnp.arange(100) < 33, -1e6, 0.0)
    chosen, keys = jnp.full(1000, 20), jax.random.split(jax.random.key(0), 1000)
    draw = jax.jit(jax.vmap(_draw, in_axes=(None, None, None, None, 0, 0)), static_argnums=1)
    one, eight = (np.asarray(draw(tasks, n, before, after, chosen, keys)[0]) for n in (1, 8))
    assert min(one.min(), eight.min()) >= 33
    assert one.mean() == pytest.approx(66, abs=2) and eight.mean() == pytest.approx(33 + 67 / 9, abs=1.5)


def test_a_policy_changes_its_mind_where_a_reward_contradicts_it():
    """It goes on with its task while rewards say so, and leaves the tasks that they exclude."""
    known = ConditionedPolicy(jax.random.key(1), (4,), Normalizer(2), Normalizer(2), 2)
    tasks = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
    policy = PosteriorSamplingPolicy(known, tasks, Evidence(SPARSE, jnp.array(0.01)), jax.random.key(0), 8)
    memory, observation = policy.memory((64,)), jnp.zeros((64, 2))
    noise = jnp.zeros((64, 2))
    _, memory = act(policy, observation, tasks[0], memory, noise)
    first = np.asarray(memory.chosen)
    assert 0.2 < first.mean() < 0.8
    arrived = np.asarray(tasks)[first]
    rewards = np.where(first == 0, np.float32(1.0), np.float32(0.0))  # the goal is the first task
    memory = policy.remember(memory, rewards, jnp.zeros(64, bool))
    action, memory = act(policy, arrived, tasks[0], memory, noise)
    assert np.asarray(memory.chosen).tolist() == [0] * 64
    assert np.asarray(action) == pytest.approx(np.asarray(eqx.filter_jit(known)(arrived, tasks[0], (), noise)[0]))
    forgotten = policy.remember(memory, rewards, jnp.ones(64, bool))
    assert not np.asarray(forgotten.last.known).any()


@pytest.mark.parametrize(
    "space", [Box((-1.0, 2.0), (3.0, 5.0)), Disk(2.0), Arc(math.pi), Arc(), FiniteSet(((1.0,), (2.0,), (4.0,)))]
)
def test_the_map_from_the_unit_cube_has_the_distribution_of_tasks(space):
    unit = belief.prior(space, 4000)
    tasks, drawn = np.asarray(places_of(space, unit)), np.asarray(space.sample(jax.random.key(0), 4000))
    assert all(space.contains(task) for task in tasks[:50])
    for quantile in (0.1, 0.5, 0.9):
        both = (np.quantile(x, quantile, axis=0) for x in (tasks, drawn))
        assert next(both) == pytest.approx(next(both), abs=0.12)


def test_a_belief_is_over_the_space_that_fixed_tasks_were_drawn_from():
    split = Split.of(Arc(), np.array([[1.0, 0.0], [0.0, 1.0]]), 1, "drawn")
    assert continuous(split) == Arc()

    class Own:
        size, bounds, split = 1, "", ""

        def sample(self, key, n):
            return jnp.arange(float(n))[:, None]

        def held_out(self, n):
            return self.sample(None, n)

        def contains(self, task):
            return True

    assert continuous(Own(), 3) == FiniteSet(((0.0,), (1.0,), (2.0,)))


SLIPPERY = dataclasses.replace(
    registry.make("point/goal"),
    id="slippery",
    space=Box((0.5,), (1.5,)),
    reward=lambda observation, action, next_observation, task: -jnp.sum(next_observation**2),
    task_labels=(),
    physics=lambda task: {},
)


class Linear(Ensemble):
    """With the density of a linear-Gaussian model that is told ψ: next observation = observation + ψ action."""

    def differences(self, observation, action):
        move, scaled = action[..., :2], action[..., 2:]
        factor = 1.0 + 0.5 * jnp.broadcast_to(scaled, move.shape)
        return Gaussian(factor * move, jnp.log(0.05))


LINEAR_MODEL = Linear(jax.random.key(0), 2, 3, EnsembleConfig(members=1, hidden=(1,)))


def test_a_body_is_inferred_from_transitions_where_rewards_say_nothing():
    family = SLIPPERY
    rng = np.random.default_rng(0)
    observation, action = (np.float32(rng.normal(size=(20, 2))) for _ in range(2))
    action = np.clip(action, -1.0, 1.0)
    next_observation = np.float32(observation + 1.2 * action + 0.05 * rng.normal(size=(20, 2)))
    reward, _ = family.compiled_outcome(observation, action, next_observation, np.zeros(1, np.float32))
    seen = Observed(observation, action, next_observation, reward, np.ones(20, bool))
    evidence = Evidence(family, jnp.array(0.1), LINEAR_MODEL)
    prior = belief.prior(family.space, 512)
    unit = belief.infer(evidence, family.space, prior, seen, jax.random.key(0), 3)
    found = np.asarray(places_of(family.space, unit))
    moves, steps = np.asarray(action).ravel(), np.asarray(next_observation - observation).ravel()
    deviation = float(0.05 / np.sqrt(moves @ moves))
    assert found.mean() == pytest.approx(moves @ steps / (moves @ moves), abs=0.3 * deviation)
    assert found.std() == pytest.approx(deviation, rel=0.2)


@pytest.mark.parametrize("repeats", [1, 10])
def test_errors_that_repeat_within_an_episode_count_once(repeats):
    """Episodes of `repeats` equal transitions after each other say as much as one of them."""
    rng, horizon = np.random.default_rng(0), SLIPPERY.horizon
    shape = 400, horizon // repeats, 2
    action, noise = rng.uniform(-1, 1, shape), 0.05 * rng.normal(size=shape)
    action, noise = (np.repeat(x, repeats, axis=1).reshape(-1, 2) for x in (action, noise))
    data = Replay.empty(len(action), 2, 3)
    at = lambda x: jax.device_put(np.float32(x))  # noqa: E731
    data = dataclasses.replace(
        data,
        action=at(np.concatenate([action, np.zeros((len(action), 1))], axis=1)),
        next_observation=at(action + noise),
        size=jnp.array(len(action)),
    )
    shares = [float(belief.independence(SLIPPERY, LINEAR_MODEL, data, jax.random.key(i))) for i in range(8)]
    assert np.mean(shares) == pytest.approx(1 / repeats, rel=0.25)


def test_rewards_that_do_not_depend_on_the_task_are_refused():
    family = dataclasses.replace(
        registry.make("point/goal"), id="same", reward=lambda observation, action, place, task: -jnp.sum(place**2)
    )
    config = presets.preset("omni-hidden", "smoke")
    with pytest.raises(OnebodyError, match="infers the task from rewards, and those of same do not depend on it"):
        presets.algorithm("omni-hidden")(family, config, Simulator(family)).init(jax.random.key(0))
