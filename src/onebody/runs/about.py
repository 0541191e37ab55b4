"""What a saved policy is for, and where it comes from: the description in its file."""

import dataclasses
import json
import textwrap
from dataclasses import dataclass
from typing import Any

from onebody.core.errors import OnebodyError

FORMAT = 2
"""newest version of the file format"""


@dataclass(frozen=True)
class About:
    """What a policy is for, and where it comes from."""

    algorithm: str
    family: str
    """id of the task family"""
    family_version: int
    task: tuple[float, ...]
    task_labels: tuple[str, ...]
    """name of each number of the task, with its unit if that is known"""
    reward: str
    """name of the function that the policy was optimised for in place of the family's reward; empty: the family's"""
    observation_labels: tuple[str, ...]
    """name of each number of an observation, with its unit if that is known"""
    action_labels: tuple[str, ...]
    """name of each number of an action, with its unit if that is known"""
    action_low: tuple[float, ...]
    """what -1 of each number of an action is scaled to, in its unit"""
    action_high: tuple[float, ...]
    """what 1 of each number of an action is scaled to, in its unit"""
    dt: float
    """seconds per control step"""
    training_samples: int
    """number of real samples of training"""
    adaptation_samples: int
    """number of real samples of this task"""
    predicted_return: float | None
    """mean return that the model predicts; None without a prediction"""
    predicted_interval: tuple[float, float] | None
    """interval in which the real return is expected; None without one"""
    novelty: float | None
    """disagreement of the models along the policy's trajectory, relative to that on their data; None without one"""
    onebody: str
    """version of onebody that made the policy"""
    format: int = 1
    """version of the file format: 2 with limits, otherwise 1"""
    limits: tuple[str, ...] = ()
    """limits of the body, each as a phrase"""

    def __str__(self) -> str:
        """Readable lines."""
        task = [f"{label}: {value:g}" for label, value in zip(self.task_labels, self.task, strict=True)]
        ranges = zip(self.action_labels, self.action_low, self.action_high, strict=True)
        actions = [f"{label} [{low:g}, {high:g}]" for label, low, high in ranges]
        rows = {
            "task": "; ".join(task) or "the only one of its family",
            "reward": self.reward,
            "observation": f"{len(self.observation_labels)} numbers: {'; '.join(self.observation_labels)}",
            "action": f"{len(actions)} numbers in [-1, 1], scaled to {'; '.join(actions)}",
            "limits": "; ".join(self.limits),
            "control step": f"{self.dt:g} s",
            "real samples": f"{self.training_samples:,} of training, {self.adaptation_samples:,} of this task",
        }
        if self.predicted_return is not None:
            rows["predicted"] = f"return {self.predicted_return:,.1f}"
        if self.predicted_interval is not None:
            low, high = self.predicted_interval
            rows["predicted"] += f", interval [{low:,.1f}, {high:,.1f}]"
        if self.novelty is not None:
            rows["novelty"] = f"{self.novelty:.1f} (1: as on the data of training)"
        rows["made by"] = f"onebody {self.onebody}, file format {self.format}"
        lines = [f"policy of {self.algorithm} for {self.family}, version {self.family_version}"]
        lines += [f"  {name:<12}  {text}" for name, text in rows.items() if text]
        return "\n".join(
            textwrap.fill(line, 100, subsequent_indent=" " * 16, break_long_words=False, break_on_hyphens=False)
            for line in lines
        )


def to_json(about: About) -> str:
    """A description as JSON, which versions of onebody without limits read if there are none."""
    return json.dumps({name: value for name, value in dataclasses.asdict(about).items() if name != "limits" or value})


def from_json(text: str, path: Any) -> About:
    """The description in the file `path`.

    Raises:
        OnebodyError: it was written by a later version of onebody, whose format is another one.
        ValueError, TypeError, LookupError: it is damaged.
    """
    fields = json.loads(text)
    if fields["format"] > FORMAT:
        raise OnebodyError(
            f"{path} has format {fields['format']}, of onebody {fields.get('onebody')}, and this onebody reads "
            f"formats up to {FORMAT}: install a later one"
        )
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return About(**values)
