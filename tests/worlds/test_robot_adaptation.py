"""The journal of an adaptation: what a robot did in it is not lost, and is repeated without a move of the robot."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import onebody
from onebody.core.errors import BodyFailed, OnebodyError
from onebody.runs import lock
from tests.faults import fake_robot
from tests.worlds.carts import HORIZON, carts, fails, stops

pytestmark = pytest.mark.usefixtures("nothing_leaks", "closed")

ADAPTATIONS = Path("run/adaptations")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A function that registers carts with accidents, puts a run of them into the folder, and gives what they are told."""
    origin = tmp_path_factory.mktemp("trained") / "run"

    def make(accidents=None):
        family, told = carts(accidents, copies=1)
        onebody.register(family)
        if not origin.exists():
            onebody.train("omni", family, preset="smoke", out=origin, samples=2 * HORIZON, quiet=True)
        shutil.rmtree("run", ignore_errors=True)
        shutil.copytree(origin, "run")
        told.clear()
        return told

    return make


def adapted(stages=2, tests=2, **options):
    return onebody.adapt("run", 0.3, stages=stages, real_episodes=tests, **options)


def same(here, there):
    assert str(here) == str(there) and here.adaptation_samples == there.adaptation_samples
    for name in ("real_return", "achieved", "predicted_return", "untrained_return"):
        np.testing.assert_array_equal(getattr(here, name) or 0.0, getattr(there, name) or 0.0)
    rows = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    np.testing.assert_array_equal(here(rows), there(rows))
