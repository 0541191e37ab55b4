"""All families by their ids, and the short names that papers use; those of users, from their own files too."""

from pathlib import Path

from onebody.core.errors import OnebodyError, did_you_mean
from onebody.tasks import admrl, files, mbmpo, pearl, point, smt
from onebody.tasks.family import TaskFamily

_BUILT_IN = (*smt.FAMILIES, *pearl.FAMILIES, *mbmpo.FAMILIES, *admrl.FAMILIES, *point.FAMILIES)
_FAMILIES = {family.id: family for family in _BUILT_IN}
_FILES: dict[str, str] = {}
"""id -> the user's file by which the family was asked for"""
_ALIASES = {
    "cheetah-vel": "smt/cheetah-vel",
    "cheetah-dir": "smt/cheetah-dir",
    "maml/cheetah-dir": "smt/cheetah-dir",
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


def is_known(family: TaskFamily) -> bool:
    """Whether this very family is registered.

    Raises:
        OnebodyError: another family, which is no user's, has the id.
    """
    known = _FAMILIES.get(family.id) is family
    if not known and family.id in {each.id for each in _BUILT_IN} | _ALIASES.keys():
        raise OnebodyError(f"there is a family {family.id} already; give yours an id of its own")
    return known


def add(family: TaskFamily) -> None:
    """Make a family known by its id, in place of a user's family that had it; `onebody.register` checks it first.

    Raises:
        OnebodyError: another family, which is no user's, has the id.
    """
    if not is_known(family):
        _FAMILIES[family.id] = family


def make(name: str) -> TaskFamily:
    """The family with this id or alias; `FILE.py:ID` first runs a file of yours, which registers it, if need be.

    Raises:
        OnebodyError: there is none; names the nearest ones. Or the file is missing or fails.
    """
    path, in_file, name = name.rpartition(".py:")
    if in_file:
        file = Path(f"{path}.py").resolve()
        if name not in _own():
            files.run(file, "name a family of your own as FILE.py:ID")
        if name not in _own():
            near = did_you_mean(name, _own()) if _own() else "; it must call onebody.register(family)"
            raise OnebodyError(f"{file} registers no family {name!r}{near}")
        _FILES[name] = str(file)
    name = _ALIASES.get(name, name)
    if name not in _FAMILIES:
        near = did_you_mean(name, [*_FAMILIES, *_ALIASES])
        far = "; onebody list --families shows all, and FILE.py:ID names one of your own"
        raise OnebodyError(f"no family {name!r}{near if 'did you mean' in near else far}")
    return _FAMILIES[name]


def file_of(family: TaskFamily) -> str | None:
    """The user's file by which a family was asked for, as an absolute path."""
    return _FILES.get(family.id)


def _own() -> set[str]:
    return _FAMILIES.keys() - {family.id for family in _BUILT_IN}
