"""Checkpoints survive what happens to disks."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from states import files, names, same, state_of, unexpected

from onebody.core.errors import OnebodyError
from onebody.runs import checkpoint


def damage(path: Path, position: float, flip: int) -> None:
    """Flip bits of the byte at `position` (from 0 to 1) of the file."""
    data = bytearray(path.read_bytes())
    data[int(position * (len(data) - 1))] ^= flip
    path.write_bytes(data)


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


def test_what_a_kill_left_is_removed_by_the_next_start(tmp_path):
    """Killed between two removals, and nothing is saved after that."""
    for iteration in range(5):
        checkpoint.save(tmp_path, iteration, state_of(iteration), {}, keep=9)
    place = tmp_path / "checkpoints"
    (place / "000000/state.safetensors").unlink()
    (place / ".000005.partial").mkdir()
    shutil.copytree(place / "000003", place / ".000003.old")
    damage(place / "000004/state.safetensors", 0.5, 4)
    back = checkpoint.latest(tmp_path, state_of(0), lambda message: None)
    assert back is not None and back.iteration == 3
    checkpoint.remove_leftovers(tmp_path, back)
    assert names(tmp_path) == ["000002", "000003", "000004"]


def test_what_replaces_nothing_whole_is_kept(tmp_path):
    for iteration in (1, 2):
        checkpoint.save(tmp_path, iteration, state_of(iteration), {})
    shutil.copytree(tmp_path / "checkpoints/000002", tmp_path / "checkpoints/.000002.old")
    damage(tmp_path / "checkpoints/000002/state.safetensors", 0.5, 4)
    back = checkpoint.latest(tmp_path, state_of(0), lambda message: None)
    assert back is not None and back.path.name == ".000002.old"
    checkpoint.remove_leftovers(tmp_path, back)
    assert names(tmp_path) == [".000002.old", "000001", "000002"]


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
        with pytest.raises(OnebodyError, match=r"every .* is damaged: 000012 \(.*\), 000011 \(.*\)") as caught:
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
    with pytest.raises(OnebodyError, match="there is no earlier one"):
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
