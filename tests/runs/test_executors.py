"""Executors: the same bytes as in order, and jobs whose process is killed, diverges, waits or is stopped."""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from onebody.core.errors import OnebodyError
from onebody.runs import evaluate, executors, lock, log, processes
from onebody.runs.evaluate import MetaTest
from onebody.runs.executors import InOrder, Processes
from onebody.runs.jobs import Job, Outcome

TEST = MetaTest(tasks=2, stages=0)


def job(folder, algorithm="trpo", seed=0, **settings):
    out = folder / f"{algorithm}-s{seed}"
    return Job(algorithm, "point/goal", out, **{"seed": seed, "preset": "smoke", "test": TEST, **settings})


def full(algorithm, changes):
    from onebody.algorithms import presets
    from onebody.runs import configs

    return configs.to_json(presets.preset(algorithm, "smoke", "point/goal")) | changes


def state_hash(run):
    """Of the arrays of the last checkpoint, and of the test."""
    last = max((run / "checkpoints").iterdir())
    digest = hashlib.sha256()
    for path in [*sorted(last.glob("*.safetensors")), run / "evaluation.json"]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def until(condition, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_two_processes_give_the_bytes_of_one_after_another(tmp_path):
    jobs = [
        [job(tmp_path / name, algorithm, seed) for algorithm in ("trpo", "random-search") for seed in (0, 1)]
        for name in ("in-order", "processes")
    ]
    for executor, todo in zip((InOrder(quiet=True), Processes(2)), jobs, strict=True):
        outcomes = executors.do_all(todo, executor, quiet=True)
        assert {outcome.status for outcome in outcomes.values()} == {"done"} and len(outcomes) == 4
    hashes = [[state_hash(each.out) for each in todo] for todo in jobs]
    assert hashes[0] == hashes[1] and len(set(hashes[0])) == 4


FAMILY = """
import atexit, dataclasses, os, pathlib
import onebody
print("x" * 200_000)
print(os.getpid(), file=open(pathlib.Path(__file__).with_suffix(".log"), "a"))
atexit.register(print, "closed")
onebody.register(dataclasses.replace(onebody.make("point/goal"), id="mine/goal"))
"""


def test_what_a_users_family_prints_does_no_harm(tmp_path):
    """More than a pipe holds, and after the outcome; one process does both jobs."""
    path = tmp_path / "mine.py"
    path.write_text(FAMILY)
    todo = [dataclasses.replace(job(tmp_path / "runs", seed=seed), family=f"{path}:mine/goal") for seed in (0, 1)]
    with processes.Worker(None) as worker:
        assert [worker.do(each).status for each in todo] == ["done", "done"]
        assert set(path.with_suffix(".log").read_text().split()) == {str(worker._process.pid)}


def test_a_job_that_fails_does_not_stop_the_others(tmp_path, capsys):
    broken = job(tmp_path, seed=1)
    broken.out.mkdir()
    (broken.out / "thesis.txt").write_text("")
    good = job(tmp_path)
    with pytest.raises(OnebodyError, match=r"1 of 2 jobs failed: .* is not empty and is not a run folder"):
        executors.do_all([broken, good], Processes(2), quiet=False)
    assert evaluate.trained(good.out, json.loads((good.out / "config.json").read_text())) > 0
    said = capsys.readouterr().err
    assert "job 2/2" in said and f"onebody: {broken.out} failed: " in said


def test_the_traceback_of_a_failed_job_is_kept_until_it_succeeds(tmp_path, capsys):
    job, said = Job("trpo", "point/goal", tmp_path / "a-s0", 0), []
    processes._pass_on(["onebody: a warning\n", "other\n", "Traceback (most recent call last):\n"], said)
    assert capsys.readouterr().err == "onebody: a warning\n" and len(said) == 3
    failed = processes.keep_errors(Outcome("failed", "ValueError: no"), job, "\n".join(said))
    errors = tmp_path / "a-s0-errors.txt"
    assert failed.message == f"ValueError: no ({errors})" and "Traceback" in errors.read_text()
    assert processes.keep_errors(Outcome("done"), job, "\n".join(said)) == Outcome("done") and not errors.exists()
    assert processes.keep_errors(Outcome("failed", "wrong"), job, "other").message == "wrong"


def test_a_killed_worker_is_started_again_and_ends_in_the_same_bytes(tmp_path, capsys):
    settings = {"config": full("trpo", {"n_iterations": 40})}
    alone, killed = job(tmp_path / "alone", **settings), job(tmp_path / "killed", **settings)
    executors.do_all([alone], InOrder(quiet=True), quiet=True)
    done = threading.Thread(target=executors.do_all, args=([killed], Processes(1), True))
    done.start()
    until(lambda: len(log.read(killed.out)) >= 2)
    os.kill(json.loads((killed.out / lock.NAME).read_text())["process"], signal.SIGKILL)
    done.join()
    assert "worker killed by SIGKILL; restarting it" in capsys.readouterr().err
    assert state_hash(killed.out) == state_hash(alone.out)


DRIVER = """
import json, sys
from onebody.runs import executors, jobs
executors.do_all([jobs.Job.from_json(json.loads(sys.argv[1]))], executors.Processes(1), quiet=True)
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_process_that_started_them_and_another_goes_on(tmp_path, signum):
    settings = {"config": full("trpo", {"n_iterations": 100})}
    alone, todo = job(tmp_path / "alone", **settings), job(tmp_path / "stopped", **settings)
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, json.dumps(todo.to_json())], stderr=subprocess.DEVNULL)
    until(lambda: len(log.read(todo.out)) >= 1)
    worker = json.loads((todo.out / lock.NAME).read_text())["process"]
    driver.send_signal(signum)
    driver.wait()
    until(lambda: not alive(worker), seconds=20)
    assert worker != driver.pid and 1 <= len(log.read(todo.out)) < 100
    executors.do_all([alone, todo], InOrder(quiet=True), quiet=True)
    assert state_hash(todo.out) == state_hash(alone.out)


def alive(process):
    path = Path(f"/proc/{process}/stat")
    return path.exists() and ") Z " not in path.read_text()


def test_a_job_waits_for_another_process_in_its_folder(tmp_path):
    todo = job(tmp_path)
    todo.out.mkdir()
    held = lock.held(todo.out)
    held.__enter__()
    threading.Timer(1.0, held.__exit__, (None, None, None)).start()
    assert executors.do_all([todo], InOrder(quiet=True), quiet=True)[todo.out].status == "done"


def test_a_diverged_job_ends_as_diverged(tmp_path):
    todo = job(tmp_path, "random-search", config=full("random-search", {"deviation": 1e39}))
    outcome = executors.do_all([todo], Processes(1), quiet=True)[todo.out]
    assert outcome.status == "diverged" and "not finite" in outcome.message
    again = executors.do_all([todo], Processes(1), quiet=True)[todo.out]
    assert again == outcome


@pytest.mark.parametrize(("cores", "n"), [(list(range(8)), 3), ([0, 1], 2), ([5], 3), ([0, 1], 5)])
def test_cores_are_shared_equally(cores, n):
    shares = [processes.share(cores, i, n) for i in range(n)]
    assert {core for each in shares for core in each} == set(cores)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1 and min(map(len, shares)) >= 1
    if n <= len(cores):
        assert sum(map(len, shares)) == len(cores)


def test_options_name_executors(monkeypatch):
    monkeypatch.setattr(executors, "usable_cores", lambda: [0, 1])
    assert executors.of("", 0, True, 1) == InOrder(True)
    assert executors.of("", 0, True, 5) == Processes(2) and executors.of("", 1, False, 5) == InOrder(False)
    with pytest.raises(OnebodyError, match="use ray, ray:ADDRESS or slurm:PARTITION"):
        executors.of("moon", 0, True, 5)
    with pytest.raises(OnebodyError, match="--workers must be at least 0"):
        executors.of("", -1, True, 5)
    with pytest.raises(OnebodyError, match="--on slurm needs a partition"):
        executors.of("slurm", 0, True, 5)
    monkeypatch.setattr(executors.extras.importlib.util, "find_spec", lambda name: None)
    for on, extra in (("ray", "ray"), ("ray:head:6379", "ray"), ("slurm:gpu", "slurm")):
        with pytest.raises(OnebodyError, match=rf"--on {extra} needs: pip install 'onebody\[{extra}\]'"):
            executors.of(on, 0, True, 5)
