"""Converts configurations to JSON and back."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from onebody.core.errors import OnebodyError


def to_json(config: Any) -> dict[str, Any]:
    """A (nested) config dataclass as a JSON object, as in `config.json`; numbers of NumPy and JAX become Python's.

    Raises:
        OnebodyError: a value is no data.
    """
    return json.loads(json.dumps(dataclasses.asdict(config), default=_plain))


def from_json(config: type[Any], values: Mapping[str, Any]) -> Any:
    """A (nested) config dataclass from the JSON object that `to_json` made of it.

    Raises:
        KeyError, TypeError: a field does not exist, is missing, or has a value of another type.
    """
    kinds = typing.get_type_hints(config)

    def value(name: str, given: Any) -> Any:
        if dataclasses.is_dataclass(kinds[name]) and isinstance(given, dict):
            return from_json(kinds[name], given)
        given = tuple(given) if isinstance(given, list) else given
        if not _fits(kinds[name], given):
            raise TypeError(f"{name} cannot be {given!r}")
        return given

    return config(**{name: value(name, given) for name, given in values.items()})


def is_range(value: Any) -> bool:
    """Whether a value of a JSON file is two numbers."""
    return isinstance(value, list) and len(value) == 2 and all(_fits(float, each) for each in value)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        return value.tolist()
    raise OnebodyError(f"a configuration cannot hold {value!r}: its values are numbers, texts and tuples of numbers")


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value has the type of an annotation; a whole number is also a float; others fit any value."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return value in arguments
    if origin in (typing.Union, types.UnionType):
        return any(_fits(each, value) for each in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(arguments[0], each) for each in value)
    if kind in (int, float):
        return type(value) in (int, kind)
    return not isinstance(kind, type) or isinstance(value, kind)
