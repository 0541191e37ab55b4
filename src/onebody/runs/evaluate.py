"""The meta-test protocol, and policies for single tasks.

Held-out tasks are the family's, or those of the family it is tested on; all algorithms see the same tasks and the
same initial states. After each stage of adaptation, ten real episodes a task with the deterministic policy; they are
not real samples of the algorithm.
"""

import dataclasses
import functools
import itertools
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
from onebody.core.errors import OnebodyError, at_least, positive
from onebody.core.returns import first_episode_return
from onebody.core.types import Key, Transitions
from onebody.learning.policies import Policy
from onebody.runs import checkpoint, folder, policy_file
from onebody.runs.statistics import summary
from onebody.tasks.family import Reward, TaskFamily
from onebody.tasks.space import Box, TaskSpace
from onebody.worlds.check import check
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

EPISODES = 10
"""real episodes a task and stage"""
PLANE = ("x (m)", "y (m)")
"""observation of a body whose paths are drawn, where the task is hidden"""
NOVEL = 2.0
"""disagreement of the models, over what is usual on their data, above which a prediction has a warning"""


@dataclass(frozen=True)
class MetaTest:
    """What is tested: held-out tasks, or a grid over all tasks, which has the edges, too, and may go beyond them."""

    tasks: int = 40
    """number of held-out tasks"""
    stages: int = 3
    """stages of adaptation after stage 0, which has no real sample of a task"""
    grid: int = 0
    """in place of held-out tasks, a grid of so many a side over the box of tasks; 0 for none"""
    beyond: float = 1.0
    """how many times as wide as the box of tasks the grid is: above 1 it has tasks that training never draws"""

    def __post_init__(self) -> None:
        at_least(1, self, "tasks")
        at_least(0, self, "stages")
        positive(self, "beyond")
        if self.grid < 0 or self.grid == 1:
            raise OnebodyError(f"--grid must be 0 (none) or at least 2 tasks a side, not {self.grid}")
        if self.beyond != 1 and not self.grid:
            raise OnebodyError("--beyond is the width of a grid: say how fine it is, as in --grid 5")

    def of(self, family: TaskFamily) -> Float[Array, "task feature"]:
        """Its tasks of a family. Raises: as `box`."""
        return self.box(family).grid(self.grid) if self.grid else family.space.held_out(self.tasks)

    def box(self, family: TaskFamily) -> Box:
        """What the grid is over.

        Raises:
            OnebodyError: tasks of the family are no box.
        """
        if not isinstance(family.space, Box):
            raise OnebodyError(f"tasks of {family.id} are {family.space.bounds}, a grid needs a Box: leave --grid out")
        return family.space.widened(self.beyond)


HELD_OUT = MetaTest()


def real_return(
    family: TaskFamily, policies: Policy, tasks: Float[Array, "task feature"]
) -> Float[np.ndarray, "task episode"]:
    """Returns of deterministic policies in the simulator, from initial states that are always the same."""
    seen = _tried(family, policies, tasks)
    return np.asarray(first_episode_return(seen.reward, seen.done))


def _tried(family: TaskFamily, policies: Policy, tasks: Float[Array, "task feature"]) -> Transitions:
    key = jax.random.key(2019)
    return rollout(Simulator(family), policies, tasks, key, episodes=EPISODES, deterministic=True)


def meta_test(
    record: dict[str, Any], algorithm: Algorithm[Any], state: Any, samples: int, test: MetaTest
) -> dict[str, Any]:
    """Adapt to the tasks through the stages; the JSON of `onebody evaluate`."""
    family, tasks = algorithm.family, test.of(algorithm.family)
    results = []
    for stage, (adapted, used) in enumerate(stages_of(algorithm, state, tasks, test.stages, record["seed"])):
        seen = _tried(family, adapted.policies, tasks)
        returns = np.asarray(first_episode_return(seen.reward, seen.done))
        results.append(
            {
                "stage": stage,
                "adaptation_samples": used,
                "tasks": np.asarray(tasks).tolist(),
                "returns": returns.tolist(),
                "predicted": [x if math.isfinite(x := _predicted(adapted, i)) else None for i in range(len(tasks))],
                "predicted_intervals": [_interval(adapted, i) for i in range(len(tasks))],
                **({"beliefs": adapted.belief.mean.tolist()} if adapted.belief else {}),
                **({"paths": _paths(seen)} if family.body.labels == PLANE and not algorithm.task_is_known else {}),
                **summary(returns.mean(axis=1)),
            }
        )
    return {
        "family": record["family"],
        "tested_on": family.id,
        "algorithm": record["algorithm"],
        "task_is_known": algorithm.task_is_known,
        "training_samples": samples,
        "seed": record["seed"],
        **({"grid": test.box(family).bounds} if test.grid else {}),
        "stages": results,
    }


def _paths(seen: Transitions) -> list[list[list[float]]]:
    """Where the first episode of each task went in a plane, [task, time, 2]."""
    return np.round(np.asarray(seen.observation)[:, :, 0], 3).tolist()


def during_training(run: Path, record: dict[str, Any], algorithm: Algorithm[Any], state: Any, iteration: int) -> None:
    """Test stage 0, into `RUN/evaluations/<iteration>.json`; the samples that training has counted stay as they are."""
    result = meta_test(
        record, folder.build(record, tested=True), state, algorithm.simulator.samples, MetaTest(stages=0)
    )
    place = run / "evaluations" / f"{iteration:06d}.json"
    place.parent.mkdir(exist_ok=True)
    folder.write_json(place, {"iteration": iteration, **result})


def evaluate(run: Path | str, test: MetaTest = HELD_OUT) -> dict[str, Any]:
    """The meta-test of a run's last checkpoint, also written to `RUN/evaluation.json`.

    Raises:
        OnebodyError: no run, no whole checkpoint, a grid over tasks that are no box.
    """
    run = Path(run)
    record = folder.read_config(run)
    algorithm = folder.build(record, tested=True)
    found = _last(run, record, _untrained(record))
    result = meta_test(record, algorithm, found.state, found.facts["samples"], test)
    folder.write_json(run / "evaluation.json", result)
    return result


def trained(run: Path, record: dict[str, Any]) -> int:
    """Real samples of a run's last checkpoint."""
    return _last(run, record, _untrained(record)).facts["samples"]


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
    """why the prediction may not hold; empty if nothing speaks against it"""
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
    before = _untrained(record)
    state = _last(run, record, before).state
    if isinstance(algorithm, Refining) and reward is not None:
        algorithm, state = algorithm.rewarded(state, family)
    key, drawn_from = _key(record["seed"]), folder.family_of(record).space
    ((untrained, _),) = stages_of(algorithm, before, values, 0, record["seed"])
    if refine:
        each = [_refined(algorithm, state, value, key, refine) for value in values]
        adapted, used = _beside(each), 0
    else:
        *_, (adapted, used) = stages_of(algorithm, state, values, stages, record["seed"])
    untrained_return, reached = (real_return(family, each.policies, values).mean(1) for each in (untrained, adapted))
    return [
        AdaptedPolicy(
            task=np.asarray(values[i]),
            predicted_return=_predicted(adapted, i),
            predicted_interval=_interval(adapted, i),
            real_return=float(reached[i]),
            untrained_return=float(untrained_return[i]),
            adaptation_samples=used,
            warning=_warning(drawn_from, values[i], adapted, i),
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
    """
    if refine is None:
        refine = 0.0 if reward is None else 20.0
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
    algorithm, state = algorithm.rewarded(_last(run, record, _untrained(record)).state, asked)
    tasks = HELD_OUT.of(asked)
    ((adapted, _),) = stages_of(algorithm, state, tasks, 0, record["seed"])
    return tasks[np.argmax([_predicted(adapted, i) for i in range(len(tasks))])]


def _refined(algorithm: Any, state: Any, task: Array, key: Key, seconds: float) -> Adapted:
    """The last policy that practice has brought when the time is over."""
    began, policies = time.monotonic(), algorithm.refine(state, task, key)
    adapted = next(policies)
    while time.monotonic() - began < seconds:
        adapted = next(policies)
    return adapted


def _beside(each: Sequence[Adapted]) -> Adapted:
    """Adaptations to single tasks as one to all of them."""
    rows = [(a.policies, a.predicted_return, a.predicted_interval, a.novelty) for a in each]
    policies, predicted, interval, novelty = jax.tree.map(lambda *x: jnp.concatenate(x), *rows)
    return Adapted(policies, predicted, interval, novelty)


def _predicted(adapted: Adapted, i: int) -> float:
    """NaN of an algorithm without a model."""
    return math.nan if adapted.predicted_return is None else float(adapted.predicted_return[i])


def _interval(adapted: Adapted, i: int) -> tuple[float, float] | None:
    if adapted.predicted_interval is None:
        return None
    low, high = adapted.predicted_interval[i].tolist()
    return low, high


def _warning(space: TaskSpace, task: Array, adapted: Adapted, i: int) -> str:
    if not space.contains(task):
        return f"the task is outside {space.bounds}, which training drew from"
    if adapted.novelty is not None and float(adapted.novelty[i]) > NOVEL:
        return (
            f"the policy goes where the models disagree {float(adapted.novelty[i]):.1f} times as much as on their data"
        )
    return ""


def _untrained(record: dict[str, Any]) -> Any:
    return folder.initial_state(record, folder.build(record))


def _last(run: Path, record: dict[str, Any], structure: Any) -> checkpoint.Checkpoint:
    found = folder.latest(run, record, structure)
    if found is None:
        raise OnebodyError(f"{run} has no checkpoint yet; train it with: onebody resume {run}")
    return found


def _key(seed: int) -> Key:
    """Of adaptation; no key of the training."""
    return jax.random.fold_in(jax.random.key(2020), seed)


def stages_of(
    algorithm: Algorithm[Any], state: Any, tasks: Float[Array, "task feature"], last: int, seed: int
) -> Iterator[tuple[Adapted, int]]:
    """Stages 0 … `last`, each with the real samples of each task that were used until then."""
    before = algorithm.simulator.samples
    for adapted in itertools.islice(algorithm.adapt(state, tasks, _key(seed)), last + 1):
        yield adapted, (algorithm.simulator.samples - before) // len(tasks)
