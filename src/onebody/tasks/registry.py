"""All families by their ids, and the short names that papers use."""

from onebody.core.errors import OnebodyError, did_you_mean
from onebody.tasks import admrl, mbmpo, pearl, point, smt
from onebody.tasks.family import TaskFamily

_BUILT_IN = (*smt.FAMILIES, *pearl.FAMILIES, *mbmpo.FAMILIES, *admrl.FAMILIES, *point.FAMILIES)
_FAMILIES = {family.id: family for family in _BUILT_IN}
_ALIASES = {
    "cheetah-vel": "smt/cheetah-vel",
    "cheetah-dir": "smt/cheetah-dir",
    "ant-vel": "smt/ant-vel",
    "ant-dir": "smt/ant-dir",
    "humanoid-vel": "smt/humanoid-vel",
    "point": "point/goal",
    "sparse-point-robot": "pearl/sparse-point",
    "Ant2D": "admrl/ant-2d",
    "Ant3D": "admrl/ant-3d",
    "Hopper2D": "admrl/hopper-2d",
    "Walker2D": "admrl/walker-2d",
    "HClinearstate": "admrl/cheetah-linear",
}


def families() -> dict[str, TaskFamily]:
    """Every registered family by id."""
    return dict(_FAMILIES)


def aliases() -> dict[str, str]:
    """Short name -> id."""
    return dict(_ALIASES)


def add(family: TaskFamily) -> None:
    """Make a family known by its id; `onebody.register` checks it first.

    Raises:
        OnebodyError: another family has the id.
    """
    if family.id in _FAMILIES or family.id in _ALIASES:
        raise OnebodyError(f"there is a family {family.id} already; give yours an id of its own")
    _FAMILIES[family.id] = family


def make(name: str) -> TaskFamily:
    """The family with this id or alias.

    Raises:
        OnebodyError: there is none; names the nearest ones.
    """
    name = _ALIASES.get(name, name)
    if name not in _FAMILIES:
        raise OnebodyError(f"no family {name!r}{did_you_mean(name, [*_FAMILIES, *_ALIASES])}")
    return _FAMILIES[name]
