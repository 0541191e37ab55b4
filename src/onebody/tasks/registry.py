"""Registry of all families by id, with aliases that papers use; includes families of users."""

from pathlib import Path

from onebody.core.errors import OnebodyError, did_you_mean
from onebody.tasks import admrl, files, mbmpo, pearl, point, smt
from onebody.tasks.family import TaskFamily

_BUILT_IN = (*smt.FAMILIES, *pearl.FAMILIES, *mbmpo.FAMILIES, *admrl.FAMILIES, *point.FAMILIES)
_FAMILIES = {family.id: family for family in _BUILT_IN}
_FILES: dict[str, str] = {}
"""id -> user's file that registered the family"""
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
    """Alias -> id."""
    return dict(_ALIASES)


def is_known(family: TaskFamily) -> bool:
    """Whether this family object is registered.

    Raises:
        OnebodyError: a built-in family has this id.
    """
    known = _FAMILIES.get(family.id) is family
    if not known and family.id in {each.id for each in _BUILT_IN} | _ALIASES.keys():
        raise OnebodyError(f"there is a family {family.id} already; give yours another id")
    return known


def add(family: TaskFamily) -> None:
    """Register a family by its id; replaces another family of the user with this id. Does not check the family.

    Raises:
        OnebodyError: a built-in family has this id.
    """
    if not is_known(family):
        _FAMILIES[family.id] = family


def make(name: str) -> TaskFamily:
    """The family with this id or alias. `FILE.py:ID` runs a user's file if the family is not registered yet.

    Raises:
        OnebodyError: there is no such family (the nearest names are suggested), or the file is missing or fails.
    """
    if not isinstance(name, str):
        raise OnebodyError(f"a family is named by a text, its id or FILE.py:ID, not by {name!r}")
    path, in_file, name = name.rpartition(".py:")
    if in_file:
        return of_file(Path(f"{path}.py"), name)
    name = _ALIASES.get(name, name)
    if name.endswith(".py"):
        raise OnebodyError(f"{name} is a file: add the id of a family that it registers, as in {name}:ID")
    if name not in _FAMILIES:
        near = did_you_mean(name, [*_FAMILIES, *_ALIASES])
        general = "; onebody list --families shows all, and FILE.py:ID names one of your own"
        raise OnebodyError(f"no family {name!r}{near if 'did you mean' in near else general}")
    return _FAMILIES[name]


def of_file(file: Path, name: str) -> TaskFamily:
    """The family with this id that a user's file registers; runs the file if the family is not registered yet.

    Raises:
        OnebodyError: the file is missing or fails, or it registers no such family.
    """
    file = file.resolve()
    if name not in _of_users():
        files.run(file, "name a family of your own as FILE.py:ID")
    if name not in _of_users():
        near = did_you_mean(name, _of_users()) if _of_users() else "; it must call onebody.register(family)"
        raise OnebodyError(f"{file} registers no family {name!r}{near}")
    _FILES[name] = str(file)
    return _FAMILIES[name]


def file_of(family: TaskFamily) -> str | None:
    """Absolute path of the user's file that registered a family; None if there is none."""
    return _FILES.get(family.id)


def portable(family: TaskFamily) -> tuple[str, bool]:
    """The name by which another process finds a family, and whether it can: `FILE.py:ID` of a user's, with the absolute
    path; a family that was registered without a file exists in this process alone."""
    file = file_of(family)
    return (f"{file}:{family.id}", True) if file else (family.id, family.id not in _of_users())


def _of_users() -> set[str]:
    """Ids of the families that users registered."""
    return _FAMILIES.keys() - {family.id for family in _BUILT_IN}
