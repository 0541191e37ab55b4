"""Policies for single tasks from a run, and what is said of each: predicted, reached, untrained, a warning."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from onebody.algorithms.protocol import Adapted, Algorithm, Refining
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
REWARD_SECONDS = 60.0
"""of practice for a reward of the user's own, unless said otherwise"""


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
    refine_updates: int
    """updates of the policy inside the model for this task alone, with `refine`"""
    predicted_before: float
    """predicted return of the policy before these updates, for the same reward"""
    warning: str
    """why the policy may not be what was asked for, or its prediction may not hold; else empty"""
    policies: Policy
    """one policy, stacked"""

    def __call__(self, observation: np.ndarray, *last: Any) -> np.ndarray:
        """The deterministic action [..., action] in [-1, 1] for observations [..., observation]. A policy with memory
        is told, after its first action, also the last step's reward and whether it ended an episode."""
        return self._actor(observation, *last)

    @property
    def practice(self) -> str:
        """What `refine` has improved, in words; empty where it has improved nothing."""
        if not self.refine_updates or not self.predicted_return > self.predicted_before:
            return ""
        before, after = f"{self.predicted_before:,.1f}", f"{self.predicted_return:,.1f}"
        return f"optimised for {self.refine_updates:,} updates: predicted return from {before} to {after}"

    @functools.cached_property
    def _actor(self) -> Callable[..., np.ndarray]:
        return policy_file.actor(policy_file.arrays(self.policies, self.task))

    def save(self, path: Path | str) -> Path:
        """Write it for `onebody.load_policy`, which needs NumPy alone."""
        return policy_file.save(self.policies, self.task, Path(path))


def adapt_many(
    run: Path | str,
    tasks: Sequence[Any] | None = None,
    *,
    stages: int = 0,
    refine: float | None = None,
    reward: Reward | None = None,
    extrapolate: bool = False,
) -> list[AdaptedPolicy]:
    """Policies for new tasks, or for another reward, from a run's last checkpoint.

    Args:
        tasks: left out for a reward: then the practice begins with the policy, of those for held-out tasks, that has
            the highest predicted return for it. Left out, too, of a family that is a single task.
        stages: of adaptation, each with real samples of each task.
        refine: seconds of practice inside the model for each task alone, without a real sample; compilation does not
            count. By default 60 for a reward without stages, else none.
        reward: another one than the family's: a `jnp` function of (observation, action, next observation, task). A task
            is then where its practice begins, and what the function is given.

    Raises:
        OnebodyError: no run or checkpoint; a task outside the family's space without `extrapolate`, or none where one
            is needed; a reward that is wrong; a reward for an algorithm that cannot practise for it; `refine` of such
            an algorithm, or beside `stages`.
    """
    if refine is None:
        refine = REWARD_SECONDS if reward is not None and not stages else 0.0
    if stages < 0:
        raise OnebodyError(f"--stages must be 0 or more, not {stages}")
    if not 0 <= refine < math.inf:
        raise OnebodyError(f"--refine must be 0 or more seconds, and finite, not {refine}")
    if stages and refine:
        raise OnebodyError("give either --stages, which take real samples, or --refine, which takes none, not both")
    run = Path(run)
    record = folder.read_config(run)
    algorithm = folder.build(record, tested=True)
    if (refine or reward is not None) and not isinstance(algorithm, Refining):
        raise OnebodyError(f"{record['algorithm']} cannot practise inside its model: use --stages, or train omni")
    family, drawn_from = algorithm.family, folder.family_of(record).space
    if tasks is None and reward is None:
        if drawn_from.size:
            numbers = ",".join(f"{x:.2g}" for x in family.space.held_out(1)[0])
            raise OnebodyError(f"adapt needs a task, {', '.join(family.task_names)}, as in --task {numbers}")
        tasks = [()]
    values = None if tasks is None else jnp.stack([family.parse(task, extrapolate) for task in tasks])
    if reward is not None:
        family = _rewarded(family, reward)
    before = folder.untrained(record)
    found = folder.last(run, record, before)
    state = found.state
    nothing = ""
    if not found.iteration and not stages:
        mend = "train a run with samples" if record["samples"] == 0 else f"onebody resume {run}"
        nothing = f"nothing was trained, for no iteration is finished: {mend}"
    if isinstance(algorithm, Refining) and reward is not None:
        algorithm, state = algorithm.rewarded(state, family)
    if values is None:
        values = _nearest(algorithm, state, record["seed"])
    ((untrained, _),) = stages_of(algorithm, before, values, 0, record["seed"])
    if isinstance(algorithm, Refining) and refine:
        key = key_of(record["seed"])
        first, each, updates = zip(*(_refined(algorithm, state, value, key, refine) for value in values), strict=True)
        start, adapted, used = _beside(first), _beside(each), 0
    else:
        *_, (adapted, used) = stages_of(algorithm, state, values, stages, record["seed"])
        start, updates = adapted, [0] * len(values)
    unseen = not algorithm.task_is_known and used == 0 and drawn_from.size > 0
    unpractised = reward is not None and not refine and not stages
    untrained_return, reached = (real_return(family, each.policies, values).mean(1) for each in (untrained, adapted))
    return [
        AdaptedPolicy(
            task=np.asarray(values[i]),
            predicted_return=predicted(adapted, i),
            predicted_interval=interval(adapted, i),
            real_return=float(reached[i]),
            untrained_return=float(untrained_return[i]),
            adaptation_samples=used,
            refine_updates=updates[i],
            predicted_before=predicted(start, i),
            warning="; ".join(
                [
                    *_of_practice(updates[i], predicted(start, i), predicted(adapted, i), unpractised),
                    *_warnings(drawn_from, values[i], adapted, i, unseen, nothing),
                ]
            ),
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
    """A policy for one new task, or for another reward; all as in `adapt_many`."""
    tasks = None if task is None else [task]
    return adapt_many(run, tasks, stages=stages, refine=refine, reward=reward, extrapolate=extrapolate)[0]


def _rewarded(family: TaskFamily, reward: Reward) -> TaskFamily:
    """The family where its reward is another.

    Raises:
        OnebodyError: the reward is wrong; it says how.
    """
    asked = dataclasses.replace(family, id=f"{family.id}-rewarded", reward=reward, test=None)
    check(asked)
    return asked


def _nearest(algorithm: Algorithm[Any], state: Any, seed: int) -> Float[Array, "1 feature"]:
    """The held-out task whose policy has most of the reward in the model."""
    tasks = HELD_OUT.of(algorithm.family)
    ((adapted, _),) = stages_of(algorithm, state, tasks, 0, seed)
    best = np.argmax([predicted(adapted, i) for i in range(len(tasks))])
    return tasks[best : best + 1]


def _refined(algorithm: Refining, state: Any, task: Array, key: Key, seconds: float) -> tuple[Adapted, Adapted, int]:
    """The policy before practice, the one that practice has brought when the time is over, and its updates. The time
    begins after the first of them, which compile."""
    policies = algorithm.refine(state, task, key)
    first, adapted = next(policies), next(policies)
    began, rounds = time.monotonic(), 1
    while time.monotonic() - began < seconds:
        adapted, rounds = next(policies), rounds + 1
    return first, adapted, rounds * algorithm.refine_updates


def _beside(each: Sequence[Adapted]) -> Adapted:
    """Adaptations to single tasks as one to all of them."""
    return jax.tree.map(lambda *x: jnp.concatenate(x), *each)


def _of_practice(updates: int, before: float, after: float, unpractised: bool) -> Iterator[str]:
    if unpractised:
        yield "this is the policy for the task, not optimised for the reward: give seconds of practice with --refine"
    if updates and not after > before:
        yield (
            f"{updates:,} updates did not raise the predicted return, so this is the policy as it was before them: "
            "give more seconds with --refine, or, if the reward has steps or is constant where the policy goes, make "
            "it smooth"
        )


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
        yield (
            f"the policy goes where the models disagree {times:.1f} times as much as on their data, so its prediction "
            "may be wrong"
        )
