"""Planning by sampling: of many sequences of actions, imagined at once, the best one (Rao 2009; Chua et al. 2018)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from onebody.core import random
from onebody.core.errors import OnebodyError, at_least, at_most, positive
from onebody.core.types import Key

Score = Callable[[Float[Array, "candidate time action"]], Float[Array, " candidate"]]
"""sequences of actions -> their predicted returns"""


@dataclass(frozen=True)
class PlanConfig:
    """Settings of the planner. `shooting`: Nagabandi et al. 2018, as MB-MPO's authors run it; `icem`: Pinneri et al.
    2020."""

    method: Literal["shooting", "icem"] = "shooting"
    """Planner. shooting: the best of uniformly drawn plans; icem: rounds of plans drawn around the best of the round
    before. Unlike iCEM's source, all rounds are of one size, no plans go on to the next step, and the mean is a
    candidate in the first round alone"""
    steps: int = 10
    """Imagined steps per plan"""
    discount: float = 1.0
    """Discount factor γ of the rewards that a plan is scored by"""
    candidates: int = 1000
    """Number of plans that are imagined per action; with icem, per round"""
    rounds: int = 3
    """Rounds of icem"""
    elites: int = 10
    """Number of best plans of a round of icem that the next round is drawn around; three tenths of them stay
    candidates"""
    deviation: float = 0.5
    """Standard deviation of the first round's plans of icem"""
    colour: float = 2.0
    """Exponent β of the noise of icem's plans, whose power falls as frequency^-β; 0 is white noise"""
    momentum: float = 0.1
    """Share of the round before in mean and standard deviation of icem's plans"""

    def __post_init__(self) -> None:
        at_least(1, self, "steps", "candidates", "rounds", "elites")
        at_least(0, self, "discount", "colour", "momentum")
        at_most(1, self, "discount", "momentum")
        positive(self, "deviation")
        if self.elites > self.candidates:
            raise OnebodyError(f"{self.elites} elites cannot be among {self.candidates} candidates")


def coloured(key: Key, rows: int, steps: int, actions: int, exponent: float) -> Float[Array, "row time action"]:
    """Gaussian noise over time whose power falls as frequency^-exponent, of deviation 1 (Timmer, Koenig 1995)."""
    frequency = jnp.fft.rfftfreq(steps)
    inner = (frequency > 0) & (frequency < 0.5)  # the others have no phase
    scale = jnp.maximum(frequency, 1 / steps) ** (-exponent / 2)
    real, imaginary = random.normal(key, (2, rows, actions, len(frequency)))
    spectrum = scale * jnp.where(inner, real + 1j * imaginary, jnp.sqrt(2.0) * real)
    deviation = jnp.sqrt((jnp.where(inner, 4.0, 2.0) * scale**2).sum()) / steps
    return jnp.swapaxes(jnp.fft.irfft(spectrum, n=steps) / deviation, 1, 2)


def plan(score: Score, mean: Float[Array, "time action"], key: Key, config: PlanConfig) -> Float[Array, "time action"]:
    """The best of the sampled sequences, in [-1, 1]; `icem` begins at `mean`."""
    shape = config.candidates, mean.shape[0], mean.shape[1]
    if config.method == "shooting":
        plans = random.uniform(key, shape, low=-1.0, high=1.0)
        return plans[jnp.argmax(score(plans))]
    kept = max(1, round(0.3 * config.elites))

    def one_round(carry: tuple[Array, ...], key: Key) -> tuple[tuple[Array, ...], None]:
        mean, deviation, elites, best, best_score = carry
        noise = coloured(key, *shape, config.colour)
        plans = jnp.clip(mean + deviation * noise, -1.0, 1.0).at[:kept].set(elites)
        values = score(plans)
        order = jnp.argsort(-values)[: config.elites]
        chosen, share = plans[order], config.momentum
        mean = share * mean + (1 - share) * chosen.mean(0)
        deviation = share * deviation + (1 - share) * chosen.std(0)
        better = values[order[0]] > best_score
        best, best_score = jnp.where(better, chosen[0], best), jnp.maximum(values[order[0]], best_score)
        return (mean, deviation, chosen[:kept], best, best_score), None

    first_key, key = jax.random.split(key)
    first = mean + config.deviation * coloured(first_key, kept, shape[1], shape[2], config.colour)
    elites = jnp.clip(first, -1.0, 1.0).at[0].set(mean)
    start = mean, jnp.full(mean.shape, config.deviation), elites, mean, jnp.array(-jnp.inf)
    return jax.lax.scan(one_round, start, jax.random.split(key, config.rounds))[0][3]
