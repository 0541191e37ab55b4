"""K-FAC beside exact natural gradients, its factors by hand, and the trust region of its steps."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from onebody.algorithms.model_free import kfac
from onebody.algorithms.model_free.kfac import Factors, KFACConfig
from onebody.core import random
from onebody.core.errors import OnebodyError
from onebody.core.nets import MLP, Normalizer, fan_in
from onebody.learning import trpo
from onebody.learning.policies import GaussianPolicy

CONFIG = KFACConfig(rate=1e6, radius=1e-3, damping=0.0, decay=0.95, momentum=0.0)
WHERE = lambda policy: (policy.net, policy.log_std)  # noqa: E731


@partial(jax.jit, static_argnames=("hidden", "rows"))
def problem(hidden=(), rows=20_000):
    """A Gaussian policy with unlike deviations, correlated observations, and rewarded actions of its own."""
    keys = jax.random.split(jax.random.key(0), 5)
    policy = GaussianPolicy(keys[0], hidden, Normalizer(3), 2)
    policy = eqx.tree_at(lambda p: p.log_std, policy, jnp.array([-1.0, 0.5]))
    policy = jax.tree.map(lambda x: x + 0.3 if x.shape[-1:] == (2,) and x.ndim == 2 else x, policy)
    observation = random.normal(keys[1], (rows, 3)) @ random.normal(keys[2], (3, 3)) + jnp.array([1.0, 0, -2])
    distribution = policy.distribution(observation)
    action = distribution.sample(random.normal(keys[3], (rows, 2)))
    advantage = jnp.sin(observation[:, 0]) * action[:, 0] - (action[:, 1] - observation[:, 1]) ** 2
    slope = random.normal(keys[4], (rows, 2)) * jnp.exp(-policy.log_std)
    return policy, observation, action, advantage, slope


@jax.jit
def fisher(policy, observation):
    at, unravel = ravel_pytree(WHERE(policy))
    product = trpo.fisher_product(lambda p: eqx.tree_at(WHERE, policy, unravel(p)).distribution(observation), at)
    return jax.vmap(product)(jnp.eye(len(at)))


@jax.jit
def descent(policy, observation, action, advantage):
    """The gradient of -A log π."""

    def loss(parameters):
        log_prob = eqx.tree_at(WHERE, policy, parameters).distribution(observation).log_prob(action)
        return -jnp.mean(advantage * log_prob)

    return jax.grad(loss)(WHERE(policy))


@partial(jax.jit, static_argnames="damping")
def direction(gradient, policy, observation, slope, damping):
    factors = Factors.empty(policy.net).updated(policy.net, observation, slope, 0.95)
    return kfac.natural(gradient[0], factors, damping), gradient[1] / 2


natural = jax.jit(kfac.natural, static_argnums=2)
step = jax.jit(kfac.step, static_argnums=5)
updated = jax.jit(Factors.updated, static_argnums=4)


@partial(jax.jit, static_argnums=0)
def new_net(sizes):
    return MLP(jax.random.key(0), sizes, jnp.tanh, [fan_in(1.0)] * (len(sizes) - 1))


def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_the_step_of_a_linear_gaussian_policy_is_the_exact_natural_gradient():
    policy, observation, action, advantage, slope = problem()
    gradient = descent(policy, observation, action, advantage)
    result = flat(direction(gradient, policy, observation, slope, 1e-8))
    expected = np.linalg.solve(fisher(policy, observation), flat(gradient))
    assert cosine(result, expected) > 0.99 > 0.9 > cosine(flat(gradient), expected)
    assert float(np.linalg.norm(result)) == pytest.approx(float(np.linalg.norm(expected)), rel=0.1)


def test_with_hidden_layers_a_step_gains_more_for_its_divergence_than_one_along_the_gradient():
    """What the exact natural gradient gains is 1."""
    policy, observation, action, advantage, slope = problem((5,))
    gradient = descent(policy, observation, action, advantage)
    matrix, slopes = np.asarray(fisher(policy, observation)), flat(gradient)
    best = slopes @ np.linalg.solve(matrix + np.float32(1e-4 * np.eye(len(slopes))), slopes)

    def gain(step):
        return float(slopes @ step / np.sqrt(step @ matrix @ step * best))

    result = gain(flat(direction(gradient, policy, observation, slope, 1e-4)))
    assert 1.01 > result > 0.85 > 0.7 > gain(slopes), (result, gain(slopes))


def test_with_identities_for_factors_it_is_the_gradient():
    gradient = eqx.tree_at(lambda n: n.biases, new_net((3, 4, 2)), [jnp.arange(4.0), jnp.arange(2.0)])
    identities = Factors([jnp.eye(4), jnp.eye(5)], [jnp.eye(4), jnp.eye(2)], jnp.ones(()))
    for damping, share in ((0.0, 1.0), (4.0, 1 / 9)):  # (1 + √4)²
        result = natural(gradient, identities, damping)
        for x, y in zip(jax.tree.leaves(result), jax.tree.leaves(gradient), strict=True):
            np.testing.assert_allclose(x, share * np.asarray(y), rtol=1e-5, atol=1e-6)


def test_damping_is_shared_in_proportion_to_the_factors():
    gradient = new_net((1, 1))
    factors = Factors([jnp.array([[8.0, 0.0], [0.0, 8.0]])], [jnp.array([[2.0]])], jnp.ones(()))  # π = 2
    result = natural(gradient, factors, 9.0)
    assert result.weights[0].item() == pytest.approx(gradient.weights[0].item() / (8 + 2 * 3) / (2 + 3 / 2))


def test_factors_are_of_the_layers_inputs_and_of_the_derivatives_by_their_outputs():
    net = new_net((3, 4, 2))
    x, slope = (np.asarray(random.normal(jax.random.key(i), (7, size))) for i, size in ((1, 3), (2, 2)))
    factors = updated(jax.jit(Factors.empty)(net), net, x, slope, 0.9)
    first, second = map(np.asarray, net.weights)
    hidden = np.tanh(x @ first)
    back = (slope @ second.T) * (1 - hidden**2)
    expected = [np.concatenate([rows, np.ones((7, 1))], axis=1) for rows in (x, hidden)] + [back, slope]
    for result, rows in zip(factors.inputs + factors.outputs, expected, strict=True):
        np.testing.assert_allclose(result, rows.T @ rows / 7, rtol=1e-4, atol=1e-5)


def test_factors_are_a_plain_mean_at_first_and_then_a_running_one():
    net = new_net((1, 1))
    factors, means = jax.jit(Factors.empty)(net), []
    for value in np.float32([1.0, 2.0, 3.0, 4.0]):
        factors = updated(factors, net, np.full((5, 1), value), np.full((5, 1), 2 * value), 0.6)
        means.append((np.asarray(factors.inputs[0])[0, 0], factors.outputs[0].item()))
    squares = [1.0, 2.5, 0.6 * 2.5 + 0.4 * 9, 0.6 * (0.6 * 2.5 + 0.4 * 9) + 0.4 * 16]
    np.testing.assert_allclose(means, [(s, 4 * s) for s in squares], rtol=1e-5)


def test_a_step_goes_to_the_edge_of_the_trust_region_and_no_farther_than_its_rate():
    policy, observation, action, advantage, slope = problem()
    gradient = descent(policy, observation, action, advantage)
    result = direction(gradient, policy, observation, slope, 0.0)
    still = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), result)
    moved, _ = step(WHERE(policy), gradient, result, still, 1e6, CONFIG)

    @jax.jit
    def measured(parameters):
        old, new = (each.distribution(observation) for each in (policy, eqx.tree_at(WHERE, policy, parameters)))
        return old.kl(new).mean(), *((advantage * each.log_prob(action)).mean() for each in (new, old))

    kl, after, before = map(float, measured(moved))
    assert kl == pytest.approx(CONFIG.radius, rel=0.1)
    assert after > before
    short, _ = step(WHERE(policy), gradient, result, still, 1e-3, CONFIG)
    np.testing.assert_allclose(short[1], np.asarray(policy.log_std) - 1e-3 * np.asarray(result[1]), rtol=1e-5)


def test_steps_are_averaged():
    config = KFACConfig(rate=0.5, radius=1e9, damping=0.0, decay=0.9, momentum=0.75)
    x, one = np.float32(0.0), np.float32(1.0)
    x, velocity = step(x, one, one, x, 0.5, config)  # v = 0.25 · 0.5
    assert (float(x), float(velocity)) == pytest.approx((-0.125, 0.125))
    x, velocity = step(x, one, -one, velocity, 0.5, config)  # the quadratic model has no more say
    assert float(velocity) == pytest.approx(0.75 * 0.125 - 0.125)


@pytest.mark.parametrize(
    "change", [{"rate": 0.0}, {"radius": -1.0}, {"damping": -1.0}, {"momentum": 1.0}, {"decay": 1.5}]
)
def test_settings_that_cannot_be_are_refused(change):
    with pytest.raises(OnebodyError, match=next(iter(change))):
        KFACConfig(**({"rate": 1.0, "radius": 1.0, "damping": 1.0, "decay": 0.9} | change))
