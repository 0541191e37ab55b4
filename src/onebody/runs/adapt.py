"""Policies for single tasks from a run; each with its predicted, real and untrained return, and a warning if needed."""

import functools
import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from onebody.algorithms import presets
from onebody.algorithms.protocol import Adapted, Algorithm, Refining
from onebody.core.errors import OnebodyError, real, whole
from onebody.learning.policies import Policy
from onebody.runs import folder, journal, policy_file, refinement
from onebody.runs.about import About
from onebody.runs.evaluate import (
    EPISODES,
    HELD_OUT,
    interval,
    key_of,
    predicted,
    real_return,
    real_test,
    stages_of,
    tester,
)
from onebody.runs.loaded import Run
from onebody.runs.numpy_policy import Limited, Memoryless, Recurrent
from onebody.tasks.family import Reward
from onebody.tasks.limited import is_single
from onebody.tasks.limits import LimitedBody
from onebody.tasks.space import TaskSpace
from onebody.worlds import robot

MAX_NOVELTY = 2.0
"""ratio of the models' disagreement along a policy's trajectory to that on their data above which a warning is given"""
MAX_EPISODES = 1000
"""largest number of real episodes that test a policy"""
REWARD_SECONDS = 60.0
"""default time (s) of policy optimisation inside the model for a user's own reward"""


@dataclass(frozen=True)
class AdaptedPolicy:
    """A policy for one task, with its predicted return and its real return."""

    task: np.ndarray
    predicted_return: float
    """mean return of the deterministic policy in the model; for an ensemble, the median over its models"""
    predicted_interval: tuple[float, float] | None
    """interval in which the real return is expected; None with a single model, and before real episodes calibrate it"""
    real_return: float
    """mean return of the deterministic policy over the real episodes that test it; NaN without such episodes"""
    achieved: np.ndarray | None
    """what these episodes achieve of each number of the task [feature], such as the velocity: the mean over the second
    half of each; None if the family does not define it, or without such episodes"""
    untrained_return: float | None
    """mean return of a policy before any training, over as many real episodes; None unless asked for"""
    adaptation_samples: int
    """number of real samples of this task that adaptation took"""
    refine_updates: int
    """number of policy updates that `refine` made inside the model for this task"""
    predicted_before: float
    """predicted return before these updates, for the same reward"""
    warning: str
    """why the policy may not solve the task, or why its predicted return may be wrong; empty if there is no reason"""
    policies: Policy
    """the policy, with a leading axis of length 1"""
    about: About | None = None
    """what its file says of it"""
    limited: LimitedBody | None = None
    """the body, if it has limits, which the policy keeps"""

    def __call__(self, observation: np.ndarray, *last: Any) -> np.ndarray:
        """The deterministic action [..., action] in [-1, 1] for observations [..., observation].

        A policy with memory also takes, after its first action, the reward of the last step and whether that step ended
        an episode.
        """
        return self._actor(observation, *last)

    def reset(self) -> None:
        """Begin an episode, as `NumpyPolicy.reset`."""
        self._actor.reset()

    def __str__(self) -> str:
        return str(self._actor) + ("" if math.isnan(self.real_return) else f"\nreal return {self.real_return:.1f}")

    @property
    def refinement(self) -> str:
        """One line on how much `refine` improved the predicted return; empty if it did not."""
        if not self.refine_updates or not self.predicted_return > self.predicted_before:
            return ""
        before, after = f"{self.predicted_before:,.1f}", f"{self.predicted_return:,.1f}"
        return f"optimised for {self.refine_updates:,} updates: predicted return from {before} to {after}"

    @functools.cached_property
    def _actor(self) -> Memoryless | Recurrent | Limited:
        return policy_file.actor(policy_file.arrays(self.policies, self.task, self.limited), self.about)

    def save(self, path: Path | str) -> Path:
        """Write the policy to a file, .npz for `onebody.load_policy` (which needs only NumPy) or .onnx."""
        return self._actor.save(path)


@robot.released()
def adapt_many(
    run: Path | str | Run,
    tasks: Sequence[Any] | None = None,
    *,
    stages: SupportsIndex = 0,
    refine: float | None = None,
    reward: Reward | None = None,
    extrapolate: bool = False,
    untrained: bool = False,
    real_episodes: SupportsIndex | None = None,
    trust: bool = False,
) -> list[AdaptedPolicy]:
    """Policies for new tasks, or for another reward, from a run's last checkpoint.

    Of a robot (`from_gymnasium` with copies=1), what it does is written to RUN/adaptations as it comes, except with
    `refine`. After a crash, the same call goes on from there, without moving the robot again; docs/one_robot.md.

    Args:
        run: a run folder, or a run that is loaded.
        tasks: each a task ψ [feature]. None for a family of a single task. May be None with a reward: the optimisation
            then starts from the policy for a held-out task that has the highest predicted return for this reward.
        stages: number of adaptation stages that take real samples of each task.
        refine: seconds of policy optimisation inside the model per task, not counting compilation; takes no real
            samples. By default 60 for a reward without stages, otherwise 0.
        reward: replaces the family's reward: a `jnp` function of (observation, action, next observation, task). The
            optimisation for it starts from the policy for the task, which is also the function's argument `task`.
        extrapolate: allow tasks outside the family's task space.
        untrained: also measure the return of a policy before any training, for comparison, in as many real episodes.
        real_episodes: number of real episodes that test each policy. By default 10; 0 where there is only one
            environment, such as a robot (`from_gymnasium` with copies=1), which is then not moved.
        trust: consent to running the file that registers the run's family, as `folder.trust`.

    Raises:
        OnebodyError: there is no run or checkpoint; a task is outside the family's space without `extrapolate`, or
            missing; the reward is invalid; the algorithm cannot optimise a policy inside its model, which `reward` and
            `refine` need; or `refine` and `stages` are both given.
    """
    if refine is None:
        refine = REWARD_SECONDS if reward is not None and not stages else 0.0
    stages = whole("--stages", stages)
    if stages < 0:
        raise OnebodyError(f"--stages must be 0 or more, not {stages}")
    refine = real("--refine", refine)
    if not 0 <= refine < math.inf:
        raise OnebodyError(f"--refine must be 0 or more seconds, and finite, not {refine}")
    tests = None if real_episodes is None else whole("--real-episodes", real_episodes)
    if tests is not None and not 0 <= tests <= MAX_EPISODES:
        raise OnebodyError(f"--real-episodes must be from 0 to {MAX_EPISODES:,}, not {tests}")
    if stages and refine:
        raise OnebodyError("give either --stages, which take real samples, or --refine, which takes none, not both")
    loaded = run if isinstance(run, Run) else Run(run, trust=trust)
    record, algorithm = loaded.record, loaded.algorithm
    if (refine or reward is not None) and not isinstance(algorithm, Refining):
        able = " or ".join(presets.able("refine"))
        raise OnebodyError(
            f"{record['algorithm']} cannot optimise a policy inside its model: use --stages, or train {able}"
        )
    family, training_space = algorithm.family, folder.family_of(record).space
    if tests is None:
        tests = 0 if is_single(family.body) else EPISODES
    if untrained and not tests:
        raise OnebodyError("--untrained measures a return in real episodes: say how many, as in --real-episodes 10")
    if tasks is None and reward is None:
        tasks = [()]
    values = None if tasks is None else jnp.stack([loaded.parse(task, extrapolate) for task in tasks])
    if reward is not None:
        family = refinement.with_reward(family, reward)
    last = loaded.checkpoint
    state = last.state
    no_training = ""
    if not last.iteration and not stages:
        remedy = "train a run with samples" if record["samples"] == 0 else f"onebody resume {loaded.path}"
        no_training = f"the run is untrained, because it has finished no iteration: {remedy}"
    if isinstance(algorithm, Refining) and reward is not None:
        algorithm, state = algorithm.rewarded(state, family)
    if values is None:
        values = _best_held_out(algorithm, state, record["seed"])
    simulator, recording = tester(family), nullcontext()
    if not refine:  # refined for some seconds, a policy is not the same again
        simulators = [simulator, algorithm.simulator]
        recording = journal.adaptation(loaded.path, last, simulators, values, stages, tests, bool(untrained))
    with recording:
        if isinstance(algorithm, Refining) and refine:
            key = key_of(record["seed"])
            each = [refinement.refine(algorithm, state, value, key, refine) for value in values]
            start, adapted, used = _concatenate([x.before for x in each]), _concatenate([x.after for x in each]), 0
            updates = [x.updates for x in each]
        else:
            groups = [value[None] for value in values] if is_single(family.body) else [values]  # a robot: in turn
            last_stages = [list(stages_of(algorithm, state, some, stages, record["seed"]))[-1] for some in groups]
            adapted, used = _concatenate([of_group for of_group, _ in last_stages]), last_stages[0][1]
            start, updates = adapted, [0] * len(values)
        after, achieved, before = np.full((len(values), 1), math.nan), None, None
        if tests:
            after, achieved = real_test(simulator, adapted.policies, values, tests)
        if untrained:
            ((first_policies, _),) = stages_of(algorithm, folder.untrained(record), values, 0, record["seed"])
            before = real_return(simulator, first_policies.policies, values, tests).mean(1)
    uninformed = not algorithm.task_is_known and used == 0 and training_space.size > 0
    unrefined = reward is not None and not refine and not stages
    own_reward = "" if reward is None or unrefined else getattr(reward, "__name__", type(reward).__name__)
    return [
        AdaptedPolicy(
            task=np.asarray(values[i]),
            predicted_return=predicted(adapted, i),
            predicted_interval=interval(adapted, i),
            real_return=float(after[i].mean()),
            achieved=None if achieved is None else achieved[i],
            untrained_return=None if before is None else float(before[i]),
            adaptation_samples=used,
            refine_updates=updates[i],
            predicted_before=predicted(start, i),
            warning="; ".join(
                [
                    *refinement.warnings(updates[i], predicted(start, i), predicted(adapted, i), unrefined),
                    *_warnings(training_space, values[i], adapted, i, uninformed, no_training),
                ]
            ),
            policies=jax.tree.map(lambda x, i=i: x[i : i + 1], adapted.policies),
            about=loaded.about(values[i], adapted, i, used, own_reward),
            limited=family.limited,
        )
        for i in range(len(values))
    ]


def adapt(
    run: Path | str | Run,
    task: Any = None,
    *,
    stages: SupportsIndex = 0,
    refine: float | None = None,
    reward: Reward | None = None,
    extrapolate: bool = False,
    untrained: bool = False,
    real_episodes: SupportsIndex | None = None,
    trust: bool = False,
) -> AdaptedPolicy:
    """A policy for one new task, or for another reward; arguments and errors as in `adapt_many`."""
    tasks = None if task is None else [task]
    options = {"extrapolate": extrapolate, "untrained": untrained, "real_episodes": real_episodes, "trust": trust}
    return adapt_many(run, tasks, stages=stages, refine=refine, reward=reward, **options)[0]


def _best_held_out(algorithm: Algorithm[Any], state: Any, seed: int) -> Float[Array, "1 feature"]:
    """The held-out task whose policy has the highest predicted return."""
    tasks = HELD_OUT.of(algorithm.family)
    ((adapted, _),) = stages_of(algorithm, state, tasks, 0, seed)
    best = np.argmax([predicted(adapted, i) for i in range(len(tasks))])
    return tasks[best : best + 1]


def _concatenate(each: Sequence[Adapted]) -> Adapted:
    """Adaptations to single tasks, concatenated along the task axis."""
    return jax.tree.map(lambda *x: jnp.concatenate(x), *each)


def _warnings(
    space: TaskSpace, task: Array, adapted: Adapted, i: int, uninformed: bool, no_training: str
) -> Iterator[str]:
    """Warnings about the policy for task i.

    Args:
        space: task space of training.
        uninformed: the task is hidden and adaptation has taken no real samples of it.
        no_training: message that the run is untrained; empty if it is trained.
    """
    if no_training:
        yield no_training
    if uninformed:
        yield "the task is hidden and the policy has no information about it: --stages N adapts with real samples"
    yield from doubts(space, task, None if no_training or adapted.novelty is None else float(adapted.novelty[i]))


def doubts(space: TaskSpace, task: Any, novelty: float | None) -> Iterator[str]:
    """Why the predicted return for a task may be wrong; `space`: that of training."""
    if not space.contains(task):
        yield f"the task is outside {space.bounds}, the space that training sampled tasks from"
    elif novelty is not None and novelty > MAX_NOVELTY:
        yield (
            f"the models disagree {novelty:.1f} times as much along the policy's trajectory as on their data, so the "
            "predicted return may be wrong"
        )
