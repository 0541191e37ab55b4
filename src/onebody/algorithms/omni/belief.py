"""Beliefs over a hidden task ψ, from observed rewards and a reward function of known form, by Bayes' rule.

p(ψ | transitions) ∝ p(ψ) Π N(reward; r_ψ(s, a, s'), σ²), and where dynamics vary with ψ, the density of s' in the
learned models, which are told ψ, as a further factor, to a power that allows for dependent errors (`independence`).
Particles are points of a unit cube, on which p(ψ) is uniform (`tasks.space.Continuous`), so that they move freely in
any task space. `infer` is a sequential Monte Carlo sampler (Del Moral, Doucet, Jasra 2006): from the prior to the
posterior in steps of temperature, each with resampling and moves.
"""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from onebody.core import random
from onebody.core.gaussian import Gaussian
from onebody.core.types import Key
from onebody.learning.ensemble import Ensemble
from onebody.learning.replay import Replay
from onebody.tasks.family import TaskFamily
from onebody.tasks.space import Continuous, low_discrepancy
from onebody.worlds.notes import uses_task

EFFECTIVE = 0.5
"""share of the particles that a step of temperature leaves effective"""
STEPS = 500
"""largest number of steps of temperature"""
SLOTS = 64
"""episodes of the data on which the dependence of the model's errors is measured"""
JITTER = 1e-3
"""standard deviation of a proposal beside the difference of two particles, relative to the particles' deviation"""


class Observed(NamedTuple):
    """Transitions that a belief is inferred from."""

    observation: Float[Array, "*axes observation"]
    action: Float[Array, "*axes action"]
    next_observation: Float[Array, "*axes observation"]
    reward: Float[Array, "*axes"]
    known: Bool[Array, "*axes"]
    """Whether there is a transition; others say nothing"""


def rewards(
    family: TaskFamily,
    observation: Float[Array, "*axes observation"],
    action: Float[Array, "*axes action"],
    next_observation: Float[Array, "*axes observation"],
    tasks: Float[Array, "particle feature"],
) -> Float[Array, "*axes particle"]:
    """The reward of each transition in each task."""
    of_task = jax.vmap(family.outcome, in_axes=(None, None, None, 0), out_axes=-1)
    return of_task(observation, action, next_observation, tasks)[0]


class Evidence(eqx.Module):
    """What transitions say of ψ: their rewards, and their next observations where the dynamics vary with ψ."""

    family: TaskFamily = eqx.field(static=True)
    sigma: Float[Array, "*tasks"]
    """standard deviation of rewards around the family's reward function"""
    model: Ensemble | None = None
    """predicts next observations, told ψ; None: they say nothing of ψ"""
    weight: Float[Array, "*tasks"] = eqx.field(default_factory=lambda: jnp.ones(()))
    """share of the log-density of next observations that counts, since the model's errors are not independent"""

    def __call__(self, seen: Observed, tasks: Float[Array, "particle feature"]) -> Float[Array, "*axes particle"]:
        """log p(reward, next observation | ψ) of each transition for each ψ, but for a constant."""
        value = jnp.zeros((*seen.known.shape, len(tasks)))
        if uses_task(self.family.reward, self.family):
            expected = rewards(self.family, seen.observation, seen.action, seen.next_observation, tasks)
            value -= 0.5 * ((seen.reward[..., None] - expected) / self.sigma) ** 2
        if (model := self.model) is not None:
            difference = model.difference(seen.next_observation - seen.observation)

            def of_next(task: Float[Array, " feature"]) -> Float[Array, "*axes"]:
                inputs = self.family.model_action(seen.action, task)
                return model.differences(seen.observation, inputs).log_prob(difference)

            value += self.weight * jax.vmap(of_next, out_axes=-1)(tasks)
        return jnp.where(seen.known[..., None], value, 0.0)


@partial(jax.jit, static_argnames="family")
def independence(family: TaskFamily, model: Ensemble, data: Replay, key: Key) -> Float[Array, ""]:
    """Share of the log-density of next observations that makes a posterior as wide as it is wrong.

    The errors of a learned model repeat where a robot does, so n transitions say less of ψ than n independent ones. The
    share is that of composite likelihoods (the magnitude adjustment of Pauli, Racugno, Ventura 2011, with one scale
    for all of ψ): E[Σ |g|²] / E[|Σ g|²], 1 at most, of sums over an episode of scores g = ∂ log p(s' | s, a, ψ) / ∂ψ at
    the ψ of training. The first expectation is over next observations that are drawn from the model, the second over
    the data.
    """
    row_key, noise_key = jax.random.split(key)
    slots = random.randint(row_key, (SLOTS,), 0, jnp.maximum(data.size // family.horizon, 1))
    rows = slots[:, None] * family.horizon + jnp.arange(family.horizon)
    observation, inputs, next_observation = data.observation[rows], data.action[rows], data.next_observation[rows]
    action, task = jnp.split(inputs, [family.body.action_size], axis=-1)

    def log_prob(task: Array, observation: Array, action: Array, difference: Array) -> Array:
        return model.differences(observation, jnp.concatenate([action, task])).log_prob(difference)

    score = jnp.vectorize(jax.grad(log_prob), signature="(t),(o),(a),(o)->(t)")
    drawn = model.differences(observation, inputs).sample(random.normal(noise_key, observation.shape))
    drawn = jnp.where(model.difference.varied, drawn, 0.0)
    expected = score(task, observation, action, drawn)
    found = score(task, observation, action, model.difference(next_observation - observation))
    return jnp.minimum((expected**2).sum() / (found.sum(1) ** 2).sum(), 1.0)


def prior(space: Continuous, n: int) -> Float[Array, "particle unit"]:
    """Particles that are spread evenly over p(ψ)."""
    return jax.device_put(np.float32(low_discrepancy(n, space.unit_size)))


@partial(jax.jit, static_argnames=("space", "moves"))
def infer(
    evidence: Evidence,
    space: Continuous,
    particles: Float[Array, "particle unit"],
    seen: Observed,
    key: Key,
    moves: int,
) -> Float[Array, "particle unit"]:
    """Particles of the posterior, all of equal weight, from those of the prior.

    Args:
        seen: transitions [row, ...] in any order.
        moves: Metropolis steps of each particle after each resampling.
    """
    n, size = particles.shape
    spread_factor = 2.38 / jnp.sqrt(2 * size)  # of differential evolution (ter Braak 2006)

    def likelihood(unit: Float[Array, "particle unit"]) -> Float[Array, " particle"]:
        return evidence(seen, space.at(unit)).sum(0)

    def temper(state: tuple[Array, Array, Array, Array, Key]) -> tuple[Array, Array, Array, Array, Key]:
        count, temperature, unit, value, key = state
        key, resample_key, move_key = jax.random.split(key, 3)
        step = _step(value, 1 - temperature)
        temperature = jnp.where(step >= 1 - temperature, 1.0, temperature + step)
        index = resample(step * value, random.uniform(resample_key, ()))

        def move(carry: tuple[Array, Array], key: Key) -> tuple[tuple[Array, Array], None]:
            unit, value = carry
            pair_key, jitter_key, accept_key = jax.random.split(key, 3)
            one, other = random.randint(pair_key, (2, n), 0, n)
            jitter = JITTER * unit.std(0) * random.normal(jitter_key, unit.shape)
            proposed = _reflected(unit + spread_factor * (unit[one] - unit[other]) + jitter)
            new = likelihood(proposed)
            accepted = jnp.log(random.uniform(accept_key, (n,))) < temperature * (new - value)
            return (jnp.where(accepted[:, None], proposed, unit), jnp.where(accepted, new, value)), None

        (unit, value), _ = jax.lax.scan(move, (unit[index], value[index]), jax.random.split(move_key, moves))
        return count + 1, temperature, unit, value, key

    begin = jnp.array(0), jnp.zeros(()), particles, likelihood(particles), key
    return jax.lax.while_loop(lambda state: (state[0] < STEPS) & (state[1] < 1), temper, begin)[2]


def _step(value: Float[Array, " particle"], most: Float[Array, ""]) -> Float[Array, ""]:
    """The largest step of temperature that leaves enough particles effective."""

    def halve(bounds: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        low, high = bounds
        middle = jnp.sqrt(low * high)
        enough = effective(middle * value) >= EFFECTIVE * len(value)
        return (jnp.where(enough, middle, low), jnp.where(enough, high, middle)), None

    (low, _), _ = jax.lax.scan(halve, (1e-12 * most, most), None, length=40)
    return jnp.where(effective(most * value) >= EFFECTIVE * len(value), most, low)


def effective(log_weight: Float[Array, " particle"]) -> Float[Array, ""]:
    """Effective number of particles."""
    return 1 / jnp.sum(jax.nn.softmax(log_weight) ** 2)


def resample(log_weight: Float[Array, " particle"], offset: Float[Array, ""]) -> Array:
    """Indices of particles, each as often as its weight says (systematic resampling)."""
    n = len(log_weight)
    points = (jnp.arange(n) + offset) / n
    return jnp.minimum(jnp.searchsorted(jnp.cumsum(jax.nn.softmax(log_weight)), points), n - 1)


def _reflected(unit: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
    """Points outside of the unit cube, mirrored at its faces."""
    return 1 - jnp.abs(1 - jnp.abs(unit) % 2)


def summary(tasks: Float[Array, "task particle feature"]) -> Gaussian:
    """Mean and standard deviation of the beliefs."""
    return Gaussian(tasks.mean(1), jnp.log(jnp.maximum(tasks.std(1), 1e-9)))


def weighted(tasks: Float[Array, "particle feature"], log_weight: Float[Array, "*axes particle"]) -> Gaussian:
    """Mean and standard deviation of beliefs that weight the same particles."""
    weight = jax.nn.softmax(log_weight)
    mean = weight @ tasks
    variance = jnp.einsum("...p,...pf->...f", weight, (tasks - mean[..., None, :]) ** 2)
    return Gaussian(mean, jnp.log(jnp.maximum(jnp.sqrt(variance), 1e-9)))
