"""The meta-test protocol, and policies for single tasks.

Held-out tasks are the family's, or those of the family it is tested on; all algorithms see the same tasks and the same initial states. After each stage of
adaptation, ten real episodes a task with the deterministic policy; they are not real samples of the algorithm.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from onebody.algorithms.protocol import Adapted, Algorithm
from onebody.core.errors import OnebodyError
from onebody.core.returns import first_episode_return
from onebody.learning.policies import Policy
from onebody.runs import checkpoint, folder, policy_file
from onebody.runs.statistics import summary
from onebody.tasks.family import TaskFamily
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

EPISODES = 10
"""real episodes a task and stage"""
N_TASKS = 40
"""held-out tasks"""


def real_return(
    family: TaskFamily, policies: Policy, tasks: Float[Array, "task feature"]
) -> Float[np.ndarray, "task episode"]:
    """Returns of deterministic policies in the simulator, from initial states that are always the same."""
    seen = rollout(Simulator(family), policies, tasks, jax.random.key(2019), episodes=EPISODES, deterministic=True)
    return np.asarray(first_episode_return(seen.reward, seen.done))


def meta_test(
    record: dict[str, Any], algorithm: Algorithm[Any], state: Any, samples: int, stages: int, n_tasks: int
) -> dict[str, Any]:
    """Adapt to the held-out tasks through stages 0 … `stages`; the JSON of `onebody evaluate`."""
    family, tasks = algorithm.family, algorithm.family.space.held_out(n_tasks)
    results = []
    for adapted in _stages(algorithm, state, tasks, stages, record["seed"]):
        returns = real_return(family, adapted.policies, tasks)
        results.append(
            {
                "stage": adapted.stage,
                "adaptation_samples": adapted.samples,
                "tasks": np.asarray(tasks).tolist(),
                "returns": returns.tolist(),
                "predicted": [x if math.isfinite(x) else None for x in np.asarray(adapted.predicted_return).tolist()],
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
    if n_tasks < 1 or stages < 0:
        raise OnebodyError(f"--tasks must be at least 1 and --stages at least 0, not {n_tasks} and {stages}")
    run = Path(run)
    record = folder.read_config(run)
    algorithm = folder.build(record, tested=True)
    found = _last(run, record, algorithm)
    result = meta_test(record, algorithm, found.state, found.facts["samples"], stages, n_tasks)
    folder.write_json(run / "evaluation.json", result)
    return result


@dataclass(frozen=True)
class AdaptedPolicy:
    """A policy for one task, what it is expected to reach, and what it reaches."""

    task: np.ndarray
    predicted_return: float
    """mean imagined return of the deterministic policy"""
    real_return: float
    """mean real return of ten episodes of the deterministic policy"""
    untrained_return: float
    """the same of a policy before any training"""
    adaptation_samples: int
    """real samples of this task that adaptation used"""
    policies: Policy
    """one policy, stacked"""

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """The deterministic action [..., action] in [-1, 1] for observations [..., observation]."""
        return policy_file.act(policy_file.arrays(self.policies), observation)

    def save(self, path: Path | str) -> Path:
        """Write it for `onebody.load_policy`, which needs NumPy alone."""
        return policy_file.save(self.policies, Path(path))


def adapt_many(run: Path | str, tasks: Sequence[Any], *, stages: int = 0, extrapolate: bool = False) -> list[AdaptedPolicy]:
    """Policies for new tasks from a run's last checkpoint, after `stages` stages of real samples of each.

    Raises:
        OnebodyError: no run or checkpoint, or a task outside the family's space without `extrapolate`.
    """
    if stages < 0:
        raise OnebodyError(f"--stages must be at least 0, not {stages}")
    run = Path(run)
    record = folder.read_config(run)
    algorithm = folder.build(record, tested=True)
    family = algorithm.family
    values = jnp.stack([family.parse(task, extrapolate) for task in tasks])
    found = _last(run, record, algorithm)
    (untrained,) = _stages(algorithm, folder.initial_state(record, algorithm), values, 0, record["seed"])
    *_, adapted = _stages(algorithm, found.state, values, stages, record["seed"])
    untrained_return, reached = (real_return(family, each.policies, values).mean(1) for each in (untrained, adapted))
    return [
        AdaptedPolicy(
            task=np.asarray(values[i]),
            predicted_return=float(adapted.predicted_return[i]),
            real_return=float(reached[i]),
            untrained_return=float(untrained_return[i]),
            adaptation_samples=adapted.samples,
            policies=jax.tree.map(lambda x, i=i: x[i : i + 1], adapted.policies),
        )
        for i in range(len(values))
    ]


def adapt(run: Path | str, task: Any, *, stages: int = 0, extrapolate: bool = False) -> AdaptedPolicy:
    """A policy for one new task; see `adapt_many`."""
    return adapt_many(run, [task], stages=stages, extrapolate=extrapolate)[0]


def _last(run: Path, record: dict[str, Any], algorithm: Algorithm[Any]) -> checkpoint.Checkpoint:
    found = folder.latest(run, record, folder.initial_state(record, algorithm))
    if found is None:
        raise OnebodyError(f"{run} has no checkpoint yet; train it with: onebody resume {run}")
    return found


def _stages(algorithm: Algorithm[Any], state: Any, tasks: Array, last: int, seed: int) -> Iterator[Adapted]:
    key = jax.random.fold_in(jax.random.key(2020), seed)  # no key of the training
    return itertools.islice(algorithm.adapt(state, tasks, key), last + 1)
