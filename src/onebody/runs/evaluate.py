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
from onebody.core.errors import OnebodyError
from onebody.core.returns import first_episode_return
from onebody.core.types import Key, Transitions
from onebody.learning.policies import Policy
from onebody.runs import checkpoint, folder, policy_file
from onebody.runs.statistics import summary
from onebody.tasks.family import Reward, TaskFamily
from onebody.tasks.space import TaskSpace
from onebody.worlds.check import check
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

EPISODES = 10
"""real episodes a task and stage"""
N_TASKS = 40
"""held-out tasks"""
PLANE = ("x (m)", "y (m)")
"""observation of a body whose paths are drawn, where the task is hidden"""
NOVEL = 2.0
"""disagreement of the models, over what is usual on their data, above which a prediction has a warning"""


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
    record: dict[str, Any], algorithm: Algorithm[Any], state: Any, samples: int, stages: int, n_tasks: int
) -> dict[str, Any]:
    """Adapt to the held-out tasks through stages 0 … `stages`; the JSON of `onebody evaluate`."""
    family, tasks = algorithm.family, algorithm.family.space.held_out(n_tasks)
    results = []
    for adapted in _stages(algorithm, state, tasks, stages, record["seed"]):
        seen = _tried(family, adapted.policies, tasks)
        returns = np.asarray(first_episode_return(seen.reward, seen.done))
        results.append(
            {
                "stage": adapted.stage,
                "adaptation_samples": adapted.samples,
                "tasks": np.asarray(tasks).tolist(),
                "returns": returns.tolist(),
                "predicted": [x if math.isfinite(x) else None for x in np.asarray(adapted.predicted_return).tolist()],
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
        "stages": results,
    }


def _paths(seen: Transitions) -> list[list[list[float]]]:
    """Where the first episode of each task went in a plane, [task, time, 2]."""
    return np.round(np.asarray(seen.observation)[:, :, 0], 3).tolist()


def during_training(run: Path, record: dict[str, Any], algorithm: Algorithm[Any], state: Any, iteration: int) -> None:
    """Test stage 0, into `RUN/evaluations/<iteration>.json`; the samples that training has counted stay as they are."""
    result = meta_test(record, folder.build(record, tested=True), state, algorithm.simulator.samples, 0, N_TASKS)
    place = run / "evaluations" / f"{iteration:06d}.json"
    place.parent.mkdir(exist_ok=True)
    folder.write_json(place, {"iteration": iteration, **result})


def evaluate(run: Path | str, *, n_tasks: int = N_TASKS, stages: int = 3) -> dict[str, Any]:
    """The meta-test of a run's last checkpoint, also written to `RUN/evaluation.json`.

    Raises:
        OnebodyError: no run, no whole checkpoint, no task or a negative stage.
    """
    check_protocol(n_tasks, stages)
    run = Path(run)
    record = folder.read_config(run)
    algorithm = folder.build(record, tested=True)
    found = _last(run, record, _untrained(record))
    result = meta_test(record, algorithm, found.state, found.facts["samples"], stages, n_tasks)
    folder.write_json(run / "evaluation.json", result)
    return result


def check_protocol(n_tasks: int, stages: int) -> None:
    """Raises OnebodyError: no task or a negative stage."""
    if n_tasks < 1 or stages < 0:
        raise OnebodyError(f"--tasks must be at least 1 and --stages at least 0, not {n_tasks} and {stages}")


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
    (untrained,) = _stages(algorithm, before, values, 0, record["seed"])
    if refine:
        each = [_refined(algorithm, state, value, key, refine) for value in values]
        adapted = _beside(each)
    else:
        *_, adapted = _stages(algorithm, state, values, stages, record["seed"])
    untrained_return, reached = (real_return(family, each.policies, values).mean(1) for each in (untrained, adapted))
    return [
        AdaptedPolicy(
            task=np.asarray(values[i]),
            predicted_return=float(adapted.predicted_return[i]),
            predicted_interval=_interval(adapted, i),
            real_return=float(reached[i]),
            untrained_return=float(untrained_return[i]),
            adaptation_samples=adapted.samples,
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
    tasks = asked.space.held_out(N_TASKS)
    (adapted,) = _stages(algorithm, state, tasks, 0, record["seed"])
    return tasks[jnp.argmax(adapted.predicted_return)]


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
    return Adapted(each[0].stage, policies, each[0].samples, predicted, interval, novelty)


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


def _stages(algorithm: Algorithm[Any], state: Any, tasks: Array, last: int, seed: int) -> Iterator[Adapted]:
    return itertools.islice(algorithm.adapt(state, tasks, _key(seed)), last + 1)
