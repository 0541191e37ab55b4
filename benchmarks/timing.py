"""Timing in pairs, so that a ratio holds on a machine whose speed drifts."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np


def seconds(functions: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The median seconds of each function, called in turn `repeats` times after one warm-up call."""
    for function in functions.values():
        jax.block_until_ready(function())
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            began = time.perf_counter()
            jax.block_until_ready(function())
            taken[name].append(time.perf_counter() - began)
    return {name: float(np.median(values)) for name, values in taken.items()}


def report(name: str, ratio: float, goal: float, better: str, detail: str) -> None:
    """One JSON object a line."""
    met = ratio >= goal if better == "higher" else ratio <= goal
    line = {"name": name, "ratio": round(ratio, 3), "goal": goal, "better": better, "met": met, "detail": detail}
    print(json.dumps(line), flush=True)
