"""What the matrix products of a computation cost on this machine, at their best."""

import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import seconds

Shape = tuple[int, int, int]
"""rows, inner size, columns of one product"""


def forward(rows: int, sizes: tuple[int, ...]) -> list[Shape]:
    """Products of one pass through a network with these layer sizes."""
    return [(rows, a, b) for a, b in itertools.pairwise(sizes)]


def backward(rows: int, sizes: tuple[int, ...], inputs: bool = False) -> list[Shape]:
    """Products of the pass back: for the weights of each layer, and for its inputs but the first's unless `inputs`."""
    passed = forward(rows, sizes)
    return [(a, rows, b) for rows, a, b in passed] + [(rows, b, a) for rows, a, b in passed[0 if inputs else 1 :]]


def through(rows: int, sizes: tuple[int, ...]) -> list[Shape]:
    """Products of the pass back to the inputs alone, weights being fixed."""
    return [(rows, b, a) for rows, a, b in forward(rows, sizes)]


def best_seconds(products: list[Shape]) -> float:
    """Seconds that all the products need, each shape by the faster of XLA (in a loop) and NumPy's BLAS."""
    return sum(count * _best(shape) for shape, count in Counter(products).items())


def _best(shape: Shape) -> float:
    rows, inner, columns = shape
    repeats = max(3, math.ceil(2e8 / (rows * inner * columns)))
    x, w = np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32)

    @jax.jit
    def xla(x: Any, w: Any) -> Any:
        def step(total: Any, _: None) -> tuple[Any, None]:  # depends on the last product, so that none is left out
            return (x + total[0, 0]) @ w, None

        return jax.lax.scan(step, jnp.zeros((rows, columns)), None, length=repeats)[0]

    def blas() -> None:
        for _ in range(repeats):
            x @ w

    functions: dict[str, Callable[[], Any]] = {"xla": lambda: xla(x, w), "blas": blas}
    return min(seconds(functions, 3).values()) / repeats
