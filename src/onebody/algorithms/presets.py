"""Algorithms and their presets by name: ours, and those of installed packages with an entry point for them.

Presets: `paper` (as published, or as in the code released with the paper; docs/presets.md lists what differs),
`released` (later code of the paper's authors, where it differs), `laptop` (two cores, minutes), `smoke` (seconds).
"""

import contextlib
import dataclasses
import importlib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from onebody.algorithms import ENTRY_POINTS
from onebody.algorithms.protocol import AlgorithmSpec
from onebody.core.errors import OnebodyError, did_you_mean
from onebody.tasks import registry
from onebody.tasks.family import TaskFamily

_BUILT_IN = {
    "omni": "omni.omni:SPEC",
    "omni-hidden": "omni.omni_hidden:SPEC",
    "smt": "slbo.smt:SPEC",
    "slbo": "slbo.slbo:SPEC",
    "smt-active": "slbo.active_smt:SPEC",
    "admrl": "slbo.admrl:SPEC",
    "mb-unif": "slbo.admrl:MB_UNIF",
    "mb-gauss": "slbo.admrl:MB_GAUSS",
    "pearl": "context.pearl:SPEC",
    "maesn": "maml.maesn:SPEC",
    "maml": "maml.maml:SPEC",
    "promp": "maml.promp:SPEC",
    "rl2": "context.rl2:SPEC",
    "mb-mpo": "mb_mpo.mb_mpo:SPEC",
    "me-trpo": "mb_mpo.me_trpo:SPEC",
    "mb-mpc": "mb_mpo.mb_mpc:SPEC",
    "oracle": "model_free.oracle:SPEC",
    "trpo": "model_free.trpo:SPEC",
    "acktr": "model_free.acktr:SPEC",
    "ppo": "model_free.ppo:SPEC",
    "sac": "model_free.sac:SPEC",
    "ddpg": "model_free.ddpg:SPEC",
    "random-search": "model_free.random_search:SPEC",
}


@cache
def _added() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS) if point.name not in _BUILT_IN}


def names() -> list[str]:
    """Names of all algorithms: ours, then those of installed packages."""
    return [*_BUILT_IN, *_added()]


def ignored() -> list[str]:
    """Entry points of installed packages that have the name of one of our algorithms, which stays as it is."""
    return [f"{point.name} = {point.value}" for point in entry_points(group=ENTRY_POINTS) if point.name in _BUILT_IN]


def spec(name: str) -> AlgorithmSpec:
    """An algorithm's class and presets.

    Raises:
        OnebodyError: there is none of this name, and the nearest ones are named; or another package's cannot be loaded.
    """
    if name in _BUILT_IN:
        module, variable = _BUILT_IN[name].split(":")
        return getattr(importlib.import_module(f"onebody.algorithms.{module}"), variable)
    if name not in _added():
        raise OnebodyError(f"no algorithm {name!r}{did_you_mean(name, names())}")
    point = _added()[name]
    try:
        loaded = point.load()
    except Exception as error:
        raise OnebodyError(f"algorithm {name!r} cannot be loaded from {point.value}: {error}") from error
    if not isinstance(loaded, AlgorithmSpec):
        raise OnebodyError(f"algorithm {name!r}: {point.value} must be an AlgorithmSpec, not {type(loaded).__name__}")
    if not isinstance(getattr(loaded.algorithm, "task_is_known", None), bool):
        raise OnebodyError(f"algorithm {name!r}: its class needs `task_is_known = True` or `= False` in its body")
    for preset, config in loaded.presets.items():
        if not dataclasses.is_dataclass(config) or not hasattr(config, "n_iterations"):
            raise OnebodyError(f"algorithm {name!r}: preset {preset!r} must be a dataclass that has `n_iterations`")
    return loaded


def algorithm(name: str) -> type[Any]:
    """The class of an algorithm; errors as of `spec`."""
    return spec(name).algorithm


def able(method: str) -> Iterator[str]:
    """Names of the listed algorithms that have a method: `refine` of `Refining`, `with_logs` of `LearnsFromLogs`."""
    for name in names():
        with contextlib.suppress(OnebodyError):  # of another package, and it does not load
            if hasattr(algorithm(name), method):
                yield name


def check(name: str, config: Any) -> None:
    """Raises OnebodyError where settings deny what the name of the algorithm stands for."""
    own = spec(name)
    for field, value in own.fixed.items():
        if (given := getattr(config, field)) != value:
            raise OnebodyError(f"{name} has {field} {value}, not {given}: use {own.general} --config.{field} {given}")


def preset(name: str, preset: str, family: str | TaskFamily = "") -> Any:
    """The `Config` of an algorithm under a preset, with a family's own settings where there are such.

    Args:
        name: the algorithm, as `onebody list` shows it.
        preset: `paper`, `laptop`, `smoke`, or another that the algorithm has.
        family: a family or its id; empty: settings that suit no family in particular.

    Raises:
        OnebodyError: no such algorithm, preset or family; names the nearest ones.
    """
    own = spec(name)
    if preset not in own.presets:
        raise OnebodyError(f"no preset {preset!r} of {name}{did_you_mean(preset, list(own.presets))}")
    family_id = family.id if isinstance(family, TaskFamily) else family
    family_id = registry.make(family_id).id if family_id else ""
    settings: dict[str, Any] = {}
    for kind in ("released", "laptop") if preset == "laptop" else (preset,):
        settings |= own.family_settings.get((kind, family_id), {})
    return dataclasses.replace(own.presets[preset], **settings)
