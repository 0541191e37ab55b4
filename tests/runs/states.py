"""States to save, and what stands on disk then."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


def unexpected(message: str) -> None:
    raise AssertionError(message)


def state_of(seed: int):
    """A state as algorithms have them: a network with a function in it, a random key, counters, nothing."""
    key = jax.random.key(seed)
    network = eqx.nn.MLP(3, 2, 8, 2, jax.nn.relu, key=key)
    return {
        "model": network,
        "key": key,
        "count": seed,
        "rate": 0.1 * seed,
        "data": np.full((4, 2), seed),
        "none": None,
    }


def same(a, b) -> bool:
    def raw(leaf):
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
            return leaf
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        return (type(leaf), leaf.dtype, leaf.shape, np.asarray(leaf).tobytes())

    leaves_a, structure_a = jax.tree_util.tree_flatten(a)
    leaves_b, structure_b = jax.tree_util.tree_flatten(b)
    return structure_a == structure_b and list(map(raw, leaves_a)) == list(map(raw, leaves_b))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())
