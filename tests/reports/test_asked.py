"""What was asked for and what was achieved, in words."""

import dataclasses

import numpy as np
import pytest

from onebody.reports import asked
from onebody.tasks.registry import make


@pytest.mark.parametrize(
    ("family", "task", "achieved", "words"),
    [
        ("smt/cheetah-vel", [1.0], [0.97], "asked 1.00 m/s, achieved 0.97 m/s"),
        ("smt/cheetah-dir", [-1.0], [-0.875], "asked direction -1.00, achieved direction -0.88"),
        (
            "smt/ant-vel-2d",
            [1.0, -2.0],
            [0.5, -1.5],
            "asked velocity x 1.00 m/s, velocity y -2.00 m/s, achieved velocity x 0.50 m/s, velocity y -1.50 m/s",
        ),
        ("pearl/ant-dir-2d", [0.0, 1.0], [-0.5, 0.5], "asked 90°, achieved 135°"),
        ("pearl/ant-goal", [0.5, 1.0], [0.2, 0.6], "asked (0.50, 1.00) m, achieved (0.20, 0.60) m, 0.50 m away"),
        ("point/goal", [0.5, 1.0], None, "asked (0.50, 1.00) m"),
    ],
)
def test_asked_and_achieved_in_the_units_of_the_task(family, task, achieved, words):
    assert asked.answer(make(family), np.array(task, np.float32), achieved) == words


def test_tasks_without_labels_or_numbers():
    assert asked.answer(dataclasses.replace(make("point/goal"), task_labels=()), [0.5, 1.0], None) == (
        "asked ψ1 0.50, ψ2 1.00"
    )
    assert asked.text(make("mbmpo/point"), []) == ""
