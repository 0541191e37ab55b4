"""What a robot needs to act on any task: policies and their predicted returns, from a run or from one small file."""

import json
import zipfile
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

from onebody.algorithms.protocol import Adapted
from onebody.core.errors import OnebodyError
from onebody.core.nets import Normalizer
from onebody.learning.policies import ConditionedPolicy, for_each, sees_task
from onebody.runs import evaluate, folder, leaves, outputs
from onebody.tasks import registry
from onebody.tasks.family import TaskFamily
from onebody.tasks.space import Box, Split, TaskSpace

BUNDLED = Path(__file__).parent.parent / "bundled" / "cheetah-vel.npz"
"""a half-cheetah that runs at any velocity, which comes with the package"""
MARGIN = 0.25
"""share of the training range by which tasks of one number are predicted beyond it on each side"""
GRID = 31
"""number of tasks of one number whose returns are predicted"""


@runtime_checkable
class Playable(Protocol):
    """Policies for the tasks of a family."""

    family: TaskFamily
    training_space: TaskSpace
    any_task: bool
    """whether one policy acts on any task; otherwise `predict` optimises a policy for each task inside the model"""
    title: str
    """where the policies come from"""

    def predict(self, tasks: Float[np.ndarray, "task feature"]) -> Adapted:
        """The policies for some tasks, and what is predicted of them without a real sample."""
        ...


def load(path: Path | None) -> Playable:
    """The policies of a run folder, or of a file that `save` wrote; None: those that come with the package.

    Raises:
        OnebodyError: there is no such run or file, or it cannot be played; says why.
    """
    path = path or BUNDLED
    return OfFile(path) if path.suffix == ".npz" else OfRun(path)


class OfRun:
    """Policies from the last checkpoint of a run whose algorithm is told the task."""

    def __init__(self, run: Path):
        record = folder.read_config(run)
        self._algorithm = folder.build(record, tested=True)
        if not self._algorithm.task_is_known:
            raise OnebodyError(
                f"{run}: {record['algorithm']} is not told the task, so it cannot be told another one while it acts: "
                "play a run of an algorithm that is, such as omni"
            )
        last = folder.last(run, record)
        self._state, self._seed = last.state, record["seed"]
        self.family, self.training_space = self._algorithm.family, folder.family_of(record).space
        self.any_task = sees_task(self.predict(middle(self.family.space)[None]).policies)
        self.title = f"{record['algorithm']}, trained on {last.facts['samples']:,} real samples"

    def predict(self, tasks: Float[np.ndarray, "task feature"]) -> Adapted:
        stages = evaluate.stages_of(self._algorithm, self._state, jax.device_put(tasks), 0, self._seed)
        return next(stages)[0]


class OfFile:
    """One policy for any task, with returns that were predicted when it was saved."""

    any_task = True

    def __init__(self, path: Path):
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            about = json.loads(str(arrays["about"]))
            family = registry.make(about["family"])
            self._policy = _policy(arrays, family)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise OnebodyError(
                f"{path} is not a policy for any task ({error}); to write one: onebody play RUN --save FILE.npz"
            ) from error
        if about["version"] != family.version:
            raise OnebodyError(
                f"{path} was made for version {about['version']} of {family.id}, and this onebody has {family.version}"
            )
        self._curve = {name.removeprefix("curve."): x for name, x in arrays.items() if name.startswith("curve.")}
        self.family, self.training_space, self.title = family, family.space, about["title"]

    def predict(self, tasks: Float[np.ndarray, "task feature"]) -> Adapted:
        """Returns are interpolated between tasks of one number; none are predicted for others."""
        policies = for_each(self._policy, len(tasks))
        if not self._curve:
            return Adapted(policies)
        at = {name: np.interp(tasks[:, 0], self._curve["task"], y) for name, y in self._curve.items()}
        interval = jax.device_put(np.stack([at["low"], at["high"]], axis=1))
        return Adapted(policies, jax.device_put(at["return"]), interval, jax.device_put(at["novelty"]))


def save(path: Path, playable: Playable) -> Path:
    """Write one policy for any task, with its predicted returns, as a file of a few hundred kilobytes.

    Raises:
        OnebodyError: the policy is not one for any task.
    """
    family = playable.family
    adapted = playable.predict(middle(family.space)[None])
    policy = jax.tree.map(lambda x: x[0], adapted.policies)
    if not isinstance(policy, ConditionedPolicy):
        raise OnebodyError(f"{playable.title}: it has no policy for any task that could be saved; omni has one")
    arrays = leaves.to_arrays(policy)
    tasks = curve_of(family.space)
    if tasks is not None:
        adapted = playable.predict(tasks)
        assert adapted.predicted_return is not None
        assert adapted.predicted_interval is not None
        assert adapted.novelty is not None
        low, high = np.asarray(adapted.predicted_interval).T
        curve = {"task": tasks[:, 0], "return": adapted.predicted_return, "low": low, "high": high}
        arrays |= {f"curve.{name}": np.asarray(y) for name, y in (curve | {"novelty": adapted.novelty}).items()}
    about = {"family": family.id, "version": family.version, "title": playable.title}
    outputs.check(path, ".npz")
    np.savez_compressed(path, about=np.array(json.dumps(about)), **arrays)  # pyright: ignore[reportArgumentType]
    return path


def middle(space: TaskSpace) -> Float[np.ndarray, " feature"]:
    """The middle of a box, otherwise a held-out task."""
    box = whole(space)
    if isinstance(box, Box):
        return np.asarray(np.add(box.low, box.high) / 2, np.float32)
    return np.asarray(space.held_out(1)[0])


def whole(space: TaskSpace) -> TaskSpace:
    """The space that a split is of."""
    return space.space if isinstance(space, Split) else space


def curve_of(space: TaskSpace) -> Float[np.ndarray, "task 1"] | None:
    """Evenly spaced tasks of one number, also beyond the space; None for other spaces."""
    space = whole(space)
    if not isinstance(space, Box) or space.size != 1:
        return None
    return np.asarray(space.widened(1 + 2 * MARGIN).grid(GRID))


def _policy(arrays: dict[str, Any], family: TaskFamily) -> ConditionedPolicy:
    """A policy whose arrays have been saved by their names."""
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
