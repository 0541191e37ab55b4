"""Settings of an algorithm by the names of its options, as studies and tuning change them."""

import json
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onebody.algorithms import presets
from onebody.core.errors import OnebodyError, did_you_mean
from onebody.runs import configs


def configuration(algorithm: str, preset: str, settings: Mapping[str, Any], family: str) -> dict[str, Any]:
    """An algorithm's whole configuration as JSON: the preset's, with changed settings.

    Args:
        settings: new values by the names of options: {"trpo.shrink": 0.5} or {"trpo": {"shrink": 0.5}}.

    Raises:
        OnebodyError: a setting does not exist, or has a value that is not allowed.
    """
    values = configs.to_json(presets.preset(algorithm, preset, family))
    for name, value in _flat(settings):
        place, last = _place(algorithm, values, name)
        like = place[last]
        if not _alike(value, like):
            raise OnebodyError(f"{algorithm}: setting {name} must be like {json.dumps(like)}, not {value!r}")
        place[last] = value
    kind = typing.get_type_hints(presets.algorithm(algorithm))["config"]
    return configs.to_json(configs.from_json(kind, values))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their whole names; `trpo.shrink = 0.5` without quotes is a table inside a table."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _alike(value: Any, like: Any) -> bool:
    """Whether a value has the type of the preset's: numbers, strings, truth values, or lists of numbers."""
    if like is None:
        return True
    if isinstance(like, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(like, bool)
    if isinstance(like, list):
        kinds = int if all(isinstance(each, int) for each in like) else (int, float)
        return isinstance(value, list | tuple) and all(isinstance(each, kinds) for each in value)
    if isinstance(like, int):
        return isinstance(value, int)
    return isinstance(value, int | float) if isinstance(like, float) else isinstance(value, type(like))


def in_preset(algorithm: str, preset: str, family: str, names: Sequence[str]) -> dict[str, Any]:
    """The values that settings have in a preset, by name.

    Raises:
        OnebodyError: a setting does not exist.
    """
    values = configs.to_json(presets.preset(algorithm, preset, family))
    places = {name: _place(algorithm, values, name) for name in names}
    return {name: place[last] for name, (place, last) in places.items()}


def _place(algorithm: str, values: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """Where a setting stands in a configuration: the innermost object, and the key in it."""
    *path, last = name.replace("-", "_").split(".")
    place: Any = values
    for part in path:
        place = place.get(part) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last not in place:
        near, _, _ = did_you_mean(name, [known for known, _ in _flat(values)]).partition("; known")
        raise OnebodyError(f"{algorithm} has no setting {name!r}{near} (onebody train {algorithm} --help)")
    return place, last
