"""Latents and paths of hidden-task algorithms, from their tests."""

import itertools
import json
import math

import numpy as np
import pytest

from onebody.cli import main
from onebody.reports import charts, comparison, hypotheses
from onebody.runs import compare
from onebody.runs.evaluate import MetaTest
from onebody.tasks import registry


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    place = tmp_path_factory.mktemp("all")
    compare.compare(
        ["pearl", "maml"], "pearl/sparse-point", out=place, seeds=1, preset="smoke", test=MetaTest(tasks=5), quiet=True
    )
    return [place / "pearl-s0", place / "maml-s0"]


def test_a_report_shows_what_is_believed_and_where_it_leads(runs, tmp_path):
    text = comparison.write(runs, tmp_path / "report.html").read_text()
    assert "Beliefs about the task" in text and "angle of the task (°)" in text
    names = {path.stem for path in (tmp_path / "report").iterdir()}
    assert {"width-of-the-belief-pearl", *(f"latents-after-stage-{i}-pearl" for i in (1, 2, 3))} <= names
    paths = json.loads((runs[0] / "evaluation.json").read_text())["stages"][0]["paths"]
    horizon = registry.make("pearl/sparse-point").horizon
    assert np.shape(paths) == (5, horizon + 1, 2) and all(path[0] == [0.0, 0.0] for path in paths)
    assert all(x == round(x, 3) for path in paths for place in path for x in place)
    assert {"paths-to-goal-1-pearl", "paths-to-goal-5-pearl", "paths-to-goal-1-maml"} <= names


def test_latents_keep_their_distances_in_the_plane_of_most_variance():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(4, 3, 2))
    turned = flat @ np.linalg.qr(rng.normal(size=(5, 5)))[0][:2]  # the same points, in a plane of five dimensions
    stages = [{"stage": i, "tasks": [[0.0], [1.0], [2.0]], "beliefs": turned[i].tolist()} for i in range(4)]
    test = {"algorithm": "pearl", "seed": 0, "task_is_known": False, "stages": stages}
    drawn = [drawing for drawing, _ in hypotheses.drawings(["speed"], [test])]
    assert [drawing.title for drawing in drawn] == [f"Latents after stage {i}, pearl" for i in (1, 2, 3)]
    for i, drawing in enumerate(drawn, start=1):
        for a, b in itertools.combinations(range(3), 2):
            there = np.linalg.norm(np.subtract(drawing.points[a], drawing.points[b]))
            assert there == pytest.approx(np.linalg.norm(flat[i, a] - flat[i, b]), rel=1e-5)
        assert drawing.values == [0.0, 1.0, 2.0] and drawing.extent == drawn[0].extent
    assert charts.svg(drawn[0]).count("<use") >= 3


def test_widths_colours_and_paths_follow_from_the_test():
    turns = [[math.cos(a), math.sin(a)] for a in (-3.0, 0.0, 3.0)]
    stages = [
        {"stage": i, "tasks": turns, "beliefs": [[i, j] for j in range(3)], "belief_stds": [[1.0 / (i + 1), 0.5]] * 3}
        | {"paths": [[[0.0, 0.0], [float(i), float(j)]] for j in range(3)]}
        for i in range(6)
    ]
    drawn = hypotheses.drawings(
        ["x (m)", "y (m)"], [{"algorithm": "pearl", "seed": 0, "task_is_known": False, "stages": stages}]
    )
    by_name = {drawing.title: drawing for drawing, _ in drawn}
    widths = by_name["Width of the belief, pearl"].lines[0].y
    np.testing.assert_allclose(widths, [(1 / i + 0.5) / 2 for i in range(1, 7)])
    latents = by_name["Latents after stage 5, pearl"]
    assert latents.cyclic and latents.limits == (-180, 180)
    np.testing.assert_allclose(latents.values, np.degrees([-3.0, 0.0, 3.0]))
    paths = by_name["Paths to goal 3, pearl"]
    assert ("goal", *turns[2], "", "") in list(paths.rows()) and [line.x[-1] for line in paths.lines] == [0, 1, 3, 5]
    assert charts.svg(paths).count("<path") > 5


def test_known_tasks_have_no_hypotheses():
    test = {"algorithm": "omni", "seed": 0, "task_is_known": True, "stages": [{"tasks": [[0.0]], "paths": [[[0, 0]]]}]}
    assert not list(hypotheses.drawings(["speed"], [test]))


def test_pearl_from_the_command_line(runs, tmp_path, capsys):
    assert main(["adapt", str(runs[0]), "--task", "0.6,0.8", "--stages", "2", "--save", str(tmp_path / "p.npz")]) == 0
    out, err = capsys.readouterr()
    assert "40" in out and not err and (tmp_path / "p.npz").exists()
    assert main(["adapt", str(runs[0]), "--task", "0.6,0.8"]) == 0
    out, err = capsys.readouterr()
    assert "nan" not in out and "None" not in out and "–" in out
    assert "the task is hidden and the policy has no information about it: --stages N" in err
    assert main(["train", "pearl", "mbmpo/point", "--preset", "smoke", "--out", str(tmp_path / "b")]) == 2
    assert "use sac for a single task" in capsys.readouterr().err


@pytest.mark.parametrize("labels", [["speed (m/s)"], ["x (m)", "y (m)"]])
def test_a_belief_about_the_task_itself_is_shown_in_its_numbers(labels):
    tasks = np.arange(3.0 * len(labels)).reshape(3, -1)
    stages = [{"stage": i, "tasks": tasks.tolist(), "beliefs": (tasks + i).tolist()} for i in range(3)]
    test = {"algorithm": "omni-hidden", "seed": 0, "task_is_known": False, "told": "reward function", "stages": stages}
    drawn = [drawing for drawing, _ in hypotheses.drawings(labels, [test])]
    assert [drawing.title for drawing in drawn] == [f"Beliefs after stage {i}, omni-hidden" for i in (1, 2)]
    expected = [(x, x + 2) for x in (0.0, 1.0, 2.0)] if len(labels) == 1 else [tuple(row) for row in tasks + 2.0]
    assert drawn[1].points == expected and labels[0] in drawn[1].x
