"""One body, many tasks: sample-efficient multi-task and meta reinforcement learning.

The public names are loaded when they are first used, so that a saved policy acts with NumPy alone.
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onebody.algorithms.presets import preset
    from onebody.core.errors import EmergencyStop, OnebodyError
    from onebody.runs.adapt import adapt
    from onebody.runs.compare import compare
    from onebody.runs.evaluate import MetaTest, evaluate
    from onebody.runs.loaded import load
    from onebody.runs.loop import resume, train
    from onebody.runs.policy_file import load as load_policy
    from onebody.tasks.body import ClosedFormBody, Feature, MujocoBody, Normal, Start, Uniform
    from onebody.tasks.family import TaskFamily
    from onebody.tasks.limited import limited
    from onebody.tasks.limits import Limits
    from onebody.tasks.randomized import randomized
    from onebody.tasks.registry import make
    from onebody.tasks.space import Arc, Box, Disk, FiniteSet, Split
    from onebody.worlds import gym
    from onebody.worlds.custom import from_gymnasium, register

_PUBLIC = {
    "Arc": ("onebody.tasks.space", "Arc"),
    "Box": ("onebody.tasks.space", "Box"),
    "ClosedFormBody": ("onebody.tasks.body", "ClosedFormBody"),
    "Disk": ("onebody.tasks.space", "Disk"),
    "EmergencyStop": ("onebody.core.errors", "EmergencyStop"),
    "Feature": ("onebody.tasks.body", "Feature"),
    "FiniteSet": ("onebody.tasks.space", "FiniteSet"),
    "Limits": ("onebody.tasks.limits", "Limits"),
    "MetaTest": ("onebody.runs.evaluate", "MetaTest"),
    "MujocoBody": ("onebody.tasks.body", "MujocoBody"),
    "Normal": ("onebody.tasks.body", "Normal"),
    "OnebodyError": ("onebody.core.errors", "OnebodyError"),
    "Split": ("onebody.tasks.space", "Split"),
    "Start": ("onebody.tasks.body", "Start"),
    "TaskFamily": ("onebody.tasks.family", "TaskFamily"),
    "Uniform": ("onebody.tasks.body", "Uniform"),
    "adapt": ("onebody.runs.adapt", "adapt"),
    "compare": ("onebody.runs.compare", "compare"),
    "evaluate": ("onebody.runs.evaluate", "evaluate"),
    "from_gymnasium": ("onebody.worlds.custom", "from_gymnasium"),
    "gym": ("onebody.worlds.gym", ""),
    "limited": ("onebody.tasks.limited", "limited"),
    "load": ("onebody.runs.loaded", "load"),
    "load_policy": ("onebody.runs.policy_file", "load"),
    "make": ("onebody.tasks.registry", "make"),
    "preset": ("onebody.algorithms.presets", "preset"),
    "randomized": ("onebody.tasks.randomized", "randomized"),
    "register": ("onebody.worlds.custom", "register"),
    "resume": ("onebody.runs.loop", "resume"),
    "train": ("onebody.runs.loop", "train"),
}
__all__ = [
    "Arc",
    "Box",
    "ClosedFormBody",
    "Disk",
    "EmergencyStop",
    "Feature",
    "FiniteSet",
    "Limits",
    "MetaTest",
    "MujocoBody",
    "Normal",
    "OnebodyError",
    "Split",
    "Start",
    "TaskFamily",
    "Uniform",
    "adapt",
    "compare",
    "evaluate",
    "from_gymnasium",
    "gym",
    "limited",
    "load",
    "load_policy",
    "make",
    "preset",
    "randomized",
    "register",
    "resume",
    "train",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("onebody")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'onebody' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found
