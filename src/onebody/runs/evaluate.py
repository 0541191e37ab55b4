"""The meta-test protocol.

The held-out tasks are those of the family, or of the family that it is tested on; all algorithms get the same tasks and
the same initial states. After each stage of adaptation, the deterministic policy acts for ten real episodes per task;
their environment steps are not counted as real samples of the algorithm.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from onebody.algorithms.protocol import Adapted, Algorithm, Told, told
from onebody.core.errors import OnebodyError, real, whole
from onebody.core.gaussian import Gaussian
from onebody.core.returns import first_episode_return
from onebody.core.types import Key, Transitions
from onebody.learning.policies import Policy
from onebody.runs import documents, folder, log, outputs
from onebody.runs.statistics import summary
from onebody.tasks.family import TaskFamily
from onebody.tasks.space import Box, FiniteSet
from onebody.worlds import robot
from onebody.worlds.refusals import refuse_single
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

EPISODES = 10
"""number of real episodes per task and stage"""
MAX_GRID_TASKS = 10_000
"""largest number of tasks of a grid"""
MAX_BEYOND = 1000.0
"""largest width of a grid relative to the box of tasks"""
MAX_SINGLE_EPISODES = 100
"""largest number of episodes, after all stages together, of a test with one environment, such as a robot"""
SMALLER_TEST = "ask for fewer, as in --tasks 2 --stages 0"
"""what a refused test of one environment, such as a robot, is to be replaced by"""
PLANE = ("x (m)", "y (m)")
"""observation labels of a body that moves in the plane; its paths are recorded if the task is hidden"""


@dataclass(frozen=True)
class MetaTest:
    """Which tasks are tested: held-out tasks, or a regular grid over the box of tasks that includes its edges."""

    tasks: int = 40
    """number of held-out tasks"""
    stages: int = 3
    """number of adaptation stages after stage 0, which takes no real samples of a task"""
    grid: int = 0
    """number of grid points per dimension, to test on a grid instead of held-out tasks; 0: held-out tasks"""
    beyond: float = 1.0
    """width of the grid relative to the box of tasks; above 1, it includes tasks that training never samples"""
    training_stages: int = 0
    """as `stages`, for the tests during training"""

    def __post_init__(self) -> None:
        for name in ("tasks", "stages", "grid", "training_stages"):
            object.__setattr__(self, name, whole(f"--{name}", getattr(self, name)))
        object.__setattr__(self, "beyond", real("--beyond", self.beyond))
        if self.tasks < 1:
            raise OnebodyError(f"--tasks must be at least 1, not {self.tasks}")
        if self.stages < 0:
            raise OnebodyError(f"--stages must be at least 0, not {self.stages}")
        if self.training_stages < 0:
            raise OnebodyError(f"training_stages must be at least 0, not {self.training_stages}")
        if self.grid < 0 or self.grid == 1:
            raise OnebodyError(f"--grid must be 0 (no grid) or at least 2 points per dimension, not {self.grid}")
        if not 0 < self.beyond <= MAX_BEYOND:
            raise OnebodyError(f"--beyond must be above 0 and at most {MAX_BEYOND:g}, not {self.beyond}")
        if self.beyond != 1 and not self.grid:
            raise OnebodyError("--beyond needs a grid: give its points per dimension, as in --grid 5")

    def of(self, family: TaskFamily) -> Float[Array, "task feature"]:
        """The tasks of a family to test on.

        Raises:
            OnebodyError: as `box`; also if the grid has more than MAX_GRID_TASKS tasks.
        """
        if not self.grid:
            return family.space.held_out(self.tasks)
        box = self.box(family)
        if (n := self.grid**box.size) > MAX_GRID_TASKS:
            raise OnebodyError(
                f"--grid {self.grid} gives {n:,} tasks of {family.id}, and at most {MAX_GRID_TASKS:,} are allowed: "
                "give a smaller number, or leave --grid out"
            )
        return box.grid(self.grid)

    def box(self, family: TaskFamily) -> Box:
        """The box that the grid covers.

        Raises:
            OnebodyError: the family's task space is not a box.
        """
        if not isinstance(family.space, Box):
            split = family.space.split
            raise OnebodyError(f"tasks of {family.id} are not a box ({split}), which a grid needs: leave --grid out")
        return family.space.widened(self.beyond)


HELD_OUT = MetaTest()


def check_test(test: Any) -> None:
    """Raises OnebodyError if it is not a MetaTest."""
    if not isinstance(test, MetaTest):
        raise OnebodyError(f"test must be an onebody.MetaTest, as in onebody.MetaTest(tasks=10), not {test!r}")


def tester(family: TaskFamily) -> Simulator:
    """A simulator for tests of policies; see `robot.Robot.whole`."""
    simulator = Simulator(family)
    if simulator.robot is not None:
        simulator.robot.whole = True
    return simulator


def real_return(
    world: TaskFamily | Simulator, policies: Policy, tasks: Float[Array, "task feature"], episodes: int = EPISODES
) -> Float[np.ndarray, "task episode"]:
    """Returns of deterministic policies in a simulator, or in a new one of a family; the initial states are always the
    same."""
    return _returns(_test_rollout(world, policies, tasks, episodes))


def real_test(
    world: TaskFamily | Simulator, policies: Policy, tasks: Float[Array, "task feature"], episodes: int = EPISODES
) -> tuple[Float[np.ndarray, "task episode"], Float[np.ndarray, "task feature"] | None]:
    """Returns as `real_return`, and what the same episodes achieve of each task (see `achieved`)."""
    simulator = _simulator(world)
    transitions = _test_rollout(simulator, policies, tasks, episodes)
    return _returns(transitions), achieved(simulator.family, transitions)


def achieved(family: TaskFamily, transitions: Transitions) -> Float[np.ndarray, "task feature"] | None:
    """What the first episode of each slot achieves of each number of its task, such as the velocity.

    The mean over the second half of each episode, after the robot has started, and then over episodes. None if the
    family does not define it (`TaskFamily.achieved`).
    """
    if family.achieved is None:
        return None
    of_steps = jnp.vectorize(family.achieved, signature="(o),(o)->(t)")
    values = np.asarray(jax.jit(of_steps)(transitions.observation, transitions.next_observation))
    step, length = np.arange(values.shape[1])[:, None], np.asarray(transitions.done).argmax(axis=1)[:, None] + 1
    late = ((step >= length // 2) & (step < length))[..., None]
    return (np.sum(values, axis=1, where=late) / late.sum(axis=1)).mean(axis=1)


def _test_rollout(
    world: TaskFamily | Simulator, policies: Policy, tasks: Float[Array, "task feature"], episodes: int = EPISODES
) -> Transitions:
    return rollout(_simulator(world), policies, tasks, jax.random.key(2019), episodes=episodes, deterministic=True)


def _simulator(world: TaskFamily | Simulator) -> Simulator:
    return world if isinstance(world, Simulator) else tester(world)


def _returns(transitions: Transitions) -> Float[np.ndarray, "task episode"]:
    return np.asarray(first_episode_return(transitions.reward, transitions.done))


def meta_test(
    record: dict[str, Any],
    algorithm: Algorithm[Any],
    state: Any,
    samples: int,
    test: MetaTest,
    progress: Callable[[int, str], None] = lambda done, text: None,
) -> dict[str, Any]:
    """Adapt to the tasks stage by stage and measure returns; gives the JSON of `onebody evaluate`.

    `progress` is called after each stage with the number of tested stages and a summary of the result.
    """
    family, tasks = algorithm.family, test.of(algorithm.family)
    results = []
    for stage, (adapted, used) in enumerate(stages_of(algorithm, state, tasks, test.stages, record["seed"])):
        transitions = _test_rollout(family, adapted.policies, tasks)
        returns = _returns(transitions)
        in_plane = family.body.labels == PLANE and not algorithm.task_is_known
        results.append(
            {
                "stage": stage,
                "adaptation_samples": used,
                "tasks": np.asarray(tasks).tolist(),
                "returns": returns.tolist(),
                "predicted": [x if math.isfinite(x := predicted(adapted, i)) else None for i in range(len(tasks))],
                "predicted_intervals": [interval(adapted, i) for i in range(len(tasks))],
                **(_belief_arrays(adapted.belief) if adapted.belief else {}),
                **({"paths": _paths(transitions)} if in_plane else {}),
                **summary(returns.mean(axis=1)),
            }
        )
        progress(stage + 1, f"stage {stage} · mean return {results[-1]['mean']:.1f}")
    return {
        "family": record["family"],
        "tested_on": family.id,
        "algorithm": record["algorithm"],
        "task_is_known": algorithm.task_is_known,
        "told": told(type(algorithm)),
        "training_samples": samples,
        "seed": record["seed"],
        **({"grid": test.box(family).bounds} if test.grid else {}),
        "stages": results,
    }


def _belief_arrays(belief: Gaussian) -> dict[str, Any]:
    """Mean and standard deviation of the latent, each [task, feature]."""
    return {"beliefs": belief.mean.tolist(), "belief_stds": jnp.exp(belief.log_std).tolist()}


def _paths(transitions: Transitions) -> list[list[list[float]]]:
    """Positions in the plane during the first episode of each task, [task, time + 1, 2]."""
    first, later = transitions.observation[:, :1, 0], transitions.next_observation[:, :, 0]
    return np.round(np.concatenate([first, later], axis=1, dtype=np.float64), 3).tolist()


def during_training(
    run: Path, record: dict[str, Any], algorithm: Algorithm[Any], state: Any, iteration: int, test: MetaTest
) -> None:
    """Test the first stages on the tasks of `test` and write `RUN/evaluations/<iteration>.json`.

    The sample counts of training stay as they are.
    """
    test = dataclasses.replace(test, stages=test.training_stages)
    result = meta_test(record, folder.build(record, tested=True), state, algorithm.simulator.samples, test)
    path = run / "evaluations" / f"{iteration:06d}.json"
    path.parent.mkdir(exist_ok=True)
    folder.write_json(path, {"iteration": iteration, **result})


def evaluate(run: Path | str, test: MetaTest = HELD_OUT, quiet: bool = True, *, trust: bool = False) -> dict[str, Any]:
    """The meta-test of a run's last checkpoint; also written to `RUN/evaluation.json`. Shows progress unless `quiet`.

    `trust`: consent to running the file that registers the run's family, as `folder.trust`.

    Raises:
        OnebodyError: there is no run or no undamaged checkpoint; a grid over a task space that is not a box, or of too
            many tasks; the default test, or one of more than MAX_SINGLE_EPISODES, where there is one environment.
    """
    run = Path(run)
    check_test(test)
    if trust:
        folder.trust(run)
    record = folder.read_config(run)
    outputs.check_parts(run)
    algorithm = folder.build(record, tested=True)
    n = len(test.of(algorithm.family))
    if test == HELD_OUT or n * (test.stages + 1) * EPISODES > MAX_SINGLE_EPISODES:
        refuse_single(algorithm.family, f"{n * (test.stages + 1) * EPISODES:,} episodes", SMALLER_TEST)
    last = folder.last(run, record)
    label = f"testing {record['algorithm']} on {algorithm.family.id}, {n} task{'s' if n > 1 else ''}, in {run}"
    with log.Progress(test.stages + 1, "test", label, quiet=quiet) as progress, robot.released():
        result = meta_test(record, algorithm, last.state, last.facts["samples"], test, progress.update)
    folder.write_json(run / "evaluation.json", result)
    return result


_ARRAYS = {"tasks": 2, "returns": 2, "beliefs": 2, "belief_stds": 2, "paths": 3}
"""arrays of a stage with a row per task, and their numbers of dimensions"""


def read(path: Path) -> dict[str, Any]:
    """A meta-test from a file that `evaluate` or `during_training` has written, with what earlier versions left out.

    Raises:
        OnebodyError: the file is damaged.
    """
    try:
        test = documents.parse(path.read_bytes())
        if not isinstance(test, dict):
            raise ValueError("it is not a JSON object")
        _complete(test)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        final = path.name == "evaluation.json"
        remedy = f"test the run again: onebody evaluate {path.parent}" if final else "restore a good copy or delete it"
        raise OnebodyError(f"{path} is damaged ({reason}); {remedy}") from error
    return test


def _complete(test: dict[str, Any]) -> None:
    """Check what is used of a meta-test, and add what earlier versions left out; raises any error if it is damaged."""
    test.setdefault("task_is_known", True)
    test.setdefault("told", "task" if test["task_is_known"] else "nothing")
    if not isinstance(test["task_is_known"], bool) or test["told"] not in TOLD:
        raise ValueError("wrong task_is_known or told")
    if not isinstance(test["training_samples"], int):
        raise ValueError("wrong training_samples")
    first = test["stages"][0]
    required = {"tasks", "returns", *({"beliefs", "paths"} & first.keys())}
    for i, stage in enumerate(test["stages"]):
        for name in required | (_ARRAYS.keys() & stage.keys()):
            array, shape = np.array(stage[name]), np.shape(first.get(name, stage[name]))
            fits = array.shape == shape and array.ndim == _ARRAYS[name] and len(array) == len(first["tasks"])
            if not fits or array.dtype.kind not in "fi" or not np.isfinite(array).all():
                raise ValueError(f"wrong {name} of stage {i}")
        stage["stage"] = i
        if not isinstance(stage["adaptation_samples"], int):
            raise ValueError(f"wrong adaptation_samples of stage {i}")
        if not math.isfinite(stage.setdefault("mean", float(np.mean(stage["returns"])))):
            raise ValueError(f"wrong mean of stage {i}")


def tested(test: dict[str, Any], family: TaskFamily) -> str:
    """Describes the tasks of a meta-test of a run of the family."""
    n = len(test["stages"][0]["tasks"])
    if "grid" in test:
        return f"{n} tasks on a grid over {test['grid']}"
    if not family.space.size:
        return "the one task"
    tasks = f"task{'s' if n > 1 else ''}"
    if isinstance(family.space, FiniteSet) and family.space == family.tested.space:
        return f"{n} {tasks} that are also training tasks"
    return f"{n} held-out {tasks}"


TOLD: dict[Told, str] = {
    "task": "told the task; stage 0 takes no real sample to adapt to it",
    "reward function": "told the reward function, but not the task; at stage 0 it has seen no earlier episode of it",
    "nothing": "not told the task; at stage 0 the policy has not adapted to it yet",
}
"""what an algorithm's adaptation is told, and what that means for stage 0"""


def trained(run: Path, record: dict[str, Any]) -> int:
    """Number of real samples of training at a run's last checkpoint."""
    return folder.last(run, record).facts["samples"]


def predicted(adapted: Adapted, i: int) -> float:
    """Predicted return on task i; NaN if the algorithm predicts none."""
    return math.nan if adapted.predicted_return is None else float(adapted.predicted_return[i])


def interval(adapted: Adapted, i: int) -> tuple[float, float] | None:
    """Interval of the predicted return on task i; None if none is predicted, or no real episode has calibrated it."""
    if adapted.predicted_interval is None:
        return None
    low, high = adapted.predicted_interval[i].tolist()
    return None if math.isnan(low + high) else (low, high)


def key_of(seed: int) -> Key:
    """Random key for adaptation of a run with this seed."""
    return jax.random.fold_in(jax.random.key(2020), seed)


def stages_of(
    algorithm: Algorithm[Any], state: Any, tasks: Float[Array, "task feature"], last: int, seed: int
) -> Iterator[tuple[Adapted, int]]:
    """Stages 0 … `last` of adaptation, each with the number of real samples per task taken so far."""
    before = algorithm.simulator.samples
    for adapted in itertools.islice(algorithm.adapt(state, tasks, key_of(seed)), last + 1):
        yield adapted, (algorithm.simulator.samples - before) // len(tasks)
