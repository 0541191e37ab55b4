"""One robot, or one simulator process: an environment of which there is only one, with its clock and its journal.

A process has at most one such environment at a time. It is made at its first reset, and closed by `release`, by another
one, or when the process ends.
"""

import atexit
import gc
import math
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from onebody.core.errors import BodyFailed, EmergencyStop, NotFinite, OnebodyError
from onebody.tasks.body import Body, GymnasiumBody
from onebody.tasks.limits import LimitedBody, bare
from onebody.worlds.engines import running
from onebody.worlds.refusals import environment_error, first_line

IN_USE = threading.RLock()
"""held while the environment is used: of several threads and simulators, one at a time"""


class Entry(NamedTuple):
    """What the robot did: a reset, a step, or the end of an episode before its next step."""

    kind: Literal["reset", "step", "stop"]
    observation: np.ndarray | None = None
    """after it, [observation]"""
    action: np.ndarray | None = None
    """of a step, [action], as the policy gave it"""
    ended: bool = False
    """whether the environment ended its episode in this step"""


class Journal(Protocol):
    """A record of what the robot did, which is also on the disk."""

    recorded: deque[Entry]
    """what an earlier process recorded and this one has not yet repeated"""

    def append(self, entry: Entry) -> None:
        """Record what the robot has just done."""
        ...

    def sync(self) -> None:
        """Called when there is time, before a reset."""
        ...


@dataclass
class Timing:
    """What happened in real time since the last call of `metrics`."""

    steps: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    late: int = 0
    dropped: int = 0
    stops: int = 0

    def metrics(self, real_time: bool) -> dict[str, float | int]:
        """The metrics of an iteration; `real/dt` is NaN where all of its steps come from a journal."""
        counts: dict[str, float | int] = {"real/dropped": self.dropped, "real/stops": self.stops}
        if not real_time:
            return counts
        mean = self.seconds / self.steps if self.steps else math.nan
        return {"real/dt": mean, "real/dt_longest": self.longest, "real/late": self.late, **counts}


class Robot:
    """The engine for a body with one copy (see `engines.Engine`). With a journal, it repeats what is recorded there
    before the robot moves."""

    def __init__(self, body: Body | LimitedBody):
        self._limited, own = (body if isinstance(body, LimitedBody) else None), bare(body)
        assert isinstance(own, GymnasiumBody)
        self.body, self.ended = own, np.zeros(1, bool)
        self.journal: Journal | None = None
        self.whole = False
        """whether an episode that is stopped is repeated from its reset, because a part of it measures no return"""
        self.timing = Timing()
        self._environment: _Environment | None = None
        self._observed, self._differs = 0.0, False
        self._last = np.zeros(0, np.float32)
        self._low, self._high = (np.array(bound, np.float32) for bound in (own.action_low, own.action_high))
        self._center, self._scale = (self._high + self._low) / 2, (self._high - self._low) / 2

    def set_physics(self, fields: Any) -> None:
        raise OnebodyError(f"body {self.body.name}: only a MuJoCo body can have physics that vary with the task")

    def reset(self, rows: np.ndarray, draws: list[tuple[np.random.Generator, int]]) -> np.ndarray:
        """Start an episode; waits for as long as the environment's `reset` does, such as for a person."""
        seed = int(draws[0][0].integers(2**31))
        self.ended[:] = False
        if (entry := self._repeated("reset")) is None:
            if self.journal is not None:
                self.journal.sync()
            self._environment = _opened(self.body)
            with running(self.body, "its environment"):
                returned = self._environment.env.reset(seed=seed)
            with self._reading("reset", "(observation, info)"):
                observation, _ = returned
                observation = self._checked(observation)
            rest = () if self._limited is None else self._limited.rest
            if not np.isfinite(observation).all():
                raise BodyFailed(f"body {self.body.name}: the first observation of an episode is not finite")
            entry = Entry("reset", np.append(observation, np.array(rest, np.float32)))
            self._record(entry)
            self._observed = time.perf_counter()
        assert entry.observation is not None
        self._last = entry.observation
        return entry.observation[None]

    def close(self) -> None:
        """Close the environment, if this has been reset and no other environment has been made since then."""
        if self._environment is not None and self._environment is _open:
            release()

    def step(self, action: np.ndarray) -> np.ndarray:
        """As `act`, for an action [1, action] that nothing else needs to know."""
        return self.act(action)[1]

    def act(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One control step; returns the action [..., action] and the observation [1, observation] after it.

        The action is the one given, or that of the journal, where the step is repeated from it.

        Raises:
            EmergencyStop: the episode has ended before this step.
            NotFinite: the action is not finite.
            BodyFailed: the environment raises something else, takes longer than its `timeout`, or returns something
                other than Gymnasium's five values.
        """
        if self.ended[0]:
            raise OnebodyError(f"body {self.body.name}: the environment ended its episode; call reset first")
        self.ended[:] = True  # after an exception, too, the next call of the environment is reset
        if (entry := self._repeated("step")) is None:
            entry = self._live_step(action)
        assert entry.action is not None and entry.observation is not None
        if not self._differs and (entry.action != np.array(action, np.float32).reshape(-1)).any():
            self._differs = True
            print(
                f"onebody: body {self.body.name}: the policy's actions differ from the recorded ones, which are used: "
                "another machine, or another version?",
                file=sys.stderr,
            )
        self.ended[0], self._last = entry.ended, entry.observation
        return entry.action.reshape(action.shape), entry.observation[None]

    def _live_step(self, action: np.ndarray) -> Entry:
        if self._environment is None or self._environment is not _open:
            raise OnebodyError(f"body {self.body.name}: its environment was closed in the meantime; call reset first")
        environment, own = self._environment, np.array(action, np.float32).reshape(-1)
        applied, commands = np.clip(own, -1.0, 1.0), own[:0]
        if self._limited is not None:
            applied, commands = self._limited.command(self._last, applied)
            applied = commands[-len(own) :] if len(commands) else applied  # at once: the robot has its own latency
        command = np.clip(self._center + self._scale * applied, self._low, self._high)  # rounding may exceed them
        if not (np.isfinite(own).all() and np.isfinite(command).all()):
            raise NotFinite(f"body {self.body.name}: the policy's action is not finite")
        late = time.perf_counter() - self._observed > self.body.dt
        try:
            returned = environment.step(command)
        except EmergencyStop:
            self.timing.stops += 1
            self._record(Entry("stop"))
            raise
        now = time.perf_counter()
        period, self._observed, timing = now - self._observed, now, self.timing
        timing.steps, timing.seconds, timing.late = timing.steps + 1, timing.seconds + period, timing.late + late
        timing.longest = max(timing.longest, period)
        with self._reading("step", "(observation, reward, terminated, truncated, info)"):
            observation, _, terminated, truncated, info = returned
            timing.dropped += bool(info.get("dropped"))
            after = np.append(self._checked(observation), commands)
            entry = Entry("step", after, own, bool(terminated or truncated))
        if np.isfinite(after).all():  # otherwise training ends here, and the step is not repeated
            self._record(entry)
        return entry

    @contextmanager
    def _reading(self, call: str, form: str) -> Iterator[None]:
        """Converts what is raised when values of another form are read into BodyFailed."""
        try:
            yield
        except OnebodyError:
            raise
        except Exception as error:
            raise BodyFailed(
                f"body {self.body.name}: {call} of its environment must return {form}: {first_line(error)}"
            ) from error

    def _checked(self, observation: Any) -> np.ndarray:
        observation = np.array(observation, np.float32)
        if observation.shape != (self.body.observation_size,):
            raise BodyFailed(
                f"body {self.body.name}: its environment gives an observation of shape {observation.shape}, not "
                f"({self.body.observation_size},)"
            )
        return observation

    @property
    def repeats(self) -> bool:
        """Whether its journal holds more that is repeated without a move."""
        return self.journal is not None and bool(self.journal.recorded)

    def _record(self, entry: Entry) -> None:
        if self.journal is not None:
            self.journal.append(entry)

    def _repeated(self, kind: Literal["reset", "step"]) -> Entry | None:
        """The journal's next entry if there is one, which is then repeated in place of a call of the environment.

        Raises EmergencyStop where the journal has the end of the episode in place of a step.
        """
        recorded = self.journal.recorded if self.journal is not None else deque[Entry]()
        if kind == "step" and recorded and recorded[0].kind != "step":
            if recorded[0].kind == "stop":
                recorded.popleft()
            raise EmergencyStop
        skipped = 0
        while recorded and recorded[0].kind != kind:
            skipped += recorded.popleft().kind == "step"
        if skipped:
            print(
                f"onebody: body {self.body.name}: {skipped} recorded steps are not used, because episodes end earlier "
                "than when they were recorded: another version of the family or of a package?",
                file=sys.stderr,
            )
        return recorded.popleft() if recorded else None


class _Environment:
    """The environment of a body. With a `timeout`, its `step` is called in a thread of its own, so that one that hangs
    can be given up."""

    def __init__(self, body: GymnasiumBody):
        self.body = body
        with running(body, "its environment"):
            self.env = body.make()
        self._calls: queue.SimpleQueue[tuple[Future[Any], np.ndarray] | None] = queue.SimpleQueue()
        self._last: Future[Any] = Future()
        self._last.set_result(None)
        if body.timeout is not None:
            threading.Thread(target=self._work, daemon=True).start()

    def step(self, action: np.ndarray) -> tuple[Any, ...]:
        """Raises EmergencyStop if the environment does, otherwise BodyFailed."""
        with running(self.body, "its environment"), suppress(EmergencyStop):
            if self.body.timeout is None:
                return self.env.step(action)
            self._last = Future()
            self._calls.put((self._last, action))
            if wait([self._last], self.body.timeout).not_done:
                raise BodyFailed(f"body {self.body.name}: a step of its environment takes over {self.body.timeout:g} s")
            return self._last.result()
        raise EmergencyStop

    @property
    def in_step(self) -> bool:
        """Whether its thread is still in `step`, which hangs."""
        return not self._last.done()

    def close(self) -> bool:
        """Close the environment after the step under way; one that hangs is left as it is. Returns whether it is
        closed."""
        returned = not wait([self._last], self.body.timeout).not_done
        if returned:
            try:
                self.env.close()
            except Exception as error:
                print(f"onebody: body {self.body.name}: close raises {environment_error(error)}", file=sys.stderr)
        self._calls.put(None)
        return returned

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            future, action = call
            try:
                future.set_result(self.env.step(action))
            except BaseException as error:
                future.set_exception(error)


_open: _Environment | None = None
_hung: _Environment | None = None
"""one that `release` could not close, because its step hangs"""


def _opened(body: GymnasiumBody) -> _Environment:
    """The body's environment; closes that of another body."""
    global _open
    if _open is None or _open.body is not body or _open.in_step:
        make_room()
        _open = _Environment(body)
    return _open


def make_room() -> None:
    """Close the environment of which there is only one, so that another one can be made.

    Raises:
        BodyFailed: a step of it hangs, and does not return within the `timeout` either.
    """
    global _hung
    release()
    if _hung is not None:
        if not _hung.close():
            raise BodyFailed(f"body {_hung.body.name}: a step of its environment still hangs; start a new process")
        _hung = None


def release() -> None:
    """Close the environment of which there is only one, if it has been made and its step does not hang."""
    global _open, _hung
    if _open is not None and not _open.close():  # where this is interrupted, the next call closes it
        _hung = _open
    _open = None


atexit.register(release)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Python collects garbage before the block and not in it: with JAX, that takes as long as several control steps."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def released() -> Iterator[None]:
    """The environment is closed at the end of the block."""
    try:
        yield
    finally:
        try:
            release()
        finally:
            release()  # after a second Ctrl-C, which has interrupted the first call
