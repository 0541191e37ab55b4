"""MAESN: the latents' inner step and its derivative, the KL, one z an episode, adaptation, and that it learns."""

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from onebody.algorithms import presets
from onebody.algorithms.maml import maesn
from onebody.core import random
from onebody.core.errors import OnebodyError
from onebody.core.gaussian import Gaussian, standard
from onebody.learning.policies import with_task
from onebody.learning.trpo import TRPOConfig
from onebody.runs import evaluate
from onebody.tasks import registry
from onebody.tasks.space import FiniteSet
from onebody.worlds.rollout import continued, rollout
from onebody.worlds.simulator import Simulator

SPARSE = registry.make("pearl/sparse-point")
SMALL = dataclasses.replace(presets.preset("maesn", "smoke"), episodes=12, meta_batch=3)
TASKS = SPARSE.space.held_out(3)


def new(family=SPARSE, config=SMALL):
    algorithm = maesn.MAESN(family, config, Simulator(family))
    return algorithm, algorithm.init(jax.random.key(0))


def explore(algorithm, state, latents, key, tasks=TASKS):
    policies = maesn.with_latents(state.policy, latents)
    return maesn.explore(algorithm.simulator, policies, tasks, key, algorithm.config)


def louder(state):
    """Its policy acts by what it sees; at first it hardly does."""
    return eqx.tree_at(lambda s: s.policy.net.weights[-1], state, 100 * state.policy.net.weights[-1])


def test_the_inner_step_by_hand():
    """Two episodes with z = 2 and z = -1 from N(0, 1), advantages 1 and -1."""
    tried = maesn.LatentBatch(np.float32([[[2.0], [-1.0]]]), np.float32([[1.0, -1.0]]))
    rates = maesn.Rates(np.float32([0.1]), np.float32([0.2]))
    result = maesn.inner_step(standard(1, 1), tried, rates)
    assert result.mean.item() == pytest.approx(0.1 * (2 + 1) / 2)
    assert result.log_std.item() == pytest.approx(0.2 * ((4 - 1) - (1 - 1)) / 2)


def test_the_inner_step_follows_finite_differences_of_its_loss():
    """For each task, and each number of its latent."""
    keys = jax.random.split(jax.random.key(0), 4)
    tried = maesn.LatentBatch(random.normal(keys[0], (3, 12, 2)), random.normal(keys[1], (3, 12)))
    latents = Gaussian(*(0.5 * np.asarray(random.normal(key, (3, 2))) for key in keys[2:]))
    rates = maesn.Rates(np.float32([0.5, 1.0]), np.float32([2.0, 0.25]))
    step = jax.tree.map(np.subtract, maesn.inner_step(latents, tried, rates), latents)

    @jax.jit
    def slopes(latents, tried):
        def loss(by):
            moved = Gaussian(latents.mean + by[:2], latents.log_std + by[2:])
            return jax.vmap(maesn.inner_loss)(moved, tried)

        return jax.vmap(lambda by: (loss(by) - loss(-by)) / 2e-4)(1e-4 * jnp.eye(4))

    with jax.enable_x64(True):
        slope = np.asarray(slopes(*jax.tree.map(np.float64, (latents, tried))))
    expected = -np.concatenate(rates)[:, None] * slope
    np.testing.assert_allclose(np.concatenate(step, axis=1).T, expected, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def problem():
    """What a meta-batch with two inner steps saw, in which task 2 is drawn twice and tasks 1 and 3 are not."""
    algorithm, state = new(config=dataclasses.replace(SMALL, inner_steps=2, kl=0.3))
    state, chosen, before = louder(state), jnp.array([0, 2, 2]), []
    latents = maesn.of_tasks(state.latents, chosen)
    for i in range(3):
        tried, after, _ = explore(algorithm, state, latents, jax.random.key(i), state.tasks[chosen])
        latents = maesn.inner_step(latents, tried, state.rates)
        before.append(tried)
    return algorithm, state, chosen, tuple(before[:2]), after


def test_the_outer_gradient_is_that_of_finite_differences(problem):
    """Of each part of what is learned, through two inner steps."""
    _, state, chosen, before, after = problem
    parts = state.policy, maesn.of_tasks(state.latents, chosen), state.rates
    flat, unravel = ravel_pytree(parts)
    part = np.concatenate([np.full(x.size, i) for i, each in enumerate(parts) for x in jax.tree.leaves(each)])

    @jax.jit
    def objective(flat):
        now = maesn.adapted_distribution(*unravel(flat), before, after)
        return jnp.mean(now.log_prob(after.action) * after.advantage)

    gradient = np.asarray(jax.jit(jax.grad(objective))(flat))
    for i in range(3):
        own = np.where(part == i, gradient, 0.0)
        size = float(np.linalg.norm(own))
        with jax.enable_x64(True):
            wide, way = np.float64(flat), 1e-3 * np.float64(own) / size
            numeric = float(objective(wide + way) - objective(wide - way)) / 2e-3
        assert size > 1e-3 and numeric == pytest.approx(size, rel=1e-2)


def test_the_kl_by_hand():
    latents = Gaussian(np.float32([[1.0, 0.0], [0.0, 0.0]]), np.log(np.float32([[1.0, 2.0], [1.0, 1.0]])))
    expected = (0.5 * 1.0 + 0.5 * (4.0 - 1.0 - np.log(4.0)) + 0.0) / 2
    assert float(jax.jit(maesn.divergence)(latents)) == pytest.approx(expected, rel=1e-5)


def test_without_advantages_the_outer_step_brings_the_latents_of_the_batch_to_the_prior(problem):
    algorithm, state, chosen, before, after = problem
    nothing = after._replace(advantage=np.zeros(after.advantage.shape, np.float32))
    moved, metrics = maesn.outer_step(state, chosen, before, nothing, algorithm.config)
    kl = jax.jit(lambda latents: latents.kl(standard(*latents.mean.shape)))
    now, before = (np.asarray(kl(each.latents)) for each in (moved, state))
    assert metrics["policy/surrogate"] > 0
    assert now[[0, 2]].sum() < before[[0, 2]].sum() - 0.01
    np.testing.assert_array_equal(np.asarray(moved.latents.mean)[1], np.asarray(state.latents.mean)[1])


def test_an_episode_has_one_latent_and_others_have_others():
    """With next to no noise of their own, actions are the mean of observation and z; without any, z is μ."""
    algorithm, state = new()
    state = eqx.tree_at(lambda s: s.policy.log_std, louder(state), jnp.full(2, -20.0))
    deviations = np.float32([[1.0, 2.0]] * 3)
    latents = Gaussian(jnp.array([[0.5, -0.5], [0.0, 1.0], [1.0, 1.0]]), jax.device_put(np.log(deviations)))
    tried, steps, _ = explore(algorithm, state, latents, jax.random.key(1))
    assert np.ptp(tried.latent, axis=1).min() > 0.1
    acts = jax.jit(lambda policy, observation, z: policy.distribution(with_task(observation, z)).mean)
    z = np.broadcast_to(np.asarray(tried.latent)[:, None], (3, SPARSE.horizon, SMALL.episodes, 2)).reshape(3, -1, 2)
    by_hand = acts(state.policy, np.asarray(steps.observation)[..., :2], z)
    np.testing.assert_allclose(steps.action, by_hand, atol=1e-5)
    np.testing.assert_allclose(steps.taken.mean, steps.action, atol=1e-5)
    policies = maesn.with_latents(state.policy, latents)
    quiet = rollout(algorithm.simulator, policies, TASKS, jax.random.key(2), episodes=SMALL.episodes)
    mean = np.broadcast_to(np.asarray(latents.mean)[:, None], (3, SMALL.episodes, 2))
    expected = acts(state.policy, np.asarray(quiet.observation)[:, 0], mean)
    np.testing.assert_allclose(np.asarray(quiet.action)[:, 0], expected, atol=1e-5)


def test_the_advantage_of_a_latent_is_what_its_episode_returned():
    """All episodes begin in one place, so that their advantages differ as their returns do."""
    algorithm, state = new(config=dataclasses.replace(SMALL, discount=1.0))
    tried, steps, reached = explore(algorithm, state, standard(3, 2), jax.random.key(1))
    places = np.asarray(steps.observation)[..., :2].reshape(3, SPARSE.horizon, SMALL.episodes, 2)
    returned = -np.linalg.norm(places - np.asarray(TASKS)[:, None, None], axis=-1).sum(1)  # but for the last reward
    advantage = np.asarray(tried.advantage)
    for task in range(3):
        assert np.corrcoef(returned[task], advantage[task])[0, 1] > 0.98
    np.testing.assert_allclose(advantage.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(advantage.std(1), 1, atol=1e-4)
    assert reached == pytest.approx(float(returned.mean()), abs=1.5)


def test_nothing_seen_moves_no_latent():
    algorithm, state = new(SPARSE.tested)
    still = eqx.tree_at(lambda s: s.policy.log_std, state, jnp.full(2, -20.0))
    *_, after = itertools.islice(algorithm.adapt(still, TASKS, jax.random.key(0)), 2)
    np.testing.assert_array_equal(after.belief.mean, np.zeros((3, 2)))


@pytest.mark.parametrize(("inner_steps", "shares"), [(1, (1.0, 1.0, 0.5)), (2, (1.0, 1.0, 1.0, 0.5))])
def test_adaptation_begins_at_the_prior_and_moves_the_latent_alone(inner_steps, shares):
    algorithm, state = new(config=dataclasses.replace(SMALL, inner_steps=inner_steps))
    key, weights = jax.random.key(7), state.policy.net.weights[0]
    stages = list(itertools.islice(algorithm.adapt(state, TASKS, key), len(shares) + 1))
    assert algorithm.simulator.samples == len(shares) * 3 * SMALL.episodes * SPARSE.horizon
    np.testing.assert_array_equal(np.stack(stages[0].belief), np.zeros((2, 3, 2)))
    for i, share in enumerate(shares):
        latents, after = stages[i].belief, stages[i + 1]
        tried, *_ = explore(algorithm, state, latents, jax.random.fold_in(key, i))
        expected = maesn.inner_step(latents, tried, maesn.Rates(*(share * rate for rate in state.rates)))
        np.testing.assert_allclose(np.stack(after.belief), np.stack(expected), atol=1e-6)
        assert (np.asarray(after.policies.policy.net.weights[0]) == np.asarray(weights)).all()


@pytest.mark.parametrize(("change", "message"), [({"latent": 0}, "latent"), ({"kl": -0.1}, "kl")])
def test_bad_settings_are_refused(change, message):
    with pytest.raises(OnebodyError, match=message):
        dataclasses.replace(SMALL, **change)


FEW = FiniteSet(((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)))
SPARSE_FEW = dataclasses.replace(SPARSE.tested, id="test/few-sparse", space=FEW)
DENSE_FEW = dataclasses.replace(SPARSE, id="test/few", space=FEW, test=SPARSE_FEW)
GOALS = jnp.tile(FEW.held_out(3), (10, 1))


@pytest.fixture(scope="module")
def trained():
    """On dense rewards, for three goals on the half circle; it is then tested with 50 episodes a stage."""
    quick = {"n_iterations": 30, "meta_batch": 10, "episodes": 20, "hidden": (32, 32)}
    config = dataclasses.replace(SMALL, **quick, trpo=TRPOConfig(max_kl=0.04, entropy=0.0, damping=1e-3))
    algorithm, state = new(DENSE_FEW, config)
    for i in range(config.n_iterations):
        state, _ = algorithm.step(state, jax.random.key(i))
    return dataclasses.replace(config, episodes=50), state


def stages(trained, family, n):
    """What the policies of each stage return, [task]."""
    config, state = trained
    result = maesn.MAESN(family, config, Simulator(family)).adapt(state, GOALS, jax.random.key(9))
    return [evaluate.real_return(family, each.policies, GOALS).mean(axis=1) for each in itertools.islice(result, n)]


def test_it_learns_to_tell_goals_apart(trained):
    """Standing still has -20, the shortest way about -5."""
    before, after = (float(result.mean()) for result in stages(trained, DENSE_FEW, 2))
    assert after > -8 and after > before + 6, (before, after)


def test_adaptation_from_the_prior_finds_a_sparse_goal_better_than_chance(trained):
    """Chance: an episode of the same policy with z ~ N(0, I)."""
    config, state = trained
    *_, result = stages(trained, SPARSE_FEW, 3)
    prior = maesn.with_latents(state.policy, standard(len(GOALS), config.latent))
    noise = random.normal(jax.random.key(5), (len(GOALS), config.episodes, config.latent))
    tried, _ = continued(Simulator(SPARSE_FEW), prior, noise, GOALS, jax.random.key(6), config.episodes)
    chance = float((np.asarray(tried.reward).max(axis=1) > 0).mean())
    assert (result > 0).mean() > chance + 0.3 > 0.3, (chance, result)
