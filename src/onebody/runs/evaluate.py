"""The meta-test protocol.

Held-out tasks are the family's, or those of the family it is tested on; all algorithms see the same tasks and the
same initial states. After each stage of adaptation, ten real episodes a task with the deterministic policy; they are
not real samples of the algorithm.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from onebody.algorithms.protocol import Adapted, Algorithm
from onebody.core.errors import OnebodyError
from onebody.core.gaussian import Gaussian
from onebody.core.returns import first_episode_return
from onebody.core.types import Key, Transitions
from onebody.learning.policies import Policy
from onebody.runs import folder
from onebody.runs.statistics import summary
from onebody.tasks.family import TaskFamily
from onebody.tasks.space import Box, FiniteSet
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

EPISODES = 10
"""real episodes a task and stage"""
MOST = 10_000
"""tasks that a grid may have"""
PLANE = ("x (m)", "y (m)")
"""observation of a body whose paths are drawn, where the task is hidden"""


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
        if self.tasks < 1:
            raise OnebodyError(f"--tasks must be at least 1, not {self.tasks}")
        if self.stages < 0:
            raise OnebodyError(f"--stages must be at least 0, not {self.stages}")
        if self.grid < 0 or self.grid == 1:
            raise OnebodyError(f"--grid must be 0 (none) or at least 2 tasks a side, not {self.grid}")
        if not 0 < self.beyond < math.inf:
            raise OnebodyError(f"--beyond must be above 0, not {self.beyond}")
        if self.beyond != 1 and not self.grid:
            raise OnebodyError("--beyond is the width of a grid: say how fine it is, as in --grid 5")

    def of(self, family: TaskFamily) -> Float[Array, "task feature"]:
        """Its tasks of a family.

        Raises:
            OnebodyError: as `box`, and where a grid has more tasks than can be tested.
        """
        if not self.grid:
            return family.space.held_out(self.tasks)
        box = self.box(family)
        if self.grid**box.size > MOST:
            raise OnebodyError(
                f"--grid {self.grid} is {self.grid**box.size:,} tasks of {family.id}, {MOST:,} are the most: "
                "take a smaller one, or leave --grid out"
            )
        return box.grid(self.grid)

    def box(self, family: TaskFamily) -> Box:
        """What the grid is over.

        Raises:
            OnebodyError: tasks of the family are no box.
        """
        if not isinstance(family.space, Box):
            split = family.space.split
            raise OnebodyError(f"tasks of {family.id} are no box ({split}), as a grid needs: leave --grid out")
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
                "predicted": [x if math.isfinite(x := predicted(adapted, i)) else None for i in range(len(tasks))],
                "predicted_intervals": [interval(adapted, i) for i in range(len(tasks))],
                **(_believed(adapted.belief) if adapted.belief else {}),
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


def _believed(belief: Gaussian) -> dict[str, Any]:
    """Mean and standard deviation of each latent feature, [task, feature]."""
    return {"beliefs": belief.mean.tolist(), "belief_stds": jnp.exp(belief.log_std).tolist()}


def _paths(seen: Transitions) -> list[list[list[float]]]:
    """Where the first episode of each task went in a plane, from start to end, [task, time + 1, 2]."""
    places = np.concatenate([seen.observation[:, :1, 0], seen.next_observation[:, :, 0]], axis=1, dtype=np.float64)
    return np.round(places, 3).tolist()


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
        OnebodyError: no run, no whole checkpoint, a grid over tasks that are no box or of too many.
    """
    run = Path(run)
    record = folder.read_config(run)
    algorithm = folder.build(record, tested=True)
    found = folder.last(run, record, folder.untrained(record))
    result = meta_test(record, algorithm, found.state, found.facts["samples"], test)
    folder.write_json(run / "evaluation.json", result)
    return result


def tested(test: dict[str, Any], family: TaskFamily) -> str:
    """The tasks of a meta-test of a run of the family, in words."""
    n = len(test["stages"][0]["tasks"])
    if "grid" in test:
        return f"{n} tasks on a grid over {test['grid']}"
    if not family.space.size:
        return "the one task"
    tasks = f"task{'s' if n > 1 else ''}"
    if isinstance(family.space, FiniteSet) and family.space == family.tested.space:
        return f"{n} {tasks} that training draws from, too"
    return f"{n} held-out {tasks}"


def told(task_is_known: bool) -> str:
    """Whether an algorithm is told the task, and what that makes of stage 0, in words."""
    if task_is_known:
        return "told the task; stage 0 takes no real sample to adapt to it"
    return "not told the task; stage 0 has not adapted to it and is the control"


def trained(run: Path, record: dict[str, Any]) -> int:
    """Real samples of a run's last checkpoint."""
    return folder.last(run, record, folder.untrained(record)).facts["samples"]


def predicted(adapted: Adapted, i: int) -> float:
    """Return of task i; NaN of an algorithm without a model."""
    return math.nan if adapted.predicted_return is None else float(adapted.predicted_return[i])


def interval(adapted: Adapted, i: int) -> tuple[float, float] | None:
    """Of the predicted return of task i; None of an algorithm without one."""
    if adapted.predicted_interval is None:
        return None
    low, high = adapted.predicted_interval[i].tolist()
    return low, high


def key_of(seed: int) -> Key:
    """Of adaptation, of a run with this seed."""
    return jax.random.fold_in(jax.random.key(2020), seed)


def stages_of(
    algorithm: Algorithm[Any], state: Any, tasks: Float[Array, "task feature"], last: int, seed: int
) -> Iterator[tuple[Adapted, int]]:
    """Stages 0 … `last`, each with the real samples of each task that were used until then."""
    before = algorithm.simulator.samples
    for adapted in itertools.islice(algorithm.adapt(state, tasks, key_of(seed)), last + 1):
        yield adapted, (algorithm.simulator.samples - before) // len(tasks)
