"""A family of the user's, and what is said of one that is refused."""

import sys
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import gymnasium
import pytest

from onebody.core.errors import OnebodyError
from onebody.tasks import registry
from onebody.worlds.check import check

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/custom_family.py"
POINT = registry.make("point/goal")


@contextmanager
def forgotten():
    """Nothing is known but what onebody brings, as in a new process; afterwards, what was known before."""
    built_in = {family.id: family for family in registry._BUILT_IN}
    files = {name: sys.modules.pop(name) for name in list(sys.modules) if name.endswith(".py")}
    with patch.multiple(registry, _FAMILIES=built_in, _FILES={}), patch.dict(gymnasium.registry):
        yield
    for name in list(sys.modules):
        if name.endswith(".py"):
            del sys.modules[name]
    sys.modules.update(files)


def refusal(family):
    with pytest.raises(OnebodyError) as error:
        check(family)
    assert "\n" not in str(error.value)
    return str(error.value)


def fails(*_):
    raise KeyError("left")
