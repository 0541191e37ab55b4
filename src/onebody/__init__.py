"""One body, many tasks: sample-efficient multi-task and meta reinforcement learning.

The public names are loaded when they are first used, so that a saved policy acts with NumPy alone.
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onebody.core.errors import OnebodyError
    from onebody.runs.evaluate import adapt, evaluate
    from onebody.runs.loop import resume, train
    from onebody.runs.policy_file import load as load_policy
    from onebody.tasks.registry import make

_PUBLIC = {
    "OnebodyError": ("onebody.core.errors", "OnebodyError"),
    "adapt": ("onebody.runs.evaluate", "adapt"),
    "evaluate": ("onebody.runs.evaluate", "evaluate"),
    "load_policy": ("onebody.runs.policy_file", "load"),
    "make": ("onebody.tasks.registry", "make"),
    "resume": ("onebody.runs.loop", "resume"),
    "train": ("onebody.runs.loop", "train"),
}
__all__ = ["OnebodyError", "adapt", "evaluate", "load_policy", "make", "resume", "train"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("onebody")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'onebody' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(importlib.import_module(module), attribute)
