"""Converts a pytree to named NumPy arrays and back; defines which leaves of a state are data, and their names."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree


def to_arrays(tree: PyTree) -> dict[str, np.ndarray]:
    """Arrays, random keys and Python numbers of `tree` by their path; other leaves, such as functions, are left out."""
    return {name: _to_numpy(leaf) for name, leaf in _named(tree).items()}


def from_arrays(read: Callable[[str], np.ndarray], like: PyTree) -> PyTree:
    """`like` with each leaf that is data replaced by `read(name)`, converted to the leaf's type."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: _as(leaf, read(jax.tree_util.keystr(path))) if is_data(leaf) else leaf, like
    )


def shapes(tree: PyTree) -> dict[str, str]:
    """`{".model.weight": "float32[500,17]", …}` for every leaf that is data."""
    return {
        name: f"{getattr(leaf, 'dtype', type(leaf).__name__)}[{','.join(map(str, jnp.shape(leaf)))}]"
        for name, leaf in _named(tree).items()
    }


def _named(tree: PyTree) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves if is_data(leaf)}


def is_data(leaf: Any) -> bool:
    """Whether a leaf of a state, or of its structure, is saved in checkpoints."""
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct | np.ndarray | np.generic | bool | int | float)


def _is_key(leaf: Any) -> bool:
    arrays = jax.Array | jax.ShapeDtypeStruct
    return isinstance(leaf, arrays) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_numpy(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf, order="C")


def _as(leaf: Any, array: np.ndarray) -> Any:
    if _is_key(leaf):
        impl = jax.random.key_impl(leaf) if isinstance(leaf, jax.Array) else None
        return jax.random.wrap_key_data(jax.device_put(array), impl=impl)
    if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        return jax.device_put(array)
    return array if isinstance(leaf, np.ndarray) else type(leaf)(array[()])
