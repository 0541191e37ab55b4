"""All families by their ids, and the short names that papers use."""

from onebody.core.errors import OnebodyError, did_you_mean
from onebody.tasks import locomotion, point
from onebody.tasks.family import TaskFamily

_FAMILIES = {family.id: family for family in (*locomotion.FAMILIES, *point.FAMILIES)}
_ALIASES = {"cheetah-vel": "smt/cheetah-vel", "cheetah-dir": "smt/cheetah-dir", "point": "point/goal"}


def families() -> dict[str, TaskFamily]:
    """Every registered family by id."""
    return dict(_FAMILIES)


def aliases() -> dict[str, str]:
    """Short name -> id."""
    return dict(_ALIASES)


def make(name: str) -> TaskFamily:
    """The family with this id or alias.

    Raises:
        OnebodyError: there is none; names the nearest ones.
    """
    name = _ALIASES.get(name, name)
    if name not in _FAMILIES:
        raise OnebodyError(f"no family {name!r}{did_you_mean(name, [*_FAMILIES, *_ALIASES])}")
    return _FAMILIES[name]
