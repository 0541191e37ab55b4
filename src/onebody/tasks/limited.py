"""Families whose body has limits: rewards, terminal functions and imagined observations with them."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from onebody.core import random
from onebody.core.errors import OnebodyError
from onebody.core.types import Key
from onebody.tasks.body import Body, GymnasiumBody
from onebody.tasks.family import Achieved, Reward, TaskFamily, Terminal, never
from onebody.tasks.limits import LimitedBody, Limits, bare


@dataclass(frozen=True, eq=False)
class LimitedReward:
    """A reward of the body's own observations and of the actions that it receives, minus the cost of their change."""

    function: Reward
    body: LimitedBody

    def __call__(self, observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
        body, size = self.body, self.body.action_size
        applied, commands = body.command(observation, action)
        reward = self.function(body.sensed(observation), applied, body.sensed(next_observation), task)
        if body.limits.smoothness:
            change = commands[..., -size:] - observation[..., -size:]
            reward = reward - body.limits.smoothness * (change**2).sum()
        return reward


@dataclass(frozen=True, eq=False)
class LimitedTerminal:
    """A terminal function of the body's own observations, which also ends episodes outside their range."""

    function: Terminal
    body: LimitedBody

    def __call__(self, next_observation: Array, task: Array) -> Bool[Array, ""]:
        sensed, (low, high) = self.body.sensed(next_observation), self.body.observation_range
        return self.function(sensed, task) | jnp.any((sensed < low) | (sensed > high))


@dataclass(frozen=True, eq=False)
class LimitedAchieved:
    """What a step achieves, as a function of the body's own observations."""

    function: Achieved
    body: LimitedBody

    def __call__(self, observation: Array, next_observation: Array) -> Array:
        return self.function(self.body.sensed(observation), self.body.sensed(next_observation))


def limited(family: TaskFamily, limits: Limits, *, id: str | None = None) -> TaskFamily:
    """The same tasks for a body with limits, to `register` as a family of its own; the test family has them, too.

    Policies observe the newest commands beside the body's own observation. Reward and terminal function are those of
    the family: they are given the body's own observations, and the action that the body receives in that step. With
    noise or dropped observations they are given what the policy is given, since a robot measures nothing else and the
    learned models predict nothing else.

    Args:
        id: by default that of the family followed by `-limited`.

    Raises:
        OnebodyError: a limit does not fit the body, or the family has limits already.
    """
    if isinstance(family.body, LimitedBody):
        raise OnebodyError(f"family {family.id} has limits already: state all of them in one call of limited")
    body = LimitedBody(family.body, limits)
    if body.disturbed and is_single(body):
        raise OnebodyError(
            f"limits of {body.name}: noise and dropped observations are simulated, and a robot (copies=1) has its own; "
            "leave out observation_noise and dropped"
        )
    ranged = bool(limits.observation_low or limits.observation_high)
    text = "; ".join(body.describe())
    return replace(
        family,
        id=id or f"{family.id}-limited",
        body=body,
        reward=LimitedReward(family.reward, body),
        terminal=never if family.terminal is never and not ranged else LimitedTerminal(family.terminal, body),
        achieved=family.achieved and LimitedAchieved(family.achieved, body),
        test=family.test and limited(family.test, limits, id=f"{id}-test" if id else None),
        differs="; ".join(each for each in (family.differs, f"limits: {text}") if each),
    )


def is_single(body: Body | LimitedBody) -> bool:
    """Whether there is only one copy of the body, such as a robot: nothing may move it unasked."""
    return isinstance(inner := bare(body), GymnasiumBody) and inner.copies == 1


def unlimited(family: TaskFamily) -> TaskFamily:
    """The family without limits and without a test family."""
    fields = {"reward": family.reward, "terminal": family.terminal, "achieved": family.achieved}
    kinds = LimitedReward | LimitedTerminal | LimitedAchieved
    own: dict[str, Any] = {name: each.function if isinstance(each, kinds) else each for name, each in fields.items()}
    return replace(family, body=bare(family.body), test=None, **own)


def with_reward(family: TaskFamily, reward: Reward, **fields: Any) -> TaskFamily:
    """The family with another reward of the body's own observations, and other fields changed."""
    body = family.body
    return replace(family, reward=LimitedReward(reward, body) if isinstance(body, LimitedBody) else reward, **fields)


def in_one_process(family: TaskFamily) -> TaskFamily:
    """The family with Gymnasium environments, if it has them, in this process."""
    body = family.body
    if not isinstance(inner := bare(body), GymnasiumBody):
        return family
    inner = replace(inner, parallel=False)
    return replace(family, body=LimitedBody(inner, body.limits) if isinstance(body, LimitedBody) else inner)


def perceived(
    body: LimitedBody,
    key: Key,
    last: Float[Array, "*axes observation"],
    observation: Float[Array, "*axes observation"],
) -> Float[Array, "*axes observation"]:
    """What an imagined policy is given of an observation: noisy, or, if it is dropped, the last one again.

    The commands are known exactly. A model that is fitted to noisy observations predicts their mean, so that the noise
    is added once; the model goes on from its own prediction, not from what the policy is given.
    """
    noise_key, drop_key = jax.random.split(key)
    sensed = body.sensed(observation)
    noisy = sensed + body.noise * random.normal(noise_key, sensed.shape)
    dropped = random.uniform(drop_key, (*sensed.shape[:-1], 1)) < body.limits.dropped
    return jnp.concatenate([jnp.where(dropped, body.sensed(last), noisy), observation[..., body.n_sensed :]], axis=-1)
