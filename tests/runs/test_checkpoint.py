"""Checkpoints survive what happens to disks, and give back what was put in, byte for byte."""

import errno
import json
import os
import shutil
import tracemalloc
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onebody.core.errors import OnebodyError
from onebody.runs import checkpoint


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


def damage(path: Path, position: float, flip: int) -> None:
    """Flip bits of the byte at `position` (from 0 to 1) of the file."""
    data = bytearray(path.read_bytes())
    data[int(position * (len(data) - 1))] ^= flip
    path.write_bytes(data)


def test_gives_back_state_facts_and_iteration(tmp_path):
    path = checkpoint.save(tmp_path, 7, state_of(3), {"seconds": 1.5, "note": "ψ"})
    back = checkpoint.latest(tmp_path, state_of(0), unexpected)
    assert back is not None
    assert (back.iteration, back.facts, back.path) == (7, {"seconds": 1.5, "note": "ψ"}, path)
    assert same(back.state, state_of(3))
    assert not same(back.state, state_of(0))
    assert back.state["model"].activation is state_of(0)["model"].activation
    assert back.state["model"](jnp.ones(3)).tolist() == state_of(3)["model"](jnp.ones(3)).tolist()
    assert jax.random.normal(back.state["key"]) == jax.random.normal(jax.random.key(3))


arrays = hnp.arrays(
    st.sampled_from([np.float32, np.float16, np.int32, np.uint8, np.uint32, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
leaf_values = st.one_of(
    arrays.map(jnp.asarray),
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
    wanted, got = jax.tree_util.tree_leaves(tree), jax.tree_util.tree_leaves(back.state)
    for a, b in zip(wanted, got, strict=True):
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


def test_killed_while_replacing(tmp_path):
    """Between moving the old one aside and the new one into place."""
    place = checkpoint.save(tmp_path, 2, state_of(2), {})
    place.rename(place.with_name(".000002.old"))
    back = checkpoint.latest(tmp_path, state_of(0), unexpected)
    assert back is not None and same(back.state, state_of(2))
    checkpoint.save(tmp_path, 2, state_of(5), {})
    assert names(tmp_path) == ["000002"]


def test_partial_folder_left_over_is_ignored_and_cleaned(tmp_path):
    checkpoint.save(tmp_path, 1, state_of(1), {})
    partial = tmp_path / "checkpoints" / ".000002.partial"
    partial.mkdir()
    (partial / "state.safetensors").write_bytes(b"half")
    back = checkpoint.latest(tmp_path, state_of(0), unexpected)
    assert back is not None and back.iteration == 1
    checkpoint.save(tmp_path, 2, state_of(2), {})
    assert names(tmp_path) == ["000001", "000002"]


FAULTS = {
    "flipped byte in the state": lambda path: damage(path / "state.safetensors", 0.9, 1),
    "truncated state": lambda path: os.truncate(path / "state.safetensors", 100),
    "empty state": lambda path: os.truncate(path / "state.safetensors", 0),
    "missing state": lambda path: (path / "state.safetensors").unlink(),
    "flipped digit in the json": lambda path: (path / "checkpoint.json").write_text(
        (path / "checkpoint.json").read_text().replace('"iteration": 12', '"iteration": 13')
    ),
    "truncated json": lambda path: os.truncate(path / "checkpoint.json", 50),
    "another json": lambda path: (path / "checkpoint.json").write_text("[1]"),
    "no text in the json": lambda path: (path / "checkpoint.json").write_bytes(b"\xff\xfe\xff"),
    "missing json": lambda path: (path / "checkpoint.json").unlink(),
    "empty folder": lambda path: [file.unlink() for file in path.iterdir()],
    "a file in place of the folder": lambda path: (shutil.rmtree(path), path.write_bytes(b"")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_one_is_named_and_the_one_before_used(fault, tmp_path):
    checkpoint.save(tmp_path, 11, state_of(11), {"n": 11})
    newest = checkpoint.save(tmp_path, 12, state_of(12), {"n": 12})
    FAULTS[fault](newest)
    messages: list[str] = []
    back = checkpoint.latest(tmp_path, state_of(0), messages.append)
    assert back is not None and back.iteration == 11 and back.facts == {"n": 11} and same(back.state, state_of(11))
    assert len(messages) == 1
    assert messages[0].startswith(f"checkpoint {newest} is damaged (") and messages[0].endswith("; using 000011")
    assert "\n" not in messages[0]

    FAULTS[fault](tmp_path / "checkpoints" / "000011")
    if fault != "flipped digit in the json":  # which is only in the newest
        with pytest.raises(OnebodyError, match=r"no checkpoint .* is whole: 000012 \(.*\), 000011 \(.*\)") as caught:
            checkpoint.latest(tmp_path, state_of(0), unexpected)
        assert "\n" not in str(caught.value)


def test_saving_goes_on_over_damaged_ones(tmp_path):
    for iteration in (1, 2, 3):
        checkpoint.save(tmp_path, iteration, state_of(iteration), {}, keep=3)
    for name in ("000002", "000003"):
        damage(tmp_path / "checkpoints" / name / "state.safetensors", 0.5, 4)
    checkpoint.save(tmp_path, 2, state_of(2), {})
    assert names(tmp_path) == ["000001", "000002"]  # the damaged 3 would else be in the way for ever
    back = checkpoint.latest(tmp_path, state_of(0), unexpected)
    assert back is not None and back.iteration == 2


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(["state.safetensors", "checkpoint.json"]),
    position=st.floats(0, 1),
    flip=st.integers(1, 255),
    cut=st.booleans(),
)
def test_no_damage_goes_unseen(name, position, flip, cut, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    path = checkpoint.save(run, 5, state_of(5), {"n": 5})
    if cut:
        os.truncate(path / name, int(position * ((path / name).stat().st_size - 1)))
    else:
        damage(path / name, position, flip)
    try:
        back = checkpoint.latest(run, state_of(0), unexpected)
    except OnebodyError:
        return
    assert name == "checkpoint.json"  # white space between its words means nothing
    assert back is not None and back.iteration == 5 and back.facts == {"n": 5} and same(back.state, state_of(5))


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


@pytest.mark.parametrize("iteration", [11, 12], ids=["replacing", "new"])
@pytest.mark.parametrize("call", ["write_bytes", "write_text", "mkdir", "fsync 1", "fsync 2", "fsync 3", "rename"])
def test_full_disk_leaves_the_last_good_one(call, iteration, tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 11, state_of(11), {})
    before = files(tmp_path)
    left = int(call.split()[-1]) if " " in call else 1

    def full(*args, **kwargs):
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    where = Path if hasattr(Path, call) and call != "rename" else checkpoint.os
    with monkeypatch.context() as patch:
        patch.setattr(where, call.split()[0], full)
        if call == "mkdir":  # the first is for the folder of all checkpoints
            left = 2
        with pytest.raises(OnebodyError, match="No space left on device") as caught:
            checkpoint.save(tmp_path, iteration, state_of(iteration + 5), {})
    for said in (str(tmp_path), "000011", f"onebody resume {tmp_path}"):
        assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == before
    assert names(tmp_path) == ["000011"]
    checkpoint.save(tmp_path, iteration, state_of(iteration), {})
    back = checkpoint.latest(tmp_path, state_of(0), unexpected)
    assert back is not None and same(back.state, state_of(iteration))


def test_full_disk_when_there_is_none_before(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(OnebodyError, match="none before"):
        checkpoint.save(tmp_path, 1, state_of(1), {})
    assert names(tmp_path) == []


class Killed(BaseException):
    """What `save` cannot catch: the disk stays as it is at this moment."""


class Killer:
    """Patches what touches the disk so that the call number `moment` dies, a write half done."""

    def __init__(self, patch, moment):
        self.count, self.moment, self.write = 0, moment, Path.write_bytes
        for where, name in [(Path, "mkdir"), (os, "fsync"), (os, "rename"), (shutil, "rmtree")]:
            patch.setattr(where, name, self.dies_before(getattr(where, name)))
        patch.setattr(Path, "write_bytes", lambda path, data: self.dies_in_writing(path, data))

    def now(self) -> bool:
        self.count += 1
        return self.count == self.moment

    def dies_before(self, call):
        def die_or_call(*args, **kwargs):
            if self.now():
                raise Killed
            return call(*args, **kwargs)

        return die_or_call

    def dies_in_writing(self, path, data):
        if self.now():
            self.write(path, data[: len(data) // 2])
            raise Killed
        return self.write(path, data)


@pytest.mark.parametrize("iteration", [11, 12], ids=["replacing", "new"])
def test_killed_anywhere(iteration, tmp_path):
    """Killed at each thing `save` does to the disk: a whole checkpoint is always there, and saving goes on."""
    for moment in range(1, 100):
        run = tmp_path / str(moment)
        checkpoint.save(run, 10, state_of(10), {})
        checkpoint.save(run, 11, state_of(11), {})
        try:
            with pytest.MonkeyPatch.context() as patch:
                Killer(patch, moment)
                checkpoint.save(run, iteration, state_of(50), {})
        except Killed:
            back = checkpoint.latest(run, state_of(0), unexpected)
            assert back is not None
            assert same(back.state, state_of(50) if back.state["count"] == 50 else state_of(11))
            checkpoint.save(run, 12, state_of(12), {})
            back = checkpoint.latest(run, state_of(0), unexpected)
            assert back is not None and same(back.state, state_of(12))
            assert [name.replace(".old", "").strip(".") for name in names(run)] == ["000011", "000012"]
        else:
            assert moment > 8  # it has died everywhere it could
            return
    raise AssertionError("save never ended")


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
