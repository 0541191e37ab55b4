"""Limits of a body: bounds and rate of its actions, latency, range and noise of its observations.

Needs NumPy alone, since saved policies use it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from onebody.core.errors import OnebodyError, did_you_mean, whole

if TYPE_CHECKING:
    from onebody.tasks.body import ActionRange, Body

PerAction = float | tuple[float, ...]
"""one number for all numbers of an action, or one for each"""
ByNumber = Mapping[str | int, float] | tuple[tuple[str | int, float], ...]
"""values by label or index of numbers of an observation; the others have none"""

CLIPPED_SLOPE = 0.3
"""derivative of a command by an action that the rate has clipped, in place of 0, which would teach nothing to a policy
whose actions jump"""


@dataclass(frozen=True)
class Limits:
    """What a body can do and perceive. Actions and their limits are in [-1, 1], as policies give them.

    At each control step the action of the policy is clipped to within `action_rate` of the command before, and to the
    bounds: that is the command. It takes effect `latency` steps later: a simulated body receives it then; a robot
    (`copies=1`) is sent it at once, since it has this latency itself. Commands before the start of an episode are 0, or
    the bound nearest to 0.
    """

    action_low: PerAction = -1.0
    action_high: PerAction = 1.0
    """bounds of the commands; torque limits, where an action is a torque"""
    action_rate: PerAction | None = None
    """largest change of the command from one control step to the next; None: no limit"""
    latency: int = 0
    """control steps from a command to its effect"""
    smoothness: float = 0.0
    """coefficient of the squared change of the command, summed over its numbers, which is subtracted from the reward"""
    observation_low: ByNumber = ()
    observation_high: ByNumber = ()
    """range of numbers of the observation, such as positions, by label or index; an episode terminates outside it"""
    observation_noise: float | ByNumber = 0.0
    """standard deviation of the Gaussian noise on observations, in their units: one for all numbers, or by label or
    index"""
    dropped: float = 0.0
    """probability that an observation does not arrive, so that the policy is given the one before again"""

    def __post_init__(self) -> None:
        for name in ("observation_low", "observation_high", "observation_noise"):
            if isinstance(value := getattr(self, name), Mapping):  # as pairs, so that equal limits have equal hashes
                object.__setattr__(self, name, tuple(value.items()))
        for name in ("action_low", "action_high", "action_rate"):
            if np.ndim(value := getattr(self, name)):
                object.__setattr__(self, name, tuple(np.ravel(value).tolist()))
        object.__setattr__(self, "latency", whole("limits: latency", self.latency))
        if self.latency < 0:
            raise OnebodyError(f"limits: latency must be 0 control steps or more, not {self.latency}")
        if not 0 <= self.dropped < 1:
            raise OnebodyError(f"limits: dropped is a probability, at least 0 and below 1, not {self.dropped!r}")
        if not 0 <= self.smoothness < np.inf:
            raise OnebodyError(f"limits: smoothness must be 0 or more, and finite, not {self.smoothness!r}")

    @property
    def n_commands(self) -> int:
        """Number of past commands that the next observation and reward depend on."""
        return max(self.latency, int(self.action_rate is not None or self.smoothness > 0))


@dataclass(frozen=True)
class LimitedBody:
    """A body with limits. Its observation is that of the body, followed by the newest commands, the oldest first.

    The commands make observations Markov again: with them, the next observation and the reward follow from observation
    and action. `command` computes them exactly, in the simulator, in learned models and in saved policies.

    Raises:
        OnebodyError: a limit has the wrong size, or no number of the observation has a label that is named.
    """

    body: "Body"
    limits: Limits

    def __post_init__(self) -> None:
        limits, name = self.limits, self.body.name
        if not ((self.low >= -1).all() and (self.low < self.high).all() and (self.high <= 1).all()):
            raise OnebodyError(f"limits of {name}: action_low must be below action_high, both within [-1, 1]")
        if not (self.rate > 0).all():
            raise OnebodyError(f"limits of {name}: action_rate must be above 0, not {limits.action_rate}")
        if not (np.isfinite(self.noise).all() and (self.noise >= 0).all()):
            raise OnebodyError(f"limits of {name}: observation_noise must be 0 or more, and finite")
        low, high = self.observation_range
        if not (low < high).all():
            raise OnebodyError(f"limits of {name}: observation_low must be below observation_high")

    @property
    def name(self) -> str:
        return self.body.name

    @property
    def dt(self) -> float:
        """seconds per control step"""
        return self.body.dt

    @property
    def n_sensed(self) -> int:
        """Size of the body's own observation, without the commands."""
        return self.body.observation_size

    @property
    def observation_size(self) -> int:
        return self.n_sensed + self.limits.n_commands * self.action_size

    @property
    def action_size(self) -> int:
        return self.body.action_size

    @property
    def action_ranges(self) -> "tuple[ActionRange, ...]":
        """For each number of an action: what -1 and 1 are scaled to, without the limits."""
        return self.body.action_ranges

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Name of each number of an observation, with its unit if that is known."""
        n = self.limits.n_commands
        steps = [f"{i} step{'s' * (i > 1)} before" for i in range(n, 0, -1)]
        return (*self.body.labels, *(f"command {i + 1}, {ago}" for ago in steps for i in range(self.action_size)))

    @cached_property
    def low(self) -> np.ndarray:
        """Lower bound of each number of a command."""
        return self._per_action("action_low", self.limits.action_low)

    @cached_property
    def high(self) -> np.ndarray:
        """Upper bound of each number of a command."""
        return self._per_action("action_high", self.limits.action_high)

    @cached_property
    def rate(self) -> np.ndarray:
        """Largest change of each number of a command per control step."""
        rate = self.limits.action_rate
        return self._per_action("action_rate", np.inf if rate is None else rate)

    @cached_property
    def noise(self) -> np.ndarray:
        """Standard deviation of the noise on each number of the body's own observation."""
        noise = self.limits.observation_noise
        if isinstance(noise, int | float):
            return np.full(self.n_sensed, noise, np.float32)
        return self._by_number("observation_noise", noise, 0.0)

    @cached_property
    def observation_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest value of each number of the body's own observation, infinite without one."""
        low, high = self.limits.observation_low, self.limits.observation_high
        return self._by_number("observation_low", low, -np.inf), self._by_number("observation_high", high, np.inf)

    @cached_property
    def rest(self) -> np.ndarray:
        """The commands [n_commands · action] at the start of an episode."""
        return np.tile(np.clip(np.float32(0), self.low, self.high), self.limits.n_commands)

    @property
    def disturbed(self) -> bool:
        """Whether observations are noisy, or may be dropped."""
        return bool(self.noise.any()) or self.limits.dropped > 0

    def sensed(self, observation: Any) -> Any:
        """The body's own part of observations [..., observation]."""
        return observation[..., : self.n_sensed]

    def command(self, observation: Any, action: Any) -> tuple[Any, Any]:
        """What the body receives in this step, and the commands that the next observation ends with.

        Gradients flow from both to action and commands; where the rate clips an action, that to the action is
        CLIPPED_SLOPE.

        Args:
            observation: [..., observation], NumPy or JAX as the action.
            action: of the policy, [..., action].

        Returns:
            The action [..., action] that the body receives, and the new commands [..., n_commands · action].
        """
        array, size, n = action.__array_namespace__(), self.action_size, self.limits.n_commands
        commands = observation[..., self.n_sensed :]
        last = commands[..., -size:] if n else array.zeros_like(action)
        new = limited_command(action, last, self.low, self.high, self.rate)
        if self.limits.action_rate is not None and array is not np:
            new = _with_slope(new, array.clip(action, self.low, self.high))
        every = array.concat([commands, new], axis=-1)
        begin = (n - self.limits.latency) * size
        return every[..., begin : begin + size], every[..., size:]

    def arrays(self) -> dict[str, np.ndarray]:
        """What a saved policy needs to keep the limits of its actions, by name."""
        return {
            "command_low": self.low,
            "command_high": self.high,
            "command_rate": self.rate,
            "commands": np.asarray(self.rest, np.float32),
        }

    def describe(self) -> tuple[str, ...]:
        """The limits as phrases."""
        return tuple(self._phrases())

    def _phrases(self) -> Iterator[str]:
        limits = self.limits
        if limits.action_low != -1.0 or limits.action_high != 1.0:
            yield f"actions within [{_text(self.low)}, {_text(self.high)}]"
        if limits.action_rate is not None:
            yield f"actions change by at most {_text(self.rate)} per control step"
        if limits.latency:
            yield f"an action takes effect after {limits.latency} control step{'s' * (limits.latency > 1)}"
        if limits.smoothness:
            yield f"the reward has {limits.smoothness:g} times the squared change of the action subtracted"
        for label, low, high in zip(self.body.labels, *self.observation_range, strict=True):
            if np.isfinite([low, high]).any():
                yield f"an episode terminates where {label} is outside [{low:g}, {high:g}]"
        if self.noise.any():
            yield f"observations have noise of standard deviation {_text(self.noise)}"
        if limits.dropped:
            yield f"an observation is dropped with probability {limits.dropped:g}"

    def _per_action(self, name: str, value: Any) -> np.ndarray:
        size = self.body.action_size
        if np.shape(value) not in ((), (size,)):
            raise OnebodyError(f"limits of {self.body.name}: {name} is one number, or {size}, not {value!r}")
        return np.broadcast_to(np.asarray(value, np.float32), (size,))

    def _by_number(self, name: str, pairs: Any, otherwise: float) -> np.ndarray:
        labels = self.body.labels
        values = np.full(len(labels), otherwise, np.float32)
        for key, value in pairs:
            if isinstance(key, str) and key not in labels:
                raise OnebodyError(
                    f"limits of {self.body.name}: {name} names {key!r}, no number of its observation"
                    f"{did_you_mean(key, labels)}"
                )
            if not isinstance(key, str) and not 0 <= key < len(labels):
                raise OnebodyError(f"limits of {self.body.name}: {name} names number {key} of {len(labels)}")
            values[labels.index(key) if isinstance(key, str) else key] = value
        return values


def limited_command(action: Any, last: Any, low: Any, high: Any, rate: Any) -> Any:
    """The command [..., action]: the action clipped to within `rate` of the last command, and then to [low, high]."""
    array = action.__array_namespace__()
    return array.clip(array.clip(action, last - rate, last + rate), low, high)


def _with_slope(command: Any, wanted: Any) -> Any:
    """The command, with a gradient where it is not the wanted one. Arrays of JAX."""
    from jax.lax import stop_gradient

    return command + CLIPPED_SLOPE * (command != wanted) * (wanted - stop_gradient(wanted))


def bare(body: "Body | LimitedBody") -> "Body":
    """A body without its limits."""
    return body.body if isinstance(body, LimitedBody) else body


def _text(values: np.ndarray) -> str:
    """Numbers as a text, or one number if all are equal."""
    return f"{values[0]:g}" if (values == values[0]).all() else f"({', '.join(f'{x:g}' for x in values)})"
