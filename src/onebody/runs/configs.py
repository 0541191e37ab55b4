"""Converts configurations to JSON and back."""

import dataclasses
import json
import typing
from collections.abc import Mapping
from typing import Any


def to_json(config: Any) -> dict[str, Any]:
    """A (nested) config dataclass as a JSON object, as in `config.json`."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_json(config: type[Any], values: Mapping[str, Any]) -> Any:
    """A (nested) config dataclass from the JSON object that `to_json` made of it."""
    types = typing.get_type_hints(config)

    def value(kind: Any, given: Any) -> Any:
        if dataclasses.is_dataclass(kind):
            return from_json(typing.cast(type, kind), given)
        return tuple(given) if isinstance(given, list) else given

    return config(**{name: value(types[name], given) for name, given in values.items()})
