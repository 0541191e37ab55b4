"""A training run that is loaded once and gives policies for many tasks."""

import functools
import math
from importlib import metadata
from pathlib import Path
from typing import Any, SupportsIndex

from jaxtyping import Array, Float

from onebody.algorithms.protocol import Adapted
from onebody.core.errors import OnebodyError
from onebody.runs import about as abouts
from onebody.runs import checkpoint, evaluate, folder, policy_file
from onebody.runs.about import About
from onebody.runs.numpy_policy import Limited, Memoryless, Recurrent
from onebody.tasks.limits import bare
from onebody.worlds.simulator import Simulator


class Run:
    """A training run in memory: its record, its algorithm on the family for adaptation, and its last checkpoint."""

    def __init__(self, path: Path | str, simulator: type[Simulator] = Simulator, *, trust: bool = False):
        """`trust`: consent to running the file that registers the run's family, as `folder.trust`."""
        self.path = Path(path)
        if trust:
            folder.trust(self.path)
        self.record = folder.read_config(self.path)
        self.algorithm = folder.build(self.record, tested=True, simulator=simulator)

    @functools.cached_property
    def checkpoint(self) -> checkpoint.Checkpoint:
        """The last undamaged checkpoint; errors as of `folder.last`."""
        return folder.last(self.path, self.record)

    def policy(self, task: Any = None, *, extrapolate: bool = False) -> Memoryless | Recurrent | Limited:
        """A policy for one task, from stage 0 of adaptation: no real samples are taken, not even to measure its return.

        Args:
            task: ψ [feature], a number or a sequence; None for a family of a single task.
            extrapolate: allow tasks outside the family's task space.

        Raises:
            OnebodyError: the task is missing or outside the space; or the algorithm is not told the task.
        """
        value = self.parse(() if task is None else task, extrapolate)
        if not self.algorithm.task_is_known and self.algorithm.family.space.size:
            raise OnebodyError(
                f"{self.record['algorithm']} is not told the task: let it adapt with real samples, as in "
                f"onebody.adapt({str(self.path)!r}, task, stages=2)"
            )
        stages = evaluate.stages_of(self.algorithm, self.checkpoint.state, value[None], 0, self.record["seed"])
        adapted, used = next(stages)
        return policy_file.actor(
            policy_file.arrays(adapted.policies, value, self.algorithm.family.limited),
            self.about(value, adapted, 0, used),
        )

    def export(
        self,
        folder: Path | str,
        task: Any = None,
        *,
        stages: SupportsIndex = 0,
        extrapolate: bool = False,
    ) -> dict[str, Any]:
        """Write a policy as a folder for robots: ONNX and NumPy files, a contract, a parity check, and programs in
        Python, C++ and for ROS 2 (docs/robots.md). An earlier export in the folder is replaced.

        A policy that sees the task, as those of omni and oracle do, has the task as an input, and one with a memory, as
        those of rl2 and pearl, its state as input and output. Other policies are for the one task.

        Args:
            folder: a new folder, or one with an earlier export.
            task: as in `policy`; the default of a policy that has the task as an input. None for a policy that infers
                it with its memory.
            stages: number of adaptation stages that take real samples of the task; the policy is then for it alone.
            extrapolate: allow tasks outside the family's task space.

        Returns:
            The contract, as in contract.json.

        Raises:
            OnebodyError: the package onnx is not installed, the folder holds something else, the task is missing or
                outside the space, or the policy needs more than a network to act.
        """
        from onebody.runs import bundle

        return bundle.export(self, folder, task, stages=stages, extrapolate=extrapolate)

    def parse(self, task: Any, extrapolate: bool) -> Float[Array, " feature"]:
        """A task as an array; errors as of `TaskFamily.parse`, or that it is missing."""
        family = self.algorithm.family
        if family.space.size and isinstance(task, tuple | list) and not task:
            numbers = ",".join(f"{x:.2g}" for x in family.space.held_out(1)[0])
            raise OnebodyError(
                f"a task is needed, {', '.join(family.task_names)}, such as {numbers} (on the command line: --task "
                f"{numbers})"
            )
        return family.parse(task, extrapolate)

    def about(self, task: Float[Array, " feature"], adapted: Adapted, i: int, samples: int, reward: str = "") -> About:
        """The description of the policy for task i of an adaptation that took `samples` real samples per task.

        `reward`: name of the function that replaced the family's reward.
        """
        family, predicted = self.algorithm.family, evaluate.predicted(adapted, i)
        ranges, limits = family.body.action_ranges, () if family.limited is None else family.limited.describe()
        return About(
            algorithm=self.record["algorithm"],
            family=family.id,
            family_version=family.version,
            task=tuple(task.tolist()),
            task_labels=family.task_names,
            reward=reward,
            observation_labels=bare(family.body).labels,
            action_labels=tuple(each.label for each in ranges),
            action_low=tuple(each.low for each in ranges),
            action_high=tuple(each.high for each in ranges),
            dt=family.body.dt,
            training_samples=self.checkpoint.facts["samples"],
            adaptation_samples=samples,
            predicted_return=predicted if math.isfinite(predicted) else None,
            predicted_interval=evaluate.interval(adapted, i),
            novelty=None if adapted.novelty is None else float(adapted.novelty[i]),
            onebody=metadata.version("onebody"),
            limits=limits,
            format=abouts.FORMAT if limits else 1,
        )


def load(run: Path | str, *, trust: bool = False) -> Run:
    """Load a training run once: `load("runs/x").policy(1.3)` is a policy for a task, and so on for other tasks.

    The first policy takes seconds of compilation. Those of an algorithm with one policy for all tasks, such as omni,
    take milliseconds from then on; another algorithm adapts to each task. `trust`: consent to running the file that
    registers the run's family, as `folder.trust`.

    Raises:
        OnebodyError: there is no run or checkpoint.
    """
    loaded = Run(run, trust=trust)
    loaded.checkpoint  # noqa: B018
    return loaded
