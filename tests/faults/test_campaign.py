"""The fault campaign finds no defect. Each part is a process of its own, in which types are not checked."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.__main__ import PARTS

pytestmark = pytest.mark.slow


def test_a_robot_with_faults_loses_at_most_the_steps_under_way():
    command = [sys.executable, "-m", "tests.faults.robot", "--samples", "1500"]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)


@pytest.mark.parametrize("part", PARTS)
def test_no_defect(part):
    command = [sys.executable, "-m", "tests.faults", part]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["cases"] >= 30 and counts["defects"] == []
    assert part != "kills" or counts["kills"] >= 200
