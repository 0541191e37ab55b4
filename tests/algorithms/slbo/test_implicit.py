"""Derivatives of the return in policy and task, beside the exact ones of a linear system with a Gaussian policy.

s' = s + g a, reward -(s' - ψ₁)² - ψ₂ a², five steps, π(a | s) = N(k s + b, e^{2l}): the return is a polynomial of the
first two moments of s, which are known. g is 0.3 in the real world, and 0.2 in a model that is wrong.
"""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from onebody.algorithms.slbo import implicit
from onebody.algorithms.slbo.implicit import ImplicitConfig
from onebody.core import random
from onebody.core.nets import Normalizer
from onebody.core.returns import gae
from onebody.core.types import Transitions
from onebody.learning.actor_critic import ValueFunction
from onebody.learning.policies import GaussianPolicy, for_each
from onebody.tasks import registry
from onebody.tasks.body import ClosedFormBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.space import Box
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

REAL, MODEL = 0.3, 0.2
TIME, LOG_STD, PSI = 5, -0.5, np.float32([0.7, 0.1])
THETA = np.float32([-0.4, 0.3])
"""k and b, the order of `implicit.flat`"""
CONFIG = ImplicitConfig(discount=0.9, trace=1.0, damping=1e-6, tolerance=1e-4)


def quadratic(observation, action, after, task):
    return -((after[0] - task[0]) ** 2) - task[1] * action[0] ** 2


FAMILY = TaskFamily(
    id="test/linear",
    body=ClosedFormBody(
        name="line", dynamics=lambda s, a: s + REAL * a, labels=("x (m)",), action_size=1, dt=0.1,
        start=lambda rng, n: 0.2 + 0.5 * rng.standard_normal((n, 1)),
    ),
    space=Box((-2.0, 0.0), (2.0, 1.0)),
    reward=quadratic,
    horizon=TIME,
    source="ours",
    reward_text="-(x - ψ₁)² - ψ₂ a²",
)  # fmt: skip


@functools.partial(jax.jit, static_argnames=("gain", "discount"))
def exact(theta, psi, gain=REAL, discount=CONFIG.discount):
    """Discounted return a step from s ~ N(0.2, 0.5²), of one θ or of one for each step."""
    variance = jnp.exp(2 * LOG_STD)

    def step(carry, theta):
        mean, var, factor = carry
        action, spread = theta[0] * mean + theta[1], theta[0] ** 2 * var + variance
        mean, var = mean + gain * action, var + 2 * gain * theta[0] * var + gain**2 * spread
        reward = -((mean - psi[0]) ** 2 + var) - psi[1] * (action**2 + spread)
        return (mean, var, factor * discount), factor * reward

    return jax.lax.scan(step, (0.2, 0.25, 1.0), jnp.broadcast_to(theta, (TIME, 2)))[1].mean()


EACH = np.broadcast_to(THETA, (TIME, 2))
LATER = CONFIG.discount ** np.maximum(np.arange(TIME)[:, None], np.arange(TIME))
"""γ^t of the later of two steps: derivatives in the policy of a step are divided by it, so that all weigh alike"""


rewards = jax.jit(implicit.rewards, static_argnums=0)
discounted = jax.jit(implicit.discounted, static_argnums=(1, 3))
response = jax.jit(implicit.response, static_argnums=(3, 5))
gap_gradient = jax.jit(implicit.gap_gradient, static_argnums=(4, 7))


@jax.jit
def policy_of(theta):
    policy = GaussianPolicy(jax.random.key(0), (), Normalizer(1), 1)
    where = lambda p: (p.net.weights[0], p.net.biases[0], p.log_std)  # noqa: E731
    return eqx.tree_at(where, policy, (theta[:1].reshape(1, 1), theta[1:2], jnp.full(1, LOG_STD)))


@functools.partial(jax.jit, static_argnames="n")
def episodes(policy, gain, n, seed):
    """Actions are not clipped here, so that moments stay exact; the family's reward sees deviations below 1."""
    start_key, noise_key = jax.random.split(jax.random.key(seed))

    def step(s, noise):
        a = policy.distribution(s).sample(noise)
        return s + gain * a, (s, a, s + gain * a)

    s0 = 0.2 + 0.5 * random.normal(start_key, (n, 1))
    _, (s, a, after) = jax.lax.scan(step, s0, random.normal(noise_key, (TIME, n, 1)))
    never = jnp.zeros((TIME, n), bool)
    return Transitions(s, a, jnp.zeros((TIME, n)), after, never.at[-1].set(True), never)


@pytest.fixture(autouse=True)
def _unclipped(monkeypatch):
    """The closed forms know no bound of actions."""

    def outcome(self, observation, action, after, tasks):
        reward = jax.vmap(jax.vmap(quadratic, (0, 0, 0, None)), (0, 0, 0, None))
        return reward(observation, action, after, tasks), None

    monkeypatch.setattr(TaskFamily, "outcome", outcome)


def test_rewards_of_the_task_that_was_asked_for_are_the_worlds(monkeypatch):
    monkeypatch.undo()
    family = registry.make("admrl/hopper-2d")
    tasks, key = family.space.held_out(1), jax.random.key(0)
    policy = GaussianPolicy(key, (), Normalizer(family.body.observation_size), family.body.action_size)
    transitions = rollout(Simulator(family), for_each(policy, 1), tasks, key, episodes=3, steps=20)
    own = jax.tree.map(lambda x: x[0], transitions)
    np.testing.assert_allclose(rewards(family, own, tasks[0]), own.reward, rtol=1e-5)


@functools.partial(jax.jit, static_argnums=0)
def value_of(seed):
    """Any V leaves the means of derivatives as they are, where λ is 1; a V of nought where seed is None."""
    value = ValueFunction(jax.random.key(seed or 0), (4,), Normalizer(1))
    return value if seed else eqx.tree_at(lambda v: v.net.weights[-1], value, jnp.zeros((4, 1)))


def test_what_follows_an_episode_that_ends_early_does_not_count():
    """η has one episode a slot: a policy that falls does not count for more because it begins anew."""
    policy = policy_of(THETA)
    transitions = episodes(policy, REAL, 6, 3)
    early = np.zeros((TIME, 6), bool)
    early[1, :3] = True
    transitions = transitions._replace(terminated=early, truncated=transitions.truncated)
    reward = np.array(rewards(FAMILY, transitions, PSI))
    by_hand = [
        sum(CONFIG.discount**t * reward[t, slot] for t in range(2 if slot < 3 else TIME)) / TIME for slot in range(6)
    ]
    assert float(discounted(PSI, FAMILY, transitions, CONFIG.discount)) == pytest.approx(np.mean(by_hand), rel=1e-5)
    later = (np.arange(TIME)[:, None] > 1) & (np.arange(6) < 3)
    after = np.where(later[..., None], np.float32(9.0), transitions.next_observation)
    other = transitions._replace(next_observation=after)
    for derivative in (jax.grad, jax.hessian):
        derived = jax.jit(derivative(implicit.dice_objective), static_argnums=(4, 6))
        result = [
            derived(implicit.flat(policy), PSI, policy, value_of(1), FAMILY, rows, CONFIG)
            for rows in (transitions, other)
        ]
        np.testing.assert_allclose(*result, rtol=1e-4, atol=1e-5)


def cosine(a, b):
    a, b = np.ravel(a), np.ravel(b)
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.fixture(scope="module")
def many():
    return episodes(policy_of(THETA), REAL, 100_000, 1)


@jax.jit
def slope(theta, psi, transitions, value):
    return jax.grad(implicit.dice_objective)(theta, psi, policy_of(THETA), value, FAMILY, transitions, CONFIG)


@pytest.mark.parametrize("seed", [None, 3])
def test_the_gradient_in_the_policy(many, seed):
    result = slope(THETA, PSI, many, value_of(seed))
    true = np.einsum("ti,t->i", jax.jit(jax.grad(exact))(EACH, PSI), 1 / np.diag(LATER))
    np.testing.assert_allclose(result, true, rtol=0.03, atol=0.01)


def test_the_hessian_in_the_policy_with_its_cross_terms_in_time(many):
    result = jax.jit(jax.jacfwd(slope))(THETA, PSI, many, value_of(3))
    true = np.einsum("tiuj,tu->ij", jax.jit(jax.hessian(exact))(EACH, PSI), 1 / LATER)
    np.testing.assert_allclose(result, result.T, atol=1e-3)
    assert cosine(result, true) > 0.99
    np.testing.assert_allclose(result, true, atol=0.06)


def test_the_mixed_derivative_in_policy_and_task(many):
    result = jax.jit(jax.jacfwd(slope, argnums=1))(THETA, PSI, many, value_of(3))
    mixed = jax.jit(jax.jacfwd(jax.grad(exact), argnums=1))(EACH, PSI)
    true = np.einsum("tij,t->ij", mixed, 1 / np.diag(LATER))
    np.testing.assert_allclose(result, true, rtol=0.03, atol=0.01)


def test_the_derivative_of_the_return_in_the_task(many):
    result = jax.jit(jax.value_and_grad(implicit.discounted), static_argnums=(1, 3))(PSI, FAMILY, many, CONFIG.discount)
    true = jax.jit(jax.value_and_grad(exact, argnums=1))(THETA, PSI)
    np.testing.assert_allclose(result[0], true[0], rtol=0.01)
    np.testing.assert_allclose(result[1], true[1], rtol=0.01)


@functools.partial(jax.jit, static_argnames="config")
def solved(matrix, target, config=CONFIG):
    return implicit.least_residual(lambda v: matrix @ v, target, config)


def test_conjugate_gradient_keeps_its_best_iterate():
    matrix = np.float32([[4.0, 1.0, 0.0], [1.0, 3.0, 0.5], [0.0, 0.5, 2.0]])
    target = np.float32([1.0, -2.0, 0.5])
    x, left = solved(matrix, target)
    np.testing.assert_allclose(matrix @ x, target, atol=1e-3)
    assert float(left) < 1e-3
    _, few = solved(matrix, target, dataclasses.replace(CONFIG, iterations=1))
    assert 0.01 < float(few) < 1.0


INDEFINITE = np.diag(np.float32([1.0, -1.0, 2.0]))


@pytest.mark.parametrize(
    ("matrix", "target"),
    [(INDEFINITE, 1.0), (np.full((3, 3), np.nan), 1.0), (np.eye(3), np.nan), (np.eye(3), np.inf)],
)
def test_conjugate_gradient_that_diverges_says_so(matrix, target):
    x, left = solved(np.float32(matrix), np.float32([1.0, target, 0.0]))
    assert np.isfinite(x).all() and float(left) == pytest.approx(1.0)


def test_nothing_to_solve_is_solved():
    x, left = solved(np.eye(3, dtype=np.float32), np.zeros(3, np.float32))
    assert (x == 0).all() and left == 0


def test_the_response_solves_the_damped_normal_equations():
    """With H and J formed, λ below 1, and episodes that are cut off."""
    config = dataclasses.replace(CONFIG, trace=0.5, damping=0.1, tolerance=1e-5)
    transitions = episodes(policy_of(THETA), MODEL, 400, 3)
    transitions = transitions._replace(terminated=transitions.truncated, truncated=transitions.terminated)

    def own_slope(theta, psi):
        return jax.grad(implicit.dice_objective)(theta, psi, policy_of(THETA), value_of(3), FAMILY, transitions, config)

    hessian, cross = (np.asarray(x) for x in jax.jit(jax.jacfwd(own_slope, argnums=(0, 1)))(THETA, PSI))
    result = response(policy_of(THETA), value_of(3), PSI, FAMILY, transitions, config)
    expected = np.linalg.solve(hessian @ hessian / 2 + 0.1 * np.eye(2), -hessian @ cross / 2)
    np.testing.assert_allclose(result.jacobian, expected, rtol=1e-3)


def test_cross_terms_fade_with_each_step_between_two():
    """The Hessian beside a loop over pairs of steps, for one episode."""
    config = dataclasses.replace(CONFIG, trace=0.5)
    transitions, value = episodes(policy_of(THETA), REAL, 1, 8), value_of(None)
    rewarded = transitions._replace(reward=rewards(FAMILY, transitions, PSI))
    zero = np.zeros(rewarded.reward.shape, np.float32)
    estimates = jax.jit(gae, static_argnums=(3, 4))(rewarded, zero, zero, config.discount, config.trace)
    advantage = np.asarray(estimates)[:, 0]

    def log_prob(theta, t):
        return policy_of(theta).distribution(transitions.observation[t]).log_prob(transitions.action[t])[0]

    expected = np.zeros((2, 2))
    first, second = jax.jit(jax.grad(log_prob)), jax.jit(jax.hessian(log_prob))
    slopes = [np.asarray(first(THETA, t)) for t in range(TIME)]
    for t in range(TIME):
        before = sum((0.5 ** (t - j) * slopes[j] for j in range(t)), np.zeros(2))
        outer = np.outer(slopes[t], slopes[t]) + np.outer(slopes[t], before) + np.outer(before, slopes[t])
        expected += advantage[t] * (outer + np.asarray(second(THETA, t))) / TIME
    hessian = jax.jit(jax.hessian(implicit.dice_objective), static_argnums=(4, 6))
    result = hessian(THETA, PSI, policy_of(THETA), value, FAMILY, transitions, config)
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4)


def undiscounted(theta, psi, gain=REAL):
    return exact(theta, psi, gain, 1.0)


@functools.partial(jax.jit, static_argnames="gain")
def best_in(gain, psi):
    """The exact optimum of k and b, the deviation as it is."""
    ascend = lambda _, theta: theta + 0.5 * jax.grad(undiscounted)(theta, psi, gain)  # noqa: E731
    return jax.lax.fori_loop(0, 3000, ascend, THETA)


def by_differences(function, psi, step=1e-2):
    """The derivative of an exact function of ψ, features last."""
    steps = np.float32(step * np.eye(2))
    return np.stack([np.subtract(function(psi + d), function(psi - d)) / (2 * step) for d in steps], axis=-1)


@pytest.mark.parametrize("psi", [(0.7, 0.1), (-0.4, 0.1)])
def test_the_response_and_the_gradient_of_the_gap_are_the_exact_ones(psi):
    psi, config = np.float32(psi), dataclasses.replace(CONFIG, discount=1.0)
    theta, moved = best_in(MODEL, psi), by_differences(functools.partial(best_in, MODEL), psi)
    warm, best = policy_of(theta), policy_of(best_in(REAL, psi))
    imagined = episodes(warm, MODEL, 100_000, 4)
    result = response(warm, value_of(3), psi, FAMILY, imagined, config)
    assert float(result.residual) < 0.01
    for feature in range(2):
        assert cosine(np.asarray(result.jacobian)[:, feature], moved[:, feature]) > 0.95

    gap = lambda p: np.subtract(*(undiscounted(best_in(gain, p), p) for gain in (REAL, MODEL)))  # noqa: E731
    true = by_differences(gap, psi)
    real = episodes(warm, REAL, 100_000, 5), episodes(best, REAL, 100_000, 5)
    terms = gap_gradient(psi, warm, value_of(3), result.jacobian, FAMILY, *real, config)
    direct, indirect = map(np.asarray, terms)
    assert cosine(direct + indirect, true) > 0.95
    np.testing.assert_allclose(direct + indirect, true, rtol=0.25, atol=0.02)
    assert abs(float(indirect[0])) > 0.02
    assert cosine(direct, true) < 0  # without the indirect term the task would go the other way


def test_on_the_point_robot_the_gradient_of_the_gap_is_that_of_finite_differences(monkeypatch):
    """Eight steps towards a goal, a linear policy, a model that pushes askew; both optima are found by pathwise
    gradients with the same noise in all of them."""
    monkeypatch.undo()
    family, config = registry.make("point/goal"), dataclasses.replace(CONFIG, discount=1.0)
    start = GaussianPolicy(jax.random.key(0), (), Normalizer(2), 2)
    start = eqx.tree_at(lambda p: p.log_std, start, jnp.full(2, -2.0))
    push = {"real": np.float32(0.1 * np.eye(2)), "model": np.float32([[0.06, 0.03], [-0.02, 0.05]])}

    def with_parameters(theta):
        return eqx.tree_at(lambda p: p.net, start, ravel_pytree(start.net)[1](theta))

    @functools.partial(jax.jit, static_argnames=("world", "n"))
    def act(theta, world, n):
        policy = with_parameters(theta)

        def step(s, noise):
            a = policy.distribution(s).sample(noise)
            return s + a @ push[world].T, (s, a, s + a @ push[world].T)

        noise = random.normal(jax.random.key(6), (8, n, 2))
        _, (s, a, after) = jax.lax.scan(step, 0.3 * random.normal(jax.random.key(7), (n, 2)), noise)
        never = jnp.zeros((8, n), bool)
        return Transitions(s, a, jnp.zeros((8, n)), after, never.at[-1].set(True), never)

    @functools.partial(jax.jit, static_argnames=("world", "n"))
    def eta(theta, psi, world, n=400):
        return implicit.discounted(psi, family, act(theta, world, n), 1.0)

    @functools.partial(jax.jit, static_argnames="world")
    def best(psi, world):
        ascend = lambda _, theta: theta + 1.0 * jax.grad(eta)(theta, psi, world)  # noqa: E731
        return jax.lax.fori_loop(0, 400, ascend, implicit.flat(start))

    psi = np.float32([0.25, -0.15])
    theta = best(psi, "model")
    gap = lambda p: np.subtract(*(eta(best(p, world), p, "real") for world in ("real", "model")))  # noqa: E731
    true = by_differences(gap, psi, step=0.02)
    warm = with_parameters(theta)
    value = ValueFunction(jax.random.key(3), (4,), Normalizer(2))
    result = response(warm, value, psi, family, act(theta, "model", 100_000), config)
    real = act(theta, "real", 100_000), act(best(psi, "real"), "real", 100_000)
    direct, indirect = map(np.asarray, gap_gradient(psi, warm, value, result.jacobian, family, *real, config))
    assert cosine(direct + indirect, true) > 0.95
    assert cosine(direct, true) < 0.9
