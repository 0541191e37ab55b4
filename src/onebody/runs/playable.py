"""What a robot needs to act on any task: policies and their predicted returns, from a run or from one small file."""

import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

from onebody.algorithms.protocol import Adapted, Refining
from onebody.core.errors import OnebodyError
from onebody.core.nets import Normalizer
from onebody.learning.policies import ConditionedPolicy, for_each, sees_task
from onebody.runs import documents, evaluate, folder, leaves, loaded, log, outputs, refinement
from onebody.runs.about import About
from onebody.runs.refinement import Refined
from onebody.tasks import registry
from onebody.tasks.family import Reward, TaskFamily
from onebody.tasks.space import Box, TaskSpace, middle, whole

BUNDLED = Path(__file__).parent.parent / "bundled" / "cheetah-vel.npz"
"""a half-cheetah that runs at any velocity, which comes with the package"""
MARGIN = 0.25
"""share of the range of tasks by which sliders and predictions extend beyond it on each side"""
GRID = 31
"""number of tasks at which returns are predicted for a family with tasks of one number"""


class Curve(NamedTuple):
    """Returns that are predicted for tasks of one number."""

    task: Float[np.ndarray, " grid"]
    """in rising order"""
    mean: Float[np.ndarray, " grid"]
    novelty: Float[np.ndarray, " grid"]
    """disagreement of the models along the policy's trajectory, relative to that on their data"""
    low: Float[np.ndarray, " grid"] | None = None
    """lower bound of the return that is expected; None where no real episode calibrated it"""
    high: Float[np.ndarray, " grid"] | None = None

    def at(self, task: Any) -> "Curve":
        """For other tasks [n], interpolated."""
        return Curve(**{name: np.interp(task, self.task, values) for name, values in self.given().items()})

    def given(self) -> dict[str, Float[np.ndarray, " grid"]]:
        """The arrays by their names, without those that are None."""
        return {name: values for name, values in self._asdict().items() if values is not None}


class Refine(Protocol):
    """Policy optimisation inside the model."""

    def __call__(
        self,
        task: Float[np.ndarray, " feature"],
        seconds: float,
        reward: Reward | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Refined:
        """Optimise for some seconds, without compilation, or until `stopped`; `reward`: instead of the family's.

        Raises:
            OnebodyError: the reward is invalid.
        """
        ...


@runtime_checkable
class Playable(Protocol):
    """Policies for the tasks of a family."""

    family: TaskFamily
    training_space: TaskSpace
    first: Adapted
    """for the task `middle`"""
    any_task: bool
    """whether one policy acts on any task; otherwise `adapted` optimises a policy for each task inside the model"""
    title: str
    """where the policies come from"""
    refine: Refine | None
    """optimises the policy for one task inside the model; None without a model, or if the algorithm cannot"""

    def adapted(self, task: Float[np.ndarray, " feature"]) -> Adapted:
        """The policy for one task, and what is predicted of it without a real sample."""
        ...

    def curve(self) -> Curve | None:
        """Predicted returns over the tasks; None unless there is one policy for any task, tasks are one number, and
        an ensemble of models predicts returns."""
        ...

    def about(self, task: Float[np.ndarray, " feature"], adapted: Adapted, reward: str) -> About | None:
        """The description of a policy for one task; `reward`: what it was optimised for in place of the family's; None
        where there is no run to describe."""
        ...


def load(path: Path | None) -> Playable:
    """The policies of a run folder, or of a file that `save` wrote; None: those that come with the package.

    Raises:
        OnebodyError: there is no such run or file, or it cannot be played; says why.
    """
    path = path or BUNDLED
    return OfFile(path) if path.suffix == ".npz" else OfRun(path)


class OfRun:
    """Policies from the last checkpoint of a run whose algorithm is told the task; `hidden.Adapting` plays others."""

    def __init__(self, run: Path):
        self._run = loaded.Run(run)
        self._algorithm, name = self._run.algorithm, self._run.record["algorithm"]
        if not self._algorithm.task_is_known:
            raise OnebodyError(
                f"{run}: {name} is not told the task, so it has no policy for any task to save or export: use a run of "
                "an algorithm that is told the task (onebody list says which are)"
            )
        last, self._training = self._run.checkpoint, folder.family_of(self._run.record)
        self._state, self._seed = last.state, self._run.record["seed"]
        self.family, self.training_space = self._algorithm.family, self._training.space
        with log.announce_if_slow(f"preparing the policy of {name} for a first task", quiet=False):
            self.first = self.adapted(middle(self.family.space))
        self.any_task = sees_task(self.first.policies)
        self.refine: Refine | None = self._refined if isinstance(self._algorithm, Refining) else None
        self.title = f"{name}, trained on {last.facts['samples']:,} real samples"

    def adapted(self, task: Float[np.ndarray, " feature"]) -> Adapted:
        return self._stage_zero(task[None])

    def curve(self) -> Curve | None:
        space = whole(self.family.space)
        if not self.any_task or not isinstance(space, Box) or space.size != 1:
            return None
        tasks = np.asarray(space.widened(1 + 2 * MARGIN).grid(GRID))
        adapted = self._stage_zero(tasks)
        parts = adapted.predicted_return, adapted.novelty, adapted.predicted_interval
        if any(part is None for part in parts):
            return None
        mean, novelty, interval = map(np.asarray, parts)
        bounds = interval.T if np.isfinite(interval).all() else ()
        return Curve(tasks[:, 0], mean, novelty, *bounds)

    def about(self, task: Float[np.ndarray, " feature"], adapted: Adapted, reward: str) -> About:
        return self._run.about(jax.device_put(task), adapted, 0, 0, reward)

    def _refined(
        self,
        task: Float[np.ndarray, " feature"],
        seconds: float,
        reward: Reward | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Refined:
        algorithm, state = self._algorithm, self._state
        assert isinstance(algorithm, Refining)
        if reward is not None:
            algorithm, state = algorithm.rewarded(state, refinement.with_reward(self.family, reward))
        key = evaluate.key_of(self._seed)
        return refinement.refine(algorithm, state, jax.device_put(task), key, seconds, stopped)

    def save(self, path: Path) -> Path:
        """Write the policy for any task, with its predicted returns, as a file of about a hundred kilobytes.

        Raises:
            OnebodyError: the run has no such policy, the family is the user's own, or as `outputs.check`.
        """
        outputs.check(path, ".npz")
        policy = jax.tree.map(lambda x: x[0], self.first.policies)
        if not isinstance(policy, ConditionedPolicy):
            raise OnebodyError(
                f"{self.title}: its policies cannot be saved for any task; for one task: onebody adapt --save"
            )
        name, is_found = registry.portable(self._training)
        if name != self._training.id or not is_found:
            raise OnebodyError(f"the file would lack {self.family.id}, a family of your own: play the run itself")
        about = {"family": name, "version": self._training.version, "title": self.title}
        arrays = leaves.to_arrays(policy)
        if curve := self.curve():
            arrays |= {f"curve.{name}": values for name, values in curve.given().items()}
        np.savez_compressed(path, about=np.array(json.dumps(about)), **arrays)  # pyright: ignore[reportArgumentType]
        return path

    def _stage_zero(self, tasks: Float[np.ndarray, "task feature"]) -> Adapted:
        stages = evaluate.stages_of(self._algorithm, self._state, jax.device_put(tasks), 0, self._seed)
        return next(stages)[0]


class OfFile:
    """One policy for any task, with the returns that were predicted when it was saved."""

    any_task = True
    refine: Refine | None = None

    def __init__(self, path: Path):
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            about = documents.parse(str(arrays["about"]))
            if "family_version" in about:
                raise ValueError("it has the policy for one task")
            training = registry.families()[about["family"]]  # never FILE.py:ID: a policy file is data
            version, self.title = about["version"], str(about["title"])
            self.family, self.training_space = training.tested, training.space
            self._policy = _policy(arrays, self.family)
            known = {name.removeprefix("curve."): x for name, x in arrays.items() if name.startswith("curve.")}
            self._curve = Curve(**known) if known else None
        except (OSError, ValueError, TypeError, LookupError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise OnebodyError(
                f"{path} is not a policy for any task ({error}); to write one: onebody play RUN --save FILE.npz"
            ) from error
        if version != training.version:
            raise OnebodyError(
                f"{path} was made for version {version} of {training.id}, and this onebody has {training.version}"
            )
        self.first = self.adapted(middle(self.family.space))

    def adapted(self, task: Float[np.ndarray, " feature"]) -> Adapted:
        """Without a prediction, which `curve` has."""
        return Adapted(for_each(self._policy, 1))

    def curve(self) -> Curve | None:
        return self._curve

    def about(self, task: Float[np.ndarray, " feature"], adapted: Adapted, reward: str) -> None:
        return None


def _policy(arrays: dict[str, Any], family: TaskFamily) -> ConditionedPolicy:
    """A policy whose arrays have been saved by their names.

    Raises:
        LookupError, ValueError: an array is missing or has another shape.
    """
    n = sum(name.startswith(".net.weights") for name in arrays)
    hidden = tuple(arrays[f".net.weights[{i}]"].shape[1] for i in range(n - 1))
    body, observation, task = family.body, Normalizer(family.body.observation_size), Normalizer(family.space.size)
    like = eqx.filter_eval_shape(
        lambda key: ConditionedPolicy(key, hidden, observation, task, body.action_size), jax.random.key(0)
    )
    for name, shape in leaves.shapes(like).items():
        if shape != (there := f"{arrays[name].dtype}[{','.join(map(str, arrays[name].shape))}]"):
            raise ValueError(f"{name} is {there}, and the body {body.name} needs {shape}")
    return leaves.from_arrays(lambda name: arrays[name], like)
