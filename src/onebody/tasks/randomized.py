"""Domain randomisation: a MuJoCo robot whose masses, friction, damping or motors differ from episode to episode."""

import functools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from onebody.core.errors import OnebodyError, did_you_mean
from onebody.tasks.body import QUANTITIES, Factors, MujocoBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.limits import LimitedBody, bare

Ranges = Mapping[str, tuple[float, float]]
"""range of the factors of each quantity"""


def randomized(family: TaskFamily, ranges: Ranges, *, id: str | None = None) -> TaskFamily:
    """The same tasks for robots that differ from the given one, to `register` as a family of its own.

    At the start of each episode each quantity gets a factor, drawn uniformly from its range, by which the values of the
    given robot (of the task, where `physics` changes them) are multiplied. Neither policies nor models are told. The
    test family is that of the given family, so that evaluation is on the robot as it is.

    Args:
        ranges: smallest and largest factor of some of these quantities: `mass` (of every body, with its inertia),
            `friction` (of every geom and contact pair), `damping` (of every joint), `motor` (gear of every actuator).
        id: by default that of the family followed by `-randomized`.

    Raises:
        OnebodyError: the family has no MuJoCo body, or is randomised already; there is no such quantity, or the robot
            does not have it; or a range is none.
    """
    body = bare(family.body)
    if not isinstance(body, MujocoBody):
        raise OnebodyError(f"family {family.id}: only a MuJoCo body can be randomised, and {body.name} is none")
    if body.factors:
        raise OnebodyError(f"family {family.id} is randomised already: give all ranges in one call of randomized")
    if not ranges:
        raise OnebodyError(f"family {family.id}: give what to randomise, of {', '.join(QUANTITIES)}")
    for name, values in ranges.items():
        if name not in QUANTITIES:
            raise OnebodyError(f"family {family.id}: cannot randomise {name!r}{did_you_mean(name, QUANTITIES)}")
        if np.shape(values) != (2,) or not 0 < values[0] <= values[1] < np.inf:
            raise OnebodyError(f"family {family.id}: factors of {name} are a range LOW to HIGH above 0, not {values}")
        if not any(getattr(body.model, field).any() for field in QUANTITIES[name]):
            raise OnebodyError(f"family {family.id}: {body.name} has no {name} to randomise")
    factors: Factors = tuple((name, float(low), float(high)) for name, (low, high) in ranges.items())
    body = replace(body, factors=factors)
    text = ", ".join(f"{name} × U[{low:g}, {high:g}]" for name, low, high in factors)
    return replace(
        family,
        id=id or f"{family.id}-randomized",
        body=LimitedBody(body, family.body.limits) if isinstance(family.body, LimitedBody) else body,
        test=family.tested,
        differs="; ".join(each for each in (family.differs, f"in each episode {text}") if each),
    )


@functools.cache
def in_training(family: TaskFamily, factors: Factors) -> TaskFamily:
    """The family, with its id, for a training run with these factors; always the same object."""
    return randomized(family, {name: (low, high) for name, low, high in factors}, id=family.id)


def parse(text: str) -> dict[str, tuple[float, float]]:
    """Ranges of factors from a text such as `mass=0.8:1.2,friction=0.5:1.5`; raises OnebodyError if it is another."""
    ranges: dict[str, tuple[float, float]] = {}
    for part in text.split(","):
        name, _, values = part.partition("=")
        low, _, high = values.partition(":")
        try:
            ranges[name.strip()] = float(low), float(high)
        except ValueError:
            raise OnebodyError(f"--randomize is QUANTITY=LOW:HIGH, as in mass=0.8:1.2, not {part!r}") from None
    return ranges
