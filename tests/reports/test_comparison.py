import csv
import dataclasses
import json
import re
import shutil
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from onebody.reports import charts, comparison, comparison_charts, comparison_tables
from onebody.runs import compare, jobs, log, statistics
from onebody.runs.evaluate import MetaTest
from onebody.tasks import registry
from onebody.tasks.space import Box

RESULTS = Path(__file__).parents[2] / "results" / "smt-1a"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = {"preset": "smoke", "test": MetaTest(tasks=4, stages=1), "evaluate_every": 2, "quiet": True}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two algorithms with three seeds on a family with a one-dimensional task, whose body has no paths to draw."""
    place, point = tmp_path_factory.mktemp("all"), registry.make("point/goal")
    line = dataclasses.replace(
        point,
        id="test/line",
        body=dataclasses.replace(point.body, labels=("x", "y")),
        space=Box((-1.0,), (1.0,)),
        reward=lambda observation, action, next_observation, task: -jnp.abs(next_observation[0] - task[0]),
        task_labels=("place (m)",),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._FAMILIES, line.id, line)
        compare.compare(["random-search", "oracle"], line.id, out=place, seeds=3, **OPTIONS)
        yield sorted(place.iterdir())


@pytest.fixture(scope="module")
def written(runs, tmp_path_factory):
    """The report of all of them."""
    return comparison.write(runs, tmp_path_factory.mktemp("written") / "report.html")


def test_the_page_says_what_the_tests_say(runs, written):
    text = written.read_text()
    summary = compare.summary(runs)
    for name, each in summary["algorithms"].items():
        for stage in each["stages"]:
            mean = stage["mean"]
            assert f"{mean['value']:.1f} (range {min(mean['by_seed']):.1f} to {max(mean['by_seed']):.1f})" in text
            assert " ".join(f"{x:.1f}" for x in mean["by_seed"]) in text
        assert f"onebody train {name} test/line --preset smoke --seed 2" in text
    rows = list(csv.DictReader(written.with_suffix(".csv").read_text().splitlines()))
    assert len(rows) == 2 * 3 * 2 * 4 * 10
    ours = [float(row["return"]) for row in rows if (row["algorithm"], row["stage"]) == ("oracle", "0")]
    assert sum(ours) / len(ours) == pytest.approx(summary["algorithms"]["oracle"]["stages"][0]["mean"]["value"])
    assert text.count("<svg") == 8 and "place (m)" in text
    assert "oracle: told the task; stage 0" in text and "random-search: not told the task; at stage 0" in text
    assert not re.findall(r"(?:src|href)=.?http", text)
    names = (
        "return",
        "performance-profile",
        "difference-of-returns",
        "return-after-adaptation",
        "return-in-training",
        "zero-shot-return",
        "return-by-task-stage-0",
        "return-by-task-stage-1",
    )
    assert {path.name for path in written.with_suffix("").iterdir()} == {
        f"{n}.{k}" for n in names for k in ("csv", "png")
    }


def test_tasks_of_two_dimensions_are_maps_of_one_scale(tmp_path):
    tasks = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    tests = [
        {
            "algorithm": name,
            "told": "task",
            "stages": [{"tasks": tasks, "returns": [[low, low + 2.0]] * 2 + [[9.0, 9.0]]}],
        }
        for name, low in (("omni", 1.0), ("omni", 3.0), ("smt", -4.0))
    ]
    runs = [tmp_path / "0", tmp_path / "1", tmp_path / "2"]
    runs[0].mkdir()
    with log.Log(runs[0]) as lines:
        lines.write(1, {"task/1": 0.5, "task/2": 0.1})
        lines.write(2, {"task/1": 0.2, "task/2": 0.3})
    drawn = list(comparison_charts.by_task(("speed", "angle"), tests, runs, [4.0, 5.0, 9.0]))
    maps = [drawing for drawing, _ in drawn]
    assert [each.visited for each in maps] == [[(0.5, 0.1), (0.2, 0.3)], []]
    assert "the training tasks of 0, in order" in drawn[0][1] and "Numbered" not in drawn[1][1]
    picture = charts.svg(maps[0])
    assert ">2</text>" in picture and picture.count('keyTimes="0;0.6667" dur="1.2s"') == 2  # its place and its number
    assert list(maps[0].rows())[-1] == (0.2, 0.3, "", 2)
    assert [(each.title, each.values, each.limits) for each in maps] == [
        ("Gap by task, stage 0, omni", [1.0, 2.0, 0.0], (0.0, 8.0)),
        ("Gap by task, stage 0, smt", [7.0, 8.0, 0.0], (0.0, 8.0)),
    ]
    space = Box((0.0, 0.0), (0.5, 1.0))
    framed = next(comparison_charts.by_task(("speed", "angle"), tests, runs, [4.0, 5.0, 9.0], space))
    assert framed[0].box == ((0.0, 0.0), (0.5, 1.0)) and "Dashed" in framed[1]
    assert all(each.box is None for each in maps)
    ((alone, _),) = comparison_charts.by_task(("speed", "angle"), tests[2:], runs[2:], [4.0, 5.0, 9.0])
    assert (alone.title, alone.values) == ("Return by task, stage 0, smt", [-3.0, -3.0, 9.0])


def test_few_seeds_and_diverged_ones_are_stated(runs, tmp_path):
    (runs[0] / jobs.DIVERGED).write_text("state.policy is not finite")
    try:
        text = comparison.write(runs[:2], tmp_path / "report.html").read_text()
    finally:
        (runs[0] / jobs.DIVERGED).unlink()
    assert "state.policy is not finite" in text and "oracle: 2 of the 5 seeds that a 95% interval needs" in text
    assert "Which is better" not in text


def test_bands_are_intervals_from_five_seeds_on_and_ranges_below():
    def trained(by_seed):
        return {
            "told": "task",
            "stages": [{"adaptation_samples": 0, "mean": statistics.estimate(np.array(by_seed))._asdict()}],
        }

    few, many = trained([1.0, 4.0, 2.5]), trained([1.0, 2.0, 3.0, 4.0, 5.0])
    for algorithms, kind in (
        ({"smt": few}, "range"),
        ({"omni": many}, "95% interval"),
        ({"smt": few, "omni": many}, "range or 95% interval"),
    ):
        chart, caption = comparison_charts.adaptation({"algorithms": algorithms})
        assert chart.y == f"mean return, {kind}" and "the range of fewer than 5 seeds" in caption
    assert (chart.lines[0].low, chart.lines[0].high) == ([1.0], [4.0])
    assert (chart.lines[1].low[0], chart.lines[1].high[0]) == many["stages"][0]["mean"]["interval"]


def test_the_command(runs, tmp_path, capsys):
    from onebody.cli import main

    out = tmp_path / "r.html"
    assert main(["report", *map(str, runs[:1]), "--out", str(out), "--json"]) == 0
    assert (
        json.loads(capsys.readouterr().out)
        == {"report": str(out), "returns": str(out.with_suffix(".csv")), "figures": str(out.with_suffix(""))}
        and out.stat().st_size > 10_000
    )
    assert main(["report", str(tmp_path / "nowhere"), "--out", str(out)]) == 2
    assert "is not a run folder" in capsys.readouterr().err


def test_zero_shot_curves_of_training(runs):
    ((chart, _),) = comparison_charts.in_training(runs)
    last = json.loads(max((runs[0] / "evaluations").iterdir()).read_text())
    assert [line.label for line in chart.lines] == ["oracle"] * 3 + ["random-search"] * 3
    assert chart.lines[0].x == [float(last["training_samples"])]
    assert chart.lines[0].y == [last["stages"][0]["mean"]]


def test_a_family_without_labels_has_its_page(tmp_path, monkeypatch):
    labelless = dataclasses.replace(registry.make("point/goal"), id="test/labelless", task_labels=())
    monkeypatch.setitem(registry._FAMILIES, labelless.id, labelless)
    compare.compare(["random-search"], "test/labelless", out=tmp_path, seeds=1, **OPTIONS)
    text = comparison.write([tmp_path / "random-search-s0"], tmp_path / "report.html").read_text()
    assert "ψ1" in text and "Paths to goal" in text


def test_nothing_is_drawn_between_tasks_on_a_circle():
    tasks = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
    stages = [{"stage": 0, "tasks": tasks, "returns": [[1.0], [2.0], [3.0]]}]
    tests = [{"algorithm": "pearl", "told": "nothing", "seed": 0, "stages": stages}]
    for name, interpolated in (("pearl/sparse-point", False), ("pearl/point", True)):
        space = registry.make(name).space
        ((drawn, _),) = comparison_charts.by_task(("x", "y"), tests, [Path("none")], [1.0, 2.0, 3.0], space)
        assert drawn.interpolate is interpolated


def seeds(*by_seed):
    return statistics.estimate(np.array(by_seed, float))._asdict()


def stages(*each, told="task", samples=(0, 100, 200)):
    rows = [{"stage": i, "adaptation_samples": n, "mean": mean} for i, (n, mean) in enumerate(zip(samples, each))]
    for row in rows:
        row |= {
            "iqm": row["mean"],
            "worst": row["mean"],
            "cvar10": row["mean"],
            "gap": dict.fromkeys(GAPS, row["mean"]),
        }
    return {"told": told, "seeds": [0, 1], "training_samples": [500, 700], "diverged": {}, "stages": rows}


GAPS = ("mean", "worst", "cvar10")
SUMMARY = {
    "algorithms": {
        "omni": stages(*[seeds(5, 6, 7, 8, 9)] * 3, samples=(0, 0, 0)),
        "maml": stages(seeds(1, 2), seeds(3, 4), seeds(4, 5), told="nothing"),
    },
    "improvement": [
        {"algorithm": "omni", "over": "maml", "stage": i, "seeds": [0, 1], **seeds(1, 1), "difference": seeds(i + 1, 4)}
        for i in range(3)
    ],
}


def test_what_does_not_change_by_stage_is_one_row_and_what_algorithms_are_told_is_marked():
    forest, caption = comparison_charts.returns(SUMMARY)
    assert [(row.label, row.hollow) for row in forest.estimates] == [
        ("omni, stages 0 to 2", False),
        ("maml, stage 0", True),
        ("maml, stage 2", True),
    ]
    assert "Hollow: not told the task." in caption
    forest, _ = comparison_charts.differences(SUMMARY)
    assert [row.label for row in forest.estimates] == ["omni − maml, stage 0", "omni − maml, stage 2"]
    assert [row.estimate["value"] for row in forest.estimates] == [2.5, 3.5]
    chart, caption = comparison_charts.adaptation(SUMMARY)
    assert [line.style for line in chart.lines] == ["-", "--"]
    assert caption.endswith("Solid: told the task; dashed: not told the task.")
    table = comparison_tables.numbers(SUMMARY, {"omni": [], "maml": []})
    assert table.count("<tr>") == 1 + 1 + 3 and "<td>0 to 2</td>" in table and "<th scope=col>told</th>" in table
    alone = {"algorithms": {"omni": SUMMARY["algorithms"]["omni"]}}
    assert "told" not in comparison_tables.numbers(alone, {"omni": []}).split("</thead>")[0]
    assert "Hollow" not in comparison_charts.returns(alone)[1]


def test_a_forest_has_its_numbers_as_data_and_under_the_pointer():
    forest, _ = comparison_charts.returns(SUMMARY)
    assert list(forest.rows())[1:3] == [
        (
            "omni, stages 0 to 2",
            7.0,
            *SUMMARY["algorithms"]["omni"]["stages"][0]["mean"]["interval"],
            "5.0 6.0 7.0 8.0 9.0",
        ),
        ("maml, stage 0", 1.5, "", "", "1.0 2.0"),
    ]
    picture = charts.svg(forest)
    assert "<title>omni, stages 0 to 2: 7 (5.037 to 8.963)</title>" in picture
    assert "<title>maml, stage 0: 1.5 (range 1 to 2)</title>" in picture


def test_a_profile_is_the_share_of_tasks_above_each_return():
    tests = [
        {"algorithm": "omni", "told": "task", "stages": [{"returns": [[0.0, 0.0], [10.0, 10.0]]}]},
        {"algorithm": "omni", "told": "task", "stages": [{"returns": [[5.0, 5.0], [10.0, 10.0]]}]},
    ]
    chart, _ = comparison_charts.profile(tests)
    (line,) = chart.lines
    assert (line.x[0], line.x[-1], len(line.x)) == (0.0, 10.0, comparison_charts.LEVELS)
    at = np.array(line.x)
    assert np.array_equal(np.array(line.y), np.select([at < 1e-9, at < 5, at < 10], [0.75, 0.5 + 0.25, 0.5], 0.0))
    assert line.low[1] == 0.5 and line.high[1] == 1.0


def test_algorithms_are_ranked_by_their_return_at_the_last_stage(runs, tmp_path):
    ranked = comparison._ranked(runs)
    best, worst = (compare.summary(part)["algorithms"].values() for part in (ranked[:3], ranked[3:]))
    assert [each["stages"][-1]["mean"]["value"] for each in best] > [x["stages"][-1]["mean"]["value"] for x in worst]
    names = [run.name.removesuffix(run.name[-3:]) for run in ranked]
    assert names[0] == names[2] != names[3]
    text = comparison.write([ranked[3], ranked[0]], tmp_path / "report.html").read_text()
    assert f"<h1>test/line: {names[0]}, {names[3]}</h1>" in text


def test_runs_without_a_common_seed_are_not_compared(runs, tmp_path):
    by_name = {run.name: run for run in runs}
    text = comparison.write([by_name["oracle-s0"], by_name["random-search-s1"]], tmp_path / "report.html").read_text()
    assert "No two algorithms have a seed in common" in text


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_the_page_in_a_browser_scrolls_its_tables_alone_and_shows_values(written):
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab, errors, asked = browser.new_page(viewport={"width": 390, "height": 844}), [], []
        tab.on("console", lambda message: errors.append(message.text))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(written.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        assert tab.evaluate("[...document.querySelectorAll('.wide')].some(x => x.scrollWidth > x.clientWidth)")
        marks = "[...document.querySelectorAll('svg use title')].map(x => x.textContent)"
        assert any(re.match(r"oracle, -?[\d.]+: -?[\d.]+", text) for text in tab.evaluate(marks))
        tab.emulate_media(media="print")
        tab.set_viewport_size({"width": 680, "height": 1000})  # about that of A4 paper
        assert tab.evaluate("[...document.querySelectorAll('table')].every(x => x.getBoundingClientRect().right < 690)")
        assert not errors and asked == [written.as_uri()]
        browser.close()


@pytest.mark.skipif(not RESULTS.is_dir(), reason="the repository alone has them")
def test_a_report_of_ten_runs_takes_seconds_and_names_what_it_wrote(tmp_path, capsys):
    from onebody.cli import main

    every = sorted(path.parent for path in RESULTS.glob("*/evaluation.json"))
    runs = [run for run in every if run.name not in ("omni-s1", "omni-s2")]  # their settings are not omni-s0's
    assert len(runs) == 10
    out, began = tmp_path / "report.html", time.process_time()
    assert main(["report", *map(str, runs), "--out", str(out)]) == 0
    assert time.process_time() - began < 10
    named = [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()]
    assert sorted(named) == sorted(str(path) for path in tmp_path.iterdir())
    assert "(h:min:s)" in out.read_text() and re.search(r"<td>0:\d\d:\d\d</td>", out.read_text())
