import equinox as eqx
import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from onebody.core import random
from onebody.core.nets import Normalizer, trainable
from onebody.learning import trpo
from onebody.learning.policies import GaussianPolicy
from onebody.learning.trpo import TRPOConfig


@jax.jit
def make(seed=0):
    keys = jax.random.split(jax.random.key(seed), 4)
    normalizer = Normalizer(3).update(random.normal(keys[0], (50, 3)) * 2 + 1)
    policy = GaussianPolicy(keys[1], (5,), normalizer, 2)
    observation = random.normal(keys[2], (64, 3))
    action = policy.distribution(observation).sample(random.normal(keys[3], (64, 2)))
    return policy, observation, action


update = jax.jit(trpo.update, static_argnums=4)


def flat(policy, observation):
    free, fixed = eqx.partition(policy, trainable(policy))
    parameters, unravel = ravel_pytree(free)
    return parameters, lambda p: eqx.combine(unravel(p), fixed).distribution(observation)


def test_fisher_product_is_the_hessian_of_the_kl():
    policy, observation, _ = make()
    parameters, distribution = flat(policy, observation)
    old = distribution(parameters)
    hessian = np.asarray(jax.jit(jax.hessian(lambda p: old.kl(distribution(p)).mean()))(parameters))
    product = jax.jit(lambda v: trpo.fisher_product(distribution, parameters)(v))
    for seed in range(3):
        v = np.asarray(random.normal(jax.random.key(seed), parameters.shape))
        np.testing.assert_allclose(product(v), hessian @ v, rtol=1e-3, atol=1e-4)


def test_conjugate_gradient_solves():
    root = np.asarray(random.normal(jax.random.key(0), (6, 6)))
    matrix, target = root @ root.T + np.eye(6, dtype=np.float32), np.arange(6, dtype=np.float32)
    result = jax.jit(lambda target: trpo.conjugate_gradient(lambda v: matrix @ v, target, 12))(target)
    np.testing.assert_allclose(result, np.linalg.solve(matrix, target), rtol=1e-2, atol=1e-2)


@jax.jit
def measured(policy, new, observation, action, advantage):
    """How far a step went, and the surrogate before and after it."""
    old, now = (each.distribution(observation) for each in (policy, new))
    return old.kl(now).mean(), *(trpo.surrogate(each, old, action, advantage, 0.0) for each in (old, now))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("max_kl", "shrink", "slack", "least"),
    [(1e-3, 0.5, 1.0, 0.2), (0.01, 0.5, 1.0, 0.2), (0.3, 0.5, 1.0, 0.2), (0.3, 0.8, 1.0, 0.5), (0.3, 0.5, 1.5, 1.0)],
)
def test_a_step_stays_in_the_trust_region_and_gains(seed, max_kl, shrink, slack, least):
    policy, observation, action = make(seed)
    advantage = -np.sum((np.asarray(action) - 0.5) ** 2, axis=-1)
    config = TRPOConfig(max_kl=max_kl, entropy=0.0, shrink=shrink, slack=slack)
    new, metrics = update(policy, observation, action, advantage, config)
    normalized = (advantage - advantage.mean()) / advantage.std()
    kl, before, after = map(float, measured(policy, new, observation, action, normalized))
    assert least * max_kl < kl <= slack * max_kl * (1 + 1e-4)
    assert float(metrics["policy/kl"]) == pytest.approx(kl, rel=1e-3)
    assert after > before


def test_a_step_that_cannot_gain_is_not_taken():
    policy, observation, action = make()
    new, metrics = update(policy, observation, action, np.full(len(action), np.nan, np.float32), TRPOConfig())
    for old_leaf, new_leaf in zip(jax.tree.leaves(policy), jax.tree.leaves(new), strict=True):
        np.testing.assert_array_equal(old_leaf, new_leaf)
    assert float(metrics["policy/kl"]) == 0.0


def test_the_normalizer_is_not_moved():
    policy, observation, action = make()
    new, _ = update(policy, observation, action, np.asarray(action)[:, 0], TRPOConfig())
    np.testing.assert_array_equal(new.observation.mean, policy.observation.mean)
