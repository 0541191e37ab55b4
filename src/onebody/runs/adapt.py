"""Policies for single tasks from a run, and what is said of each: predicted, reached, untrained, a warning."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from onebody.algorithms.protocol import Adapted, Refining
from onebody.core.errors import OnebodyError
from onebody.core.types import Key
from onebody.learning.policies import Policy
from onebody.runs import folder, policy_file
from onebody.runs.evaluate import HELD_OUT, interval, key_of, predicted, real_return, stages_of
from onebody.tasks.family import Reward, TaskFamily
from onebody.tasks.space import TaskSpace
from onebody.worlds.check import check

NOVEL = 2.0
"""disagreement of the models, over what is usual on their data, above which a prediction has a warning"""


@dataclass(frozen=True)
class AdaptedPolicy:
    """A policy for one task, what it is expected to reach, and what it reaches."""

    task: np.ndarray
    predicted_return: float
    """mean imagined return of the deterministic policy; of an ensemble, the median over its members"""
    predicted_interval: tuple[float, float] | None
    """where the real return is expected; None of an algorithm that has one model alone"""
    real_return: float
    """mean real return of ten episodes of the deterministic policy"""
    untrained_return: float
    """the same of a policy before any training"""
    adaptation_samples: int
    """real samples of this task that adaptation used"""
    warning: str
    """why the policy may not be what was asked for, or its prediction may not hold; else empty"""
    policies: Policy
    """one policy, stacked"""

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """The deterministic action [..., action] in [-1, 1] for observations [..., observation]."""
        return self._actor(observation)

    @functools.cached_property
    def _actor(self) -> Callable[[Any], np.ndarray]:
        return policy_file.actor(policy_file.arrays(self.policies, self.task))

    def save(self, path: Path | str) -> Path:
        """Write it for `onebody.load_policy`, which needs NumPy alone."""
        return policy_file.save(self.policies, self.task, Path(path))


def adapt_many(
    run: Path | str,
    tasks: Sequence[Any],
    *,
    stages: int = 0,
    refine: float = 0.0,
    reward: Reward | None = None,
    extrapolate: bool = False,
) -> list[AdaptedPolicy]:
    """Policies for new tasks from a run's last checkpoint.

    Args:
        stages: of adaptation, each with real samples of each task.
        refine: seconds of practice inside the model for each task alone, without a real sample.
        reward: another one than the family's: a `jnp` function of (observation, action, next observation, task). A task
            is then where its practice begins.

    Raises:
        OnebodyError: no run or checkpoint; a task outside the family's space without `extrapolate`; a reward that is
            wrong; `refine` of an algorithm that cannot, or beside `stages`.
    """
    if stages < 0 or refine < 0 or (stages and refine):
        raise OnebodyError(f"--stages and --refine are at least 0, and one of them is 0, not {stages} and {refine}")
    run = Path(run)
    record = folder.read_config(run)
    algorithm = _refining(record) if refine or reward is not None else folder.build(record, tested=True)
    family = algorithm.family if reward is None else _rewarded(algorithm.family, reward)
    values = jnp.stack([family.parse(task, extrapolate) for task in tasks])
    before = folder.untrained(record)
    found = folder.last(run, record, before)
    state = found.state
    nothing = "" if found.iteration else f"nothing was trained, for no iteration is finished: onebody resume {run}"
    if isinstance(algorithm, Refining) and reward is not None:
        algorithm, state = algorithm.rewarded(state, family)
    key, drawn_from = key_of(record["seed"]), folder.family_of(record).space
    ((untrained, _),) = stages_of(algorithm, before, values, 0, record["seed"])
    if refine:
        each = [_refined(algorithm, state, value, key, refine) for value in values]
        adapted, used = _beside(each), 0
    else:
        *_, (adapted, used) = stages_of(algorithm, state, values, stages, record["seed"])
    unseen = not algorithm.task_is_known and used == 0 and drawn_from.size > 0
    untrained_return, reached = (real_return(family, each.policies, values).mean(1) for each in (untrained, adapted))
    return [
        AdaptedPolicy(
            task=np.asarray(values[i]),
            predicted_return=predicted(adapted, i),
            predicted_interval=interval(adapted, i),
            real_return=float(reached[i]),
            untrained_return=float(untrained_return[i]),
            adaptation_samples=used,
            warning="; ".join(_warnings(drawn_from, values[i], adapted, i, unseen, nothing)),
            policies=jax.tree.map(lambda x, i=i: x[i : i + 1], adapted.policies),
        )
        for i in range(len(values))
    ]


def adapt(
    run: Path | str,
    task: Any = None,
    *,
    stages: int = 0,
    refine: float | None = None,
    reward: Reward | None = None,
    extrapolate: bool = False,
) -> AdaptedPolicy:
    """A policy for one new task, or for another reward; see `adapt_many`.

    Args:
        task: left out for a reward: then the practice begins at the held-out task whose policy has most of it in the
            model. Left out, too, of a family that is a single task.
        refine: seconds of practice; by default 20 for a reward, else none.

    Raises:
        OnebodyError: as `adapt_many`, and where a task is needed.
    """
    if refine is None:
        refine = 0.0 if reward is None else 20.0
    if task is None and reward is None and folder.family_of(folder.read_config(Path(run))).space.size:
        raise OnebodyError("adapt needs a task, as in: task=1.3")
    if task is None:
        task = () if reward is None else _nearest(Path(run), reward)
    return adapt_many(run, [task], stages=stages, refine=refine, reward=reward, extrapolate=extrapolate)[0]


def _refining(record: dict[str, Any]) -> Refining:
    algorithm = folder.build(record, tested=True)
    if not isinstance(algorithm, Refining):
        raise OnebodyError(f"{record['algorithm']} cannot refine a policy inside its model: use stages, or train omni")
    return algorithm


def _rewarded(family: TaskFamily, reward: Reward) -> TaskFamily:
    """The family where its reward is another.

    Raises:
        OnebodyError: the reward is wrong; it says how.
    """
    asked = dataclasses.replace(family, id=f"{family.id}-rewarded", reward=reward, test=None)
    check(asked)
    return asked


def _nearest(run: Path, reward: Reward) -> Array:
    """The held-out task whose policy has most of a reward in the model."""
    record = folder.read_config(run)
    algorithm = _refining(record)
    asked = _rewarded(algorithm.family, reward)
    algorithm, state = algorithm.rewarded(folder.last(run, record, folder.untrained(record)).state, asked)
    tasks = HELD_OUT.of(asked)
    ((adapted, _),) = stages_of(algorithm, state, tasks, 0, record["seed"])
    return tasks[np.argmax([predicted(adapted, i) for i in range(len(tasks))])]


def _refined(algorithm: Any, state: Any, task: Array, key: Key, seconds: float) -> Adapted:
    """The last policy that practice has brought when the time is over."""
    began, policies = time.monotonic(), algorithm.refine(state, task, key)
    adapted = next(policies)
    while time.monotonic() - began < seconds:
        adapted = next(policies)
    return adapted


def _beside(each: Sequence[Adapted]) -> Adapted:
    """Adaptations to single tasks as one to all of them."""
    return jax.tree.map(lambda *x: jnp.concatenate(x), *each)


def _warnings(space: TaskSpace, task: Array, adapted: Adapted, i: int, unseen: bool, nothing: str) -> Iterator[str]:
    """`nothing`: that nothing was trained; empty if something was."""
    if nothing:
        yield nothing
    if unseen:
        yield "the task is hidden and nothing was seen of it: --stages N adapts to it with real samples"
    if not space.contains(task):
        yield f"the task is outside {space.bounds}, which training drew from"
    elif not nothing and adapted.novelty is not None and float(adapted.novelty[i]) > NOVEL:
        times = float(adapted.novelty[i])
        yield f"the policy goes where the models disagree {times:.1f} times as much as on their data"
