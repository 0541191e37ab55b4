"""The metrics file is whole after a kill, and progress says what is left without touching stdout."""

import json
import math
import os
import re
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onebody.core.errors import OnebodyError
from onebody.runs import log


def write(run, *iterations):
    with log.Log(run) as lines:
        for iteration in iterations:
            lines.write(iteration, {"real/return": -1.5 * iteration, "real/samples": 200 * iteration})


def test_one_json_line_an_iteration(tmp_path):
    write(tmp_path, 1, 2)
    write(tmp_path, 3)  # appends
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [1, 2, 3]
    assert log.read(tmp_path)[1] == {"iteration": 2, "real/return": -3.0, "real/samples": 400}


def test_each_line_is_there_at_once(tmp_path):
    with log.Log(tmp_path) as lines:
        lines.write(1, {"a": 1.0})
        assert log.read(tmp_path) == [{"iteration": 1, "a": 1.0}]


def test_numbers_of_every_library_and_those_json_has_no_word_for(tmp_path):
    with log.Log(tmp_path) as lines:
        lines.write(1, {"jax": jnp.float32(0.5), "numpy": np.int32(3), "nan": math.nan, "inf": jnp.inf})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "iteration": 1,
        "jax": 0.5,
        "numpy": 3,
        "nan": None,
        "inf": None,
    }
    back = log.read(tmp_path)[0]
    assert back["jax"] == 0.5 and math.isnan(back["nan"]) and math.isnan(back["inf"])


def test_no_file(tmp_path):
    assert log.read(tmp_path) == []
    log.truncate(tmp_path, 3)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=40, deadline=None)
@given(last=st.integers(0, 7), cut=st.floats(0, 1))
def test_truncate_after_a_kill_anywhere(last, cut, tmp_path_factory):
    """However many bytes of the file are there, what is left is exactly the whole lines up to the iteration."""
    run = tmp_path_factory.mktemp("run")
    write(run, *range(1, 6))
    path = run / "metrics.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    size = round(cut * path.stat().st_size)
    os.truncate(path, size)
    written = b"".join(whole)[:size].count(b"\n")
    assert len(log.read(run)) == written
    log.truncate(run, last)
    assert path.read_bytes() == b"".join(whole[: min(last, written)])
    assert [file.name for file in run.iterdir()] == ["metrics.jsonl"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a disk that is always full")
def test_full_disk_is_said(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with log.Log(tmp_path) as lines, pytest.raises(OnebodyError, match=r"No space left on device.*onebody resume"):
        lines.write(1, {"a": 1})


def test_a_line_is_on_the_disk_before_its_checkpoint_can_be(tmp_path, monkeypatch):
    """A power cut must not leave a checkpoint whose iteration has no metrics."""
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.fstat(handle).st_size))
    write(tmp_path, 1, 2)
    assert flushed[-1] == (tmp_path / "metrics.jsonl").stat().st_size and len(flushed) == 2


def test_half_written_line_is_said(tmp_path):
    class Short:
        def write(self, data):
            return len(data) - 1

    with log.Log(tmp_path) as lines:
        lines._file.close()
        lines._file = Short()
        with pytest.raises(OnebodyError, match="No space left"):
            lines.write(1, {"a": 1})
        lines._file.close = lambda: None


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(log, "time", clock)
    return clock


def test_plain_lines(clock, capsys):
    with log.Progress(30, "iteration", "smt on point/goal", every=5.0) as progress:
        clock.now += 70
        progress.update(3, "12,000 samples · return -91.2")
        for done in (4, 5, 6):
            clock.now += 2
            progress.update(done, "x")
        clock.now += 1
        progress.update(30, "end")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "smt on point/goal",
        "iteration 1/30 · compiling",
        "iteration 3/30 · 12,000 samples · return -91.2 · 0:01:10",
        "iteration 6/30 · x · 0:01:16, 0:00:48 left",
        "iteration 30/30 · end · 0:01:17, 0:00:00 left",
    ]


def test_time_left_of_a_resumed_run(clock, capsys):
    with log.Progress(40_000, "sample", "x", start=10_000) as progress:
        for seconds, done in ((90, 20_000), (10, 30_000)):
            clock.now += seconds
            progress.update(done, "y")
    assert capsys.readouterr().err.splitlines()[1:] == [
        "sample 10,001/40,000 · compiling",
        "sample 20,000/40,000 · y · 0:01:30",
        "sample 30,000/40,000 · y · 0:01:40, 0:00:10 left",
    ]


def test_an_end_that_comes_before_the_last_unit(clock, capsys):
    """It counts for the time left, and its line is shown however soon it comes."""
    with log.Progress(25, "iteration", "x") as progress:
        for done, last in ((1, 9), (2, 8), (8, 8)):
            clock.now += 2
            progress.update(done, "y", last=last)
    assert capsys.readouterr().err.splitlines()[2:] == [
        "iteration 1/25 · y · 0:00:02",
        "iteration 8/25 · y · 0:00:06, 0:00:00 left",
    ]


def test_what_takes_long_is_said(monkeypatch, capsys):
    monkeypatch.setattr(log, "ANNOUNCE_AFTER", 0.01)
    for quiet in (False, True):
        with log.announce_if_slow("compiling", quiet):
            time.sleep(0.2)
    with log.announce_if_slow("quick", False):
        pass
    time.sleep(0.1)
    assert capsys.readouterr().err == "compiling\n"


def test_past_the_end_and_not_begun(clock, capsys):
    with log.Progress(2, "iteration", "x", start=2) as progress:
        progress.update(2, "y")
        progress.update(3, "z")
    assert capsys.readouterr().err.splitlines()[2:] == [
        "iteration 2/2 · y · 0:00:00",
        "iteration 3/2 · z · 0:00:00, 0:00:00 left",
    ]


def test_quiet(clock, capsys):
    with log.Progress(2, "iteration", "x", quiet=True) as progress:
        progress.update(2, "y")
    assert capsys.readouterr() == ("", "")


def test_compilation_of_the_first_unit_is_said(capsys):
    with log.Progress(2, "iteration", "x", every=0.0) as progress:
        for seconds in (2.0, 0.4):
            jax.monitoring.record_event_duration_secs("/jax/core/compile/backend_compile_duration", seconds)
        progress.update(1, "y")
        jax.monitoring.record_event_duration_secs("/jax/core/compile/backend_compile_duration", 9.0)
        progress.update(2, "z")
    assert capsys.readouterr().err.splitlines()[2:] == [
        "iteration 1/2 · y · 0:00:00, 2 s of it for compilation",
        "iteration 2/2 · z · 0:00:00, 0:00:00 left",
    ]


def test_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(log.sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with log.Progress(40, "iteration", "smt on point/goal") as progress:
        progress._bar.refresh()
        jax.jit(lambda x: x + 1).lower(1.0).compile()
        progress._bar.refresh()
        progress.update(1, "1,200 samples · return -91.2")
        progress._bar.refresh()
        progress.update(40, "48,000 samples · return -91.2")
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err).strip())]
    assert all(len(line) <= 80 for line in lines)
    assert lines[0] == "smt on point/goal"
    assert "iteration 1/40 · compiling" in lines and "iteration 1/40 · compiling <lambda>" in lines
    assert "iteration 1/40 · 1,200 samples · return -91.2" in lines
    assert lines[-2] == "iteration 40/40 · 48,000 samples · return -91.2"
    assert re.fullmatch("━{40} 0:00:0. 0:00:00 left", lines[-1])
