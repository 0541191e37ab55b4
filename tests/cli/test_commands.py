"""What each command does."""

import dataclasses
import json
import os
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from commandline import SMOKE, files, refusal

import onebody
from onebody.algorithms import presets
from onebody.cli import commands, main
from onebody.core.errors import OnebodyError
from onebody.reports import export, video
from onebody.runs import adapt, compare, evaluate, log
from onebody.tasks import registry

PAGE = (Path(__file__).parents[2] / "docs/json.md").read_text()


def undocumented(value, *names):
    """Keys of a JSON value that the page does not name; `names`: of fields whose keys are names of algorithms, runs."""
    if isinstance(value, list):
        return [key for each in value for key in undocumented(each, *names)]
    if not isinstance(value, dict):
        return []
    inside = [list(each.values()) if key in names else each for key, each in value.items()]
    return [key for key in value if f"`{key}`" not in PAGE] + undocumented(inside, *names)


def test_train_and_the_same_command_again(capsys):
    assert main([*SMOKE, "--json", "--config.n-iterations", "3"]) == 0
    out, err = capsys.readouterr()
    result, run = json.loads(out), Path("runs/random-search-point-goal-s0")
    assert result["run"] == str(run) and result["iteration"] == 3 and result["real/samples"] > 0
    assert "iteration 3/3" in err
    assert json.loads((run / "config.json").read_text())["config"]["n_iterations"] == 3
    before = (os.listdir(run / "checkpoints"), log.read(run))
    assert main([*SMOKE, "--json", "--quiet", "--config.n-iterations=3"]) == 0
    assert main(["resume", result["run"], "--json", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [json.dumps(result)] * 2 and err == ""
    assert before == (os.listdir(run / "checkpoints"), log.read(run))


def test_a_single_task_needs_no_task_and_a_shift_is_tested_on_its_other_family(capsys):
    options = ["--preset", "smoke", "--quiet"]
    assert main(["train", "random-search", "mbmpo/point", "--out", "one", *options]) == 0
    assert "onebody adapt one  or" in capsys.readouterr().out
    assert main(["adapt", "one", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["task"] == []
    assert main(["adapt", "one", "--task", "1"]) == 2
    assert "has no number: leave it out" in capsys.readouterr().err
    assert main(["train", "random-search", "pearl/sparse-point", "--out", "sparse", *options]) == 0
    assert main(["adapt", "sparse"]) == 2
    assert "--task" in capsys.readouterr().err
    assert main(["evaluate", "sparse", "--tasks", "3", "--stages", "0", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["family"], result["tested_on"]) == ("pearl/sparse-point", "pearl/sparse-point-test")
    assert min(min(row) for row in result["stages"][0]["returns"]) >= 0  # the sparse reward, never negative
    assert main(["train", "smt", "pearl/hopper-params", "--out", "varied", *options]) == 2
    assert "slbo trains on one of its tasks" in capsys.readouterr().err


def test_train_says_what_comes_next_and_takes_options_in_any_order(trained, capsys):
    typed = ["train", "--out", str(trained), "--quiet", "--preset=smoke", "random-search", "--seed", "0", "point"]
    assert main(typed) == 0
    assert f"onebody evaluate {trained}" in capsys.readouterr().out


def test_a_folder_named_like_a_family_chooses_no_settings():
    """`--out point`: the settings are those of the family that is trained on."""
    kind = commands.with_config(["--out", "point", "pearl", "pearl/sparse-point"])
    assert kind.config == presets.preset("pearl", "laptop", "pearl/sparse-point")
    assert kind.config != presets.preset("pearl", "laptop", "point/goal")


def test_samples_end_the_training(capsys):
    assert main([*SMOKE, "--samples", "1", "--out", "short", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["iteration"] == 1


@pytest.fixture(scope="module")
def omni_run(tmp_path_factory, unoptimised):
    """A run of an algorithm that can optimise a policy inside its model for any reward."""
    run = tmp_path_factory.mktemp("omni") / "run"
    assert main(["train", "omni", "point", "--preset", "smoke", "--quiet", "--out", str(run)]) == 0
    return str(run)


def test_adapt(omni_run, tmp_path, capsys):
    typed = ["adapt", omni_run, "--task", "-0.5,0.25", "--task", "1,0", "--save", "policy.npz", "--video", "v.webp"]
    assert main([*typed, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert not undocumented(rows)
    assert [row["task"] for row in rows] == [[-0.5, 0.25], [1.0, 0.0]]
    assert [row["policy"] for row in rows] == ["policy--0.5,0.25.npz", "policy-1,0.npz"]
    for row in rows:
        assert row["adaptation_samples"] == 0
        assert all(np.isfinite(row[name]) for name in ("predicted_return", "real_return"))
        assert np.shape(row["achieved"]) == (2,)
        assert "untrained_return" not in row
        assert onebody.load_policy(row["policy"])(np.zeros(2)).shape == (2,)
        assert Path(row["video"]).read_bytes()[:4] == b"RIFF"
    assert len(list(tmp_path.iterdir())) == 4


def test_adapt_table_with_real_samples_outside_the_space(omni_run, capsys):
    assert main(["adapt", omni_run, "--task", "1.5,0", "--extrapolate", "--stages", "1", "--save", "p.npz"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split("  ")[0] == "task" and "real return" in header and "achieved" in header
    assert re.match(r"1\.5, 0\.0 +\(-?\d\.\d\d, -?\d\.\d\d\) m ", row)
    assert row.startswith("1.5, 0.0") and row.split()[-1] == "p.npz" and int(row.split()[-2]) > 0


def test_adapt_shows_what_it_found_even_if_it_cannot_film(omni_run, capsys, monkeypatch):
    def film(*_):
        raise OnebodyError("cannot render here; install a renderer")

    monkeypatch.setattr(video, "film", film)
    assert main(["adapt", omni_run, "--task", "0,0", "--video", "v.webp"]) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2 and err == "onebody: cannot render here; install a renderer\n"


REWARDS = """
number = 1.0
def right(observation, action, next_observation, task): return next_observation[0]
def beside(observation, action, next_observation, task): return next_observation[0] - task[0]
def vector(observation, action, next_observation, task): return next_observation
def beyond(observation, action, next_observation, task): return next_observation[7]
def short(observation): return observation[0]
"""


def test_adapt_to_a_reward_of_a_file(omni_run, capsys):
    """What optimisation makes of a reward: tests/runs/test_promise.py."""
    Path("mine.py").write_text(REWARDS)
    assert main(["adapt", omni_run, "--reward", "mine.py:right", "--refine", "0.01", "--json", "--save", "p.npz"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["refine_updates"] >= 50 and row["predicted_return"] >= row["predicted_before"]
    assert row["task"] in np.asarray(registry.make("point/goal").space.held_out(40)).tolist()
    assert onebody.load_policy(row["policy"])(np.zeros(2)).shape == (2,)
    typed = ["adapt", omni_run, "--reward", "mine.py:beside", "--task", "0.5,0", "--task", "-1,0"]
    assert main([*typed, "--refine", "0"]) == 0
    out, err = capsys.readouterr()
    assert "optimised" not in out and err.count("not optimised for the reward") == 2
    assert main([*typed, "--stages", "1", "--json"]) == 0
    near, far = json.loads(capsys.readouterr().out)
    assert near["refine_updates"] == 0 < near["adaptation_samples"] and near["warning"] == ""
    assert near["real_return"] < far["real_return"]  # the task is what the reward is given


def test_an_expression_is_a_reward_and_time_to_refine_is_passed_on(trained, capsys, monkeypatch):
    given, policies = [], adapt.adapt_many(trained, [(0.5, 0.0)])
    monkeypatch.setattr(adapt, "adapt_many", lambda *each, **options: given.append((*each, options)) or policies)
    typed = ["--reward", "x - 0.1 * effort", "--task", "0.5,0", "--refine", "0.25"]
    assert main(["adapt", str(trained), *typed, "--json"]) == 0
    ((run, (task,), options),) = given
    assert (run, [*task], options["refine"], options["stages"]) == (trained, [0.5, 0.0], 0.25, 0)
    row = map(jax.device_put, np.float32([[0.0, 0.0], [0.5, -1.0], [3.0, 4.0], [0.0, 0.0]]))
    assert float(options["reward"](*row)) == pytest.approx(3.0 - 0.1 * (0.25 + 1.0))


def test_adapt_says_what_refinement_changed(trained, capsys, monkeypatch):
    (policy,) = adapt.adapt_many(trained, [(0.5, 0.0)])
    refined = dataclasses.replace(policy, refine_updates=1250, predicted_before=-3.0, predicted_return=-1.25)
    monkeypatch.setattr(adapt, "adapt_many", lambda *_, **__: [refined])
    assert main(["adapt", str(trained), "--task", "0.5,0", "--refine", "0.01"]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == "task 0.5, 0.0: optimised for 1,250 updates: predicted return from -3.0 to -1.2"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--reward mine.py", "mine.py names no function of a file; write FILE.py:NAME"),
        ("--reward right", "right names no function of a file"),
        ("--reward x.real", "write FILE.py:NAME, or an expression, which this is not: 'x.real' is not allowed"),
        ("--reward x-z", "unknown name 'z'"),
        ("--reward other.py:right", "other.py; name a function of your own as FILE.py:NAME"),
        ("--reward broken.py:right", "broken.py cannot be run: SyntaxError"),
        ("--reward mine.py:rigth", "mine.py defines no function 'rigth'; did you mean 'right'?"),
        ("--reward mine.py:number", "is of type "),
        ("--reward mine.py:vector", "reward gives float32 of shape (2,); it must give one float, a scalar"),
        ("--reward mine.py:beyond", "reward reads what is not there"),
        ("--reward mine.py:short", "reward must take (observation, action, next_observation, task)"),
        ("--reward mine.py:right --task 0.5", "must be 2 finite number(s)"),
        ("--reward mine.py:right --refine nan", "--refine must be 0 or more seconds, and finite, not nan"),
        ("--reward mine.py:right --refine 1 --stages 1", "give either --stages, which take real samples, or --refine"),
        ("--task 0,0 --refine -1", "--refine must be 0 or more seconds, and finite, not -1.0"),
        ("--refine 1", "a task is needed, x (m), y (m), such as "),
    ],
)
def test_a_reward_that_is_refused(omni_run, typed, said, capsys):
    Path("mine.py").write_text(REWARDS)
    Path("broken.py").write_text("x = (")
    assert said in refusal(capsys, "adapt", omni_run, *typed.split())


def test_evaluate(trained, capsys, monkeypatch):
    assert main(["evaluate", str(trained), "--tasks", "5", "--stages", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((trained / "evaluation.json").read_text()) and not undocumented(result)
    assert [stage["stage"] for stage in result["stages"]] == [0, 1]
    assert main(["evaluate", str(trained), "--grid", "2", "--beyond", "1.5", "--stages", "0"]) == 0
    assert "4 tasks on a grid over [-1.5, 1.5]^2;" in capsys.readouterr().out
    result["stages"][1] |= {"adaptation_samples": 1234, "mean": 2.5}  # this algorithm takes and changes nothing
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: result | {"told": "task"})
    assert main(["evaluate", str(trained), "--tasks", "5", "--stages", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and lines[-1].startswith("told the task")
    assert "random-search on point/goal, seed 0, known task" in lines[0]
    assert f"{result['training_samples']:,}" in lines[1]
    for line, stage in zip(lines[3:-1], result["stages"], strict=True):
        for number in (stage["mean"], stage["iqm"], stage["worst"], *stage["interval"]):
            assert f"{number:,.1f}" in line
        assert line.split()[:2] == [str(stage["stage"]), f"{stage['adaptation_samples']}"]


def test_json_has_no_nan(trained, capsys, monkeypatch):
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: {"mean": float("nan"), "all": [float("inf"), 1.5]})
    assert main(["evaluate", str(trained), "--json"]) == 0
    assert capsys.readouterr().out == '{"mean": null, "all": [null, 1.5]}\n'


def test_compare_prints_a_table_and_says_what_an_interval_needs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = "--preset smoke --seeds 1 --stages 0 --tasks 2 --workers 1 --quiet"
    typed = ["compare", "point", "random-search", "oracle", *asked.split()]
    assert main(typed) == 0
    out, err = capsys.readouterr()
    assert out.index("known task") < out.index("oracle  ") < out.index("hidden task") < out.index("random-search  ")
    assert "random-search has 1 of the 5 seeds that a 95% interval needs" in err and "fewer than 5 seeds" in out
    assert main([*typed, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert not undocumented(result, "algorithms", "diverged")
    assert result["family"] == "point/goal" and 0 <= result["improvement"][0]["value"] <= 1
    mean = result["algorithms"]["random-search"]["stages"][0]["mean"]
    assert mean["by_seed"] == [mean["value"]] and mean["range"] == [mean["value"]] * 2 and mean["interval"] is None
    assert (tmp_path / "runs" / "compare-point-goal" / "oracle-s0" / "evaluation.json").exists()


def test_a_comparison_needs_a_family_and_algorithms(capsys):
    assert main(["compare", "point"]) == 2
    assert "needs a family and algorithms" in capsys.readouterr().err


def test_compare_says_what_is_unequal(monkeypatch, capsys):
    def aggregates(training, task):
        estimate = {"value": 1.0, "by_seed": [1.0], "range": [1.0, 1.0], "interval": [0.0, 2.0]}
        stages = [
            {"stage": i, "adaptation_samples": i * task} | dict.fromkeys(("mean", "iqm", "worst"), estimate)
            for i in (0, 1)
        ]
        return {
            "task_is_known": False,
            "told": "nothing",
            "seeds": [0],
            "training_samples": [training],
            "diverged": {},
            "stages": stages,
        }

    def compared(pearl, maml):
        result = {"family": "pearl/cheetah-dir", "tested": "2 tasks", "improvement": []}
        return lambda *_, **__: result | {"algorithms": {"pearl": aggregates(*pearl), "maml": aggregates(*maml)}}

    command = ["compare", "pearl/cheetah-dir", "pearl", "maml", "--stages", "1"]
    monkeypatch.setattr(compare, "compare", compared((1000, 0), (1000, 200)))
    assert main(command) == 0
    rows = [re.split(" {2,}", line)[:4] for line in capsys.readouterr().out.splitlines()]
    assert [(row[0], row[3]) for row in rows if row[0] in ("pearl", "maml")] == [
        ("pearl", "0 to 1"),
        ("maml", "0"),
        ("maml", "1"),
    ]
    monkeypatch.setattr(compare, "compare", compared((1000, 200), (5000, 4000)))
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert "hidden task: returns on 2 tasks (not told the task; at stage 0 the policy has not adapted" in out
    assert "trained on unequal real samples (pearl 1,000, maml 5,000)" in err
    assert "stage 1 has unequal real samples of a task (pearl 200, maml 4,000)" in err
    monkeypatch.setattr(compare, "compare", compared((1000, 200), (1000, 200)))
    assert main(command) == 0 and not capsys.readouterr().err


@pytest.fixture(scope="module")
def tested(trained):
    assert main(["evaluate", str(trained), "--tasks", "3", "--stages", "0", "--quiet"]) == 0
    return trained


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("report RUN --out RUN/config.json", ["RUN/config.json", ".html"]),
        ("report RUN --out returns.csv", ["returns.csv", ".html"]),
        ("report RUN --out", ["--out"]),
        ("report RUN --out=", [".html"]),
        ("report RUN --out .", [".html"]),
        ("report RUN --out folder.html", ["folder.html is a folder"]),
        ("report RUN --out kept.html", ["folder kept, which is a file"]),
        ("report RUN --out link.html", ["link.html", "links to RUN/config.json"]),
        ("report RUN --out RUN/checkpoints.html", ["a part of the run RUN"]),
        ("report RUN --out RUN/checkpoints/report.html", ["a part of the run RUN"]),
        ("report RUN --out a\0b.html", ["NUL"]),
        ("report", ["at least one run folder"]),
        ("adapt RUN --task 0,0 --save RUN/config.json.npz", ["--save RUN/config.json.npz", "a part of the run RUN"]),
        ("adapt RUN --task 0,0 --save link.npz", ["--save link.npz", "links to RUN/config.json"]),
        ("adapt RUN --task 0,0 --video RUN/metrics.webp", ["--video RUN/metrics.webp", "a part of the run RUN"]),
    ],
)
def test_a_result_replaces_nothing_of_another_kind(typed, said, tested, capsys):
    Path("folder.html").mkdir()
    Path("kept").write_text("kept")
    for link in ("link.html", "link.npz"):
        Path(link).symlink_to(tested / "config.json")
    before = files(tested), files(Path())
    line = refusal(capsys, *typed.replace("RUN", str(tested)).split())
    for words in said:
        assert words.replace("RUN", str(tested)) in line
    assert (files(tested), files(Path())) == before


def test_a_report_may_stand_in_the_folder_of_its_run_and_be_written_again(tested, capsys):
    for _ in range(2):
        assert main(["report", str(tested), "--out", str(tested / "report.html"), "--json"]) == 0
    assert "<h1>point/goal: random-search</h1>" in (tested / "report.html").read_text()


def test_play_exports_a_page_instead_of_serving_it(capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(export, "export", lambda run, file: asked.append((run, file)) or file)
    assert main(["play", "--export", "page.html"]) == 0
    assert asked == [(None, Path("page.html"))] and "saved: page.html" in capsys.readouterr().out
    assert "--export page.txt must end in .html" in refusal(capsys, "play", "--export", "page.txt")
    assert "there is no folder" in refusal(capsys, "play", "--export", "nowhere/page.html")
