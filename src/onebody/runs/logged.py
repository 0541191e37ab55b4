"""Logs of what a robot did, as the first data of a training run: read, checked against the family, and sampled."""

import dataclasses
import heapq
import itertools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from onebody.algorithms import presets
from onebody.algorithms.protocol import Algorithm, LearnsFromLogs
from onebody.core.errors import OnebodyError
from onebody.core.types import Transitions
from onebody.runs import logged_files
from onebody.runs.logged_files import FEATURES, Block
from onebody.tasks.body import GymnasiumBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.limits import bare
from onebody.worlds.simulator import START_BATCH, STARTS, Simulator

LIMIT = 1_000_000
"""default of the largest number of transitions that are kept"""
LONGEST = 1000
"""steps above which an episode is divided before it is sampled"""
PIECE = 65_536
"""transitions that are added to a state at once"""
N_STARTS = -(-STARTS // START_BATCH) * START_BATCH
"""initial states, as many as `Simulator.starts` gives"""
MAX_RATIO = 100.0
"""ratio of a feature's standard deviation in the logs to that in random steps, or its inverse, that is warned about"""
TOLERANCE = 1e-4
"""by which actions may exceed [-1, 1]"""
RANDOM_TASKS, RANDOM_EPISODES, RANDOM_STEPS = 4, 4, 20
"""size of the sample of random steps"""


class Logs(NamedTuple):
    """Transitions of logs that are kept, in their order."""

    kept: Block
    starts: Float[np.ndarray, "start observation"]
    """initial states of episodes, repeated where there are few"""
    total: int
    """transitions read"""
    sources: list[dict[str, Any]]
    """`source`, `sha256` and `transitions` of each log, for the run's record"""


def settings(algorithm: str, config: Any) -> Any:
    """A configuration with which the algorithm learns from logs alone.

    Raises:
        OnebodyError: the algorithm cannot learn from logs.
    """
    return dataclasses.replace(config, **changes(algorithm))


def changes(algorithm: str) -> dict[str, Any]:
    """The settings with which the algorithm learns from logs alone; errors as of `settings`."""
    return {**_alone(algorithm), "logged_transitions": LIMIT}


def takes_no_real_samples(algorithm: str, config: Any) -> bool:
    """Whether an algorithm that can learn from logs does so from them alone.

    Raises:
        OnebodyError: the algorithm cannot learn from logs.
    """
    return all(getattr(config, name) == value for name, value in _alone(algorithm).items())


def _alone(algorithm: str) -> Mapping[str, Any]:
    kind = presets.algorithm(algorithm)
    if not hasattr(kind, "with_logs"):
        raise OnebodyError(f"{algorithm} cannot learn from logs; {', '.join(presets.able('with_logs'))} can")
    return kind.logs_alone


def limit(algorithm: str, config: Any) -> int:
    """Largest number of logged transitions that are kept.

    Raises:
        OnebodyError: the algorithm cannot learn from logs, or keeps none.
    """
    alone = ", ".join(f"{name}={value}" for name, value in _alone(algorithm).items())
    if config.logged_transitions:
        return config.logged_transitions
    raise OnebodyError(
        "the configuration keeps no logged transitions: set logged_transitions, such as "
        f"dataclasses.replace(config, logged_transitions={LIMIT:_}), and {alone} for no real samples"
    )


def read(sources: Sequence[str], family: TaskFamily, limit: int, seed: int) -> Logs:
    """Read logs in one pass, of which at most `limit` transitions are kept: a uniform sample of whole episodes, or of
    parts of LONGEST steps of longer ones.

    Raises:
        OnebodyError: a log cannot be read, has no transitions, or is not of the family's body.
    """
    if family.physics is not None:
        raise OnebodyError(
            f"the dynamics of {family.id} vary with the task, and logs do not say the task of a step: train without "
            "--data"
        )
    if repeated := [each for each in sources if sources.count(each) > 1]:
        raise OnebodyError(f"--data {repeated[0]} is given twice")
    rng = np.random.default_rng(seed)
    parts, starts, records = _Sample(limit, rng), _Sample(N_STARTS, rng), []
    for source in sources:
        rows = 0
        for part, first in _parts(_checked(source, family), min(LONGEST, limit)):
            rows += len(part.ends)
            parts.offer(part, len(part.ends))
            if first:
                starts.offer(part.observation[0], 1)
        if not rows:
            raise OnebodyError(
                f"{source} has no transitions (without next_observation, the last row of each episode is none); leave "
                "it out"
            )
        records.append({"source": source, "sha256": logged_files.sha256(source), "transitions": rows})
    kept = Block(*(np.concatenate(each) for each in zip(*parts.items(), strict=True)))
    return Logs(kept, np.resize(starts.items(), (N_STARTS, kept.observation.shape[1])), parts.offered, records)


def begin(algorithm: Algorithm[Any], state: Any, logs: Logs) -> Any:
    """The state before the first iteration of a run that learns from logs."""
    assert isinstance(algorithm, LearnsFromLogs), "`settings` refuses the others"
    starts = jax.device_put(logs.starts)
    for i in range(0, len(logs.kept.ends), PIECE):
        observation, action, next_observation, ends = (
            jax.device_put(each[None, i : i + PIECE, None]) for each in logs.kept
        )
        nothing = np.zeros(ends.shape, np.float32)
        rows = Transitions(observation, action, jax.device_put(nothing), next_observation, ends & False, ends)
        state = algorithm.with_logs(state, rows, starts)
    return state


def report(logs: Logs, family: TaskFamily, quiet: bool) -> None:
    """Say on stderr what may be wrong with logs and, unless `quiet`, how many of their transitions are kept."""
    if not quiet:
        kept = len(logs.kept.ends)
        sampled = "" if kept == logs.total else f", of which a sample of {kept:,} is kept"
        print(f"onebody: {logs.total:,} transitions are read from logs{sampled}", file=sys.stderr)
    for warning in unusual(family, logs.kept.observation):
        print(f"onebody: {warning}", file=sys.stderr)


def unusual(family: TaskFamily, observations: Float[np.ndarray, "row observation"]) -> Iterator[str]:
    """A line for each feature whose standard deviation is far from that in random steps of the family's simulation.

    A Gymnasium environment, which may be a robot, is not moved for this.
    """
    if isinstance(bare(family.body), GymnasiumBody):
        return
    simulator, rng = Simulator(family), np.random.default_rng(0)
    tasks, keys = family.space.held_out(RANDOM_TASKS), jax.random.split(jax.random.key(0), RANDOM_TASKS)
    age, observation = simulator.reset(tasks, RANDOM_EPISODES, keys[: len(tasks)])
    seen = [observation]
    for _ in range(RANDOM_STEPS):
        action = rng.uniform(-1, 1, (*age.shape, family.body.action_size)).astype(np.float32)
        age, observation, _ = simulator.step(age, observation, action)
        seen.append(observation)
    usual = np.stack(seen).std(axis=(0, 1, 2), dtype=np.float64)
    for label, there, here in zip(family.body.labels, observations.std(axis=0, dtype=np.float64), usual, strict=True):
        if min(there, here) > 1e-6 and not 1 / MAX_RATIO < there / here < MAX_RATIO:
            yield (
                f"the logs' {label} has a standard deviation of {there:.2g}, and one of {here:.2g} in random steps of "
                f"{family.id}: check its unit"
            )


def _checked(source: str, family: TaskFamily) -> Iterator[Block]:
    """The blocks of a log; raises OnebodyError for rows that are not of the family's body."""
    body = family.body
    sizes = dict(zip(FEATURES, (body.observation_size, body.action_size, body.observation_size), strict=True))
    for block, row, next_row in logged_files.blocks(source):
        for name, size in sizes.items():
            values = getattr(block, name)
            if values.shape[1] != size:
                lacks = name != "action" and values.shape[1] == bare(body).observation_size
                why = "it lacks the newest commands (docs/logs.md)" if lacks else "it is of another body"
                raise OnebodyError(
                    f"{source}: {name} has {values.shape[1]} numbers, and that of {family.id} has {size}: {why}"
                )
            wrong = ~np.isfinite(values) if name != "action" else ~(np.abs(values) <= 1 + TOLERANCE)
            if not wrong.any():
                continue
            i, column = np.argwhere(wrong)[0].tolist()
            value, label = values[i, column], "" if name == "action" else f" ({body.labels[column]})"
            at = next_row[i] if name == "next_observation" else row[i]
            held = name if at == row[i] else "observation"
            place = f"{source}: {held} column {column}{label} is {value:g} in row {at}"
            if not math.isfinite(value):
                raise OnebodyError(f"{place}, which is not finite: leave out the episodes with such rows")
            raise OnebodyError(
                f"{place}, and logs must hold actions in [-1, 1]: scale each one from its range by "
                "2 * (action - low) / (high - low) - 1"
            )
        yield block


def _parts(blocks: Iterator[Block], longest: int) -> Iterator[tuple[Block, bool]]:
    """The episodes of a log, the long ones in parts; also whether each part is the first of its episode."""
    rest: Block | None = None
    first = True
    for block in itertools.chain(blocks, [None]):
        if block is None:
            if rest is None:
                return
            rows, cuts = rest, [len(rest.ends)]  # the log ends its last episode
        else:
            rows = block if rest is None else Block(*map(np.concatenate, zip(rest, block, strict=True)))
            cuts = (np.flatnonzero(rows.ends) + 1).tolist()
        begin = 0
        for cut in cuts:
            while begin < cut:
                end = min(cut, begin + longest)
                yield _part(rows, begin, end), first
                begin, first = end, end == cut
        while len(rows.ends) - begin > longest:
            yield _part(rows, begin, begin + longest), first
            begin, first = begin + longest, False
        rest = Block(*(each[begin:] for each in rows))


def _part(rows: Block, begin: int, end: int) -> Block:
    """Some rows, the last of which ends."""
    part = Block(*(each[begin:end] for each in rows))
    return part._replace(ends=np.arange(begin, end) == end - 1)


class _Sample:
    """A uniform sample of items, of which as many are kept as fit into a limit (reservoir sampling): those that come
    first in a random order."""

    def __init__(self, limit: int, rng: np.random.Generator):
        self.offered = 0
        """total size of the items so far"""
        self._limit, self._rng, self._bound, self._size = limit, rng, math.inf, 0
        self._kept: list[tuple[float, int, int, Any]] = []

    def offer(self, item: Any, size: int) -> None:
        place, order = self.offered, self._rng.random()
        self.offered += size
        if order >= self._bound:
            return
        copied = jax.tree.map(np.array, item)  # not a view of a whole block
        heapq.heappush(self._kept, (-order, place, size, copied))
        self._size += size
        while self._size > self._limit:
            order, _, size, _ = heapq.heappop(self._kept)
            self._bound, self._size = -order, self._size - size

    def items(self) -> list[Any]:
        """The items that are kept, in the order in which they were offered."""
        return [item for _, _, _, item in sorted(self._kept, key=lambda each: each[1])]
