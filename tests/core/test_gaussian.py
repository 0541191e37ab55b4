import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from onebody.core.gaussian import Gaussian


def gaussian(mean, std):
    return Gaussian(jnp.array([mean]), jnp.log(jnp.array([std])))


def test_log_prob_is_scipys():
    mean, std, x = np.array([0.3, -1.0]), np.array([0.5, 2.0]), np.array([[0.1, 0.2], [-1.0, 3.0]])
    log_prob = Gaussian(jnp.array(mean), jnp.log(jnp.array(std))).log_prob(jnp.array(x))
    np.testing.assert_allclose(log_prob, stats.norm.logpdf(x, mean, std).sum(-1), rtol=1e-5)


def test_kl_is_the_integral():
    p, q = stats.norm(0.3, 0.5), stats.norm(-0.2, 1.3)
    expected = integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -8, 8)[0]
    assert float(gaussian(0.3, 0.5).kl(gaussian(-0.2, 1.3))) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.5, 0.3), (-3.0, 1.0), (0.0, 20.0)])
def test_limited_entropy_is_the_integral(mean, std):
    p = stats.norm(mean, std)
    expected = integrate.quad(lambda x: -p.pdf(x) * p.logpdf(x), -2, 2, epsabs=1e-10)[0]
    assert float(gaussian(mean, std).limited_entropy(2.0)) == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_no_noise_is_the_mean():
    np.testing.assert_array_equal(gaussian(0.7, 2.0).sample(jnp.zeros(1)), jnp.array([0.7]))
