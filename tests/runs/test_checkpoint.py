"""Checkpoints give back what was put in, byte for byte."""

import json
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from states import files, names, same, state_of, unexpected

from onebody.core import random
from onebody.core.errors import OnebodyError
from onebody.runs import checkpoint


def test_gives_back_state_facts_and_iteration(tmp_path):
    path = checkpoint.save(tmp_path, 7, state_of(3), {"seconds": 1.5, "note": "ψ"})
    back = checkpoint.latest(tmp_path, state_of(0), unexpected)
    assert back is not None
    assert (back.iteration, back.facts, back.path) == (7, {"seconds": 1.5, "note": "ψ"}, path)
    assert same(back.state, state_of(3))
    assert not same(back.state, state_of(0))
    assert back.state["model"].activation is state_of(0)["model"].activation
    assert back.state["model"](jnp.ones(3)).tolist() == state_of(3)["model"](jnp.ones(3)).tolist()
    assert random.normal(back.state["key"]) == random.normal(jax.random.key(3))


arrays = hnp.arrays(
    st.sampled_from([np.float32, np.float16, np.int32, np.uint8, np.uint32, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
leaf_values = st.one_of(
    arrays.map(jax.device_put),
    arrays,
    arrays.map(lambda a: a.T),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.none(),
    st.sampled_from([np.float32(0.1), np.int64(-3)]),
)
trees = st.recursive(
    leaf_values,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    max_leaves=8,
)


def blank(leaf):
    if isinstance(leaf, jax.Array):
        return jnp.zeros_like(leaf)
    return np.zeros_like(leaf) if isinstance(leaf, np.ndarray) else type(leaf)(0)


@settings(max_examples=60, deadline=None)
@given(tree=trees)
def test_any_tree_comes_back_byte_for_byte(tree, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    checkpoint.save(run, 1, tree, {})
    back = checkpoint.latest(run, jax.tree_util.tree_map(blank, tree), unexpected)
    assert back is not None
    expected, actual = jax.tree_util.tree_leaves(tree), jax.tree_util.tree_leaves(back.state)
    for a, b in zip(expected, actual, strict=True):
        assert type(a) is type(b)
        assert np.asarray(a).dtype == np.asarray(b).dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_bfloat16_comes_back(tmp_path):
    checkpoint.save(tmp_path, 1, jnp.arange(5, dtype=jnp.bfloat16), {})
    back = checkpoint.latest(tmp_path, jnp.zeros(5, jnp.bfloat16), unexpected)
    assert back is not None and same(back.state, jnp.arange(5, dtype=jnp.bfloat16))


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoint.latest(tmp_path, state_of(0), unexpected) is None
    (tmp_path / "checkpoints" / ".000001.partial").mkdir(parents=True)
    assert checkpoint.latest(tmp_path, state_of(0), unexpected) is None


def test_same_state_same_bytes(tmp_path):
    first, second = (checkpoint.save(tmp_path / name, 3, state_of(1), {"n": 1}) for name in "ab")
    assert files(first) == files(second)
    assert files(first).keys() == {"state.safetensors", "checkpoint.json"}
    assert files(checkpoint.save(tmp_path / "c", 3, state_of(2), {"n": 1})) != files(first)


def test_keeps_the_newest(tmp_path):
    for iteration in (1, 2, 3, 1_000_000):
        checkpoint.save(tmp_path, iteration, state_of(iteration), {})
    assert names(tmp_path) == ["000003", "1000000"]
    back = checkpoint.latest(tmp_path, state_of(0), unexpected)
    assert back is not None and back.iteration == 1_000_000
    checkpoint.save(tmp_path, 1_000_001, state_of(0), {}, keep=1)
    assert names(tmp_path) == ["1000001"]


def test_saving_an_iteration_again_replaces_it(tmp_path):
    checkpoint.save(tmp_path, 1, state_of(1), {})
    for seed in (2, 2, 3):
        checkpoint.save(tmp_path, 2, state_of(seed), {})
    back = checkpoint.latest(tmp_path, state_of(0), unexpected)
    assert back is not None and back.iteration == 2 and same(back.state, state_of(3))
    assert names(tmp_path) == ["000001", "000002"]


@pytest.mark.parametrize(
    ("other", "leaf"),
    [
        (lambda s: {**s, "data": np.zeros((4, 3), int)}, "state['data'] is int64[4,2] in it and int64[4,3] here"),
        (lambda s: {**s, "data": np.zeros((4, 2), "f4")}, "state['data'] is int64[4,2] in it and float32[4,2] here"),
        (lambda s: {**s, "new": jnp.ones(2)}, "state['new'] is missing in it and float32[2] here"),
        (lambda s: {k: v for k, v in s.items() if k != "key"}, "state['key'] is key<fry>[] in it and missing here"),
        (lambda s: {**s, "count": 0.0}, "state['count'] is int[] in it and float[] here"),
    ],
)
def test_another_configuration_is_refused_and_the_leaf_named(other, leaf, tmp_path):
    checkpoint.save(tmp_path, 1, state_of(1), {})
    with pytest.raises(OnebodyError) as caught:
        checkpoint.latest(tmp_path, other(state_of(0)), unexpected)
    assert leaf in str(caught.value) and "another configuration" in str(caught.value)


def test_another_format_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", 2)
        checkpoint.save(tmp_path, 1, state_of(1), {})
    with pytest.raises(OnebodyError, match="format 2"):
        checkpoint.latest(tmp_path, state_of(0), unexpected)


def test_holds_at_most_two_copies(tmp_path):
    big = np.arange(4_000_000, dtype=np.float32)  # 16 MB
    tracemalloc.start()
    try:
        checkpoint.save(tmp_path, 1, big, {})
        saving = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        checkpoint.latest(tmp_path, big, unexpected)
        loading = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert saving < 1.3 * big.nbytes
    assert loading < 1.3 * big.nbytes


def test_is_data_and_says_who_wrote_it(tmp_path):
    path = checkpoint.save(tmp_path, 1, state_of(1), {})
    record = json.loads((path / "checkpoint.json").read_text())
    assert record["arrays"]["['model'].layers[0].weight"] == "float32[8,3]"
    assert record["format"] == 1 and record["onebody"] and len(record["state_sha256"]) == 64
