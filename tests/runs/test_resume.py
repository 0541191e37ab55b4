"""A run that is killed goes on to the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from onebody.algorithms import presets
from onebody.core.errors import Stopped
from onebody.runs import checkpoint, log, loop

COMMAND = """
import onebody
onebody.train("smt", {family!r}, preset="smoke", seed=3, out={out!r}, quiet=True)
"""


def start(out, family="point/goal"):
    command = COMMAND.format(out=str(out), family=family)
    return subprocess.Popen([sys.executable, "-c", command], stderr=subprocess.DEVNULL)


def lines(run):
    return (run / "metrics.jsonl").read_bytes().splitlines() if (run / "metrics.jsonl").exists() else []


def final_bytes(run):
    last = max((run / "checkpoints").iterdir())
    return last.name, (last / "state.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that never stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert start(out).wait() == 0
    return out


@pytest.mark.parametrize(("family", "seed"), [("point/goal", 0), ("smt/cheetah-vel", 2)])
def test_kills_at_random_moments_change_no_byte(whole, tmp_path, family, seed):
    if family != "point/goal":
        whole = tmp_path / "whole"
        assert start(whole, family).wait() == 0
    run, rng, killed = tmp_path / "run", random.Random(seed), []
    for iteration in (0, 1):
        process = start(run, family)
        while len(lines(run)) < iteration and process.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 1.0 if iteration == 0 else 0.2))
        process.kill()
        killed.append(process.wait())
    assert -signal.SIGKILL in killed
    assert start(run, family).wait() == 0
    assert final_bytes(run) == final_bytes(whole)
    iterations = [line["iteration"] for line in log.read(run)]
    assert iterations == list(range(1, presets.preset("smt", "smoke").n_tasks + 1))


@pytest.mark.parametrize(
    ("algorithm", "signum"),
    [
        ("smt", signal.SIGINT),
        ("omni", signal.SIGTERM),
        ("pearl", signal.SIGINT),
        ("admrl", signal.SIGTERM),
        ("smt-active", signal.SIGINT),
        ("ddpg", signal.SIGTERM),
        ("acktr", signal.SIGINT),
    ],
)
def test_a_signal_saves_and_the_run_goes_on_to_the_same_bytes(tmp_path, algorithm, signum):
    def stop_after_first(place, *arguments):
        path = original(place, *arguments)
        if arguments[0] == 1:
            os.kill(os.getpid(), signum)
        return path

    original = checkpoint.save
    whole, run = tmp_path / "whole", tmp_path / "run"
    loop.train(algorithm, "point/goal", preset="smoke", seed=3, out=whole, quiet=True)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped) as stopped:
        patch.setattr(checkpoint, "save", stop_after_first)
        loop.train(algorithm, "point/goal", preset="smoke", seed=3, out=run, quiet=True)
    assert (stopped.value.signum, stopped.value.run) == (signum, run)
    assert [line["iteration"] for line in log.read(run)] == [1]
    loop.resume(run, quiet=True)
    assert final_bytes(run) == final_bytes(whole)
