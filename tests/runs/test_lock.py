"""The lock of a run folder: one holder, waiting, and what happens to locks whose holder is gone."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from onebody.core.errors import OnebodyError
from onebody.runs import lock

HOLDER = """
import pathlib, sys, time
from onebody.runs import lock
with lock.held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lock, "POLL", 0.05)
    monkeypatch.setattr(lock, "RENEWAL", 0.1)


def test_there_is_one_holder(tmp_path):
    said = f"another process is training in .* \\(process {os.getpid()} on"
    with lock.held(tmp_path), pytest.raises(OnebodyError, match=said), lock.held(tmp_path):
        pass
    with lock.held(tmp_path):
        pass
    assert not lock.files(tmp_path)


def test_it_is_waited_for(tmp_path, capsys):
    first = lock.held(tmp_path)
    first.__enter__()
    threading.Timer(0.5, first.__exit__, (None, None, None)).start()
    began = time.monotonic()
    with lock.held(tmp_path, wait=60.0):
        assert 0.3 < time.monotonic() - began < 30
    assert capsys.readouterr().err.count("waiting for process") == 1


def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path, capsys):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        with pytest.raises(OnebodyError, match=f"process {process.pid}"), lock.held(tmp_path):
            pass
        process.kill()
    with lock.held(tmp_path):
        assert f"taking over the lock of process {process.pid}" in capsys.readouterr().err


def left_by_another_host(folder, age):
    path = folder / lock.NAME
    path.write_text(json.dumps({"host": "elsewhere", "process": 1, "token": "0"}))
    now = time.time()
    os.utime(path, (now - age, now - age))
    return path


def test_the_lock_of_another_host_is_taken_over_once_it_is_not_renewed(tmp_path, capsys):
    left_by_another_host(tmp_path, lock.LIFETIME / 2)
    with pytest.raises(OnebodyError, match="process 1 on elsewhere"), lock.held(tmp_path):
        pass
    left_by_another_host(tmp_path, 2 * lock.LIFETIME)
    with lock.held(tmp_path):
        assert "(no sign of life for 120 s)" in capsys.readouterr().err


def test_a_lock_that_is_held_is_renewed(tmp_path):
    with lock.held(tmp_path):
        path = tmp_path / lock.NAME
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 30
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert path.stat().st_mtime > 0


def test_a_holder_whose_lock_was_taken_over_is_told(tmp_path):
    with lock.held(tmp_path) as confirm:
        confirm()
        path = left_by_another_host(tmp_path, 0)
        with pytest.raises(OnebodyError, match="taken over"):
            confirm()
    assert path.exists()


def test_of_many_that_find_an_abandoned_lock_one_takes_it(tmp_path):
    left_by_another_host(tmp_path, 2 * lock.LIFETIME)
    inside, most = [], []

    def take():
        with lock.held(tmp_path, wait=60.0):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8
