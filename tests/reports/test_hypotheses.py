"""Latents and paths of hidden-task algorithms, from their tests."""

import itertools
import json

import numpy as np
import pytest

from onebody.cli import main
from onebody.reports import charts, comparison, hypotheses
from onebody.runs import compare
from onebody.runs.evaluate import MetaTest


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    place = tmp_path_factory.mktemp("all")
    compare.compare(
        ["pearl", "maml"], "pearl/sparse-point", out=place, seeds=1, preset="smoke", test=MetaTest(tasks=5), quiet=True
    )
    return [place / "pearl-s0", place / "maml-s0"]


def test_a_report_shows_what_is_believed_and_where_it_leads(runs, tmp_path):
    text = comparison.write(runs, tmp_path / "report.html").read_text()
    assert "What was believed of the task" in text and "angle of the task (°)" in text
    names = {path.stem for path in (tmp_path / "report").iterdir()}
    assert {f"latents-after-{i}-pearl" for i in (1, 2, 3)} <= names
    paths = json.loads((runs[0] / "evaluation.json").read_text())["stages"][0]["paths"]
    assert all(x == round(x, 3) for path in paths for place in path for x in place)
    assert {"paths-to-goal-1-pearl", "paths-to-goal-5-pearl", "paths-to-goal-1-maml"} <= names


def test_latents_keep_their_distances_in_the_plane_of_most_variance():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(4, 3, 2))
    turned = flat @ np.linalg.qr(rng.normal(size=(5, 5)))[0][:2]  # the same points, in a plane of five dimensions
    stages = [{"stage": i, "tasks": [[0.0], [1.0], [2.0]], "beliefs": turned[i].tolist()} for i in range(4)]
    test = {"algorithm": "pearl", "seed": 0, "task_is_known": False, "stages": stages}
    drawn = [drawing for drawing, _ in hypotheses.drawings(["speed"], [test])]
    assert [drawing.title for drawing in drawn] == [f"Latents after {i}, pearl" for i in (1, 2, 3)]
    for i, drawing in enumerate(drawn, start=1):
        for a, b in itertools.combinations(range(3), 2):
            there = np.linalg.norm(np.subtract(drawing.points[a], drawing.points[b]))
            assert there == pytest.approx(np.linalg.norm(flat[i, a] - flat[i, b]), rel=1e-5)
        assert drawing.values == [0.0, 1.0, 2.0] and drawing.extent == drawn[0].extent
    assert charts.svg(drawn[0]).count("<use") >= 3


def test_known_tasks_have_no_hypotheses():
    test = {"algorithm": "omni", "seed": 0, "task_is_known": True, "stages": [{"tasks": [[0.0]], "paths": [[[0, 0]]]}]}
    assert not list(hypotheses.drawings(["speed"], [test]))


def test_pearl_from_the_command_line(runs, tmp_path, capsys):
    assert main(["adapt", str(runs[0]), "--task", "0.6,0.8", "--stages", "2", "--save", str(tmp_path / "p.npz")]) == 0
    assert "40" in capsys.readouterr().out and (tmp_path / "p.npz").exists()
    assert main(["train", "pearl", "mbmpo/point", "--preset", "smoke", "--out", str(tmp_path / "b")]) == 2
    assert "use sac for a single task" in capsys.readouterr().err
