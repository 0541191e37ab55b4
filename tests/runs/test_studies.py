"""Studies: all that come with the package can begin, files of one's own, what is missing is done, and what is drawn."""

import json
import time
from pathlib import Path

import pytest

from onebody.algorithms import presets
from onebody.cli import main
from onebody.core.errors import OnebodyError
from onebody.reports import study as report
from onebody.runs import studies
from onebody.tasks import registry

RESULTS = Path(__file__).parents[2] / "results"

OWN = """
paper = "ours"
charts = ["training", "adaptation", "learning"]
test = { tasks = 2, stages = 1 }
[systems.trpo]
label = "TRPO"
smoke = { preset = "smoke", evaluate_every = 1 }
[systems.narrow]
algorithm = "trpo"
label = "TRPO, narrow"
smoke = { preset = "smoke", settings = { hidden = [4, 4] } }
[studies.two-widths]
title = "point robot"
family = "point/goal"
claim = "Both learn."
[[studies.two-widths.published]]
label = "from a paper"
chart = "adaptation"
value = -3.0
source = "nowhere"
"""

PANELS = {  # as the captions of Landolfi, Thomas, Ma 2019 have them
    "smt-1a": "smt/cheetah-vel",  # half-cheetah, velocities in [0, 2]
    "smt-1b": "smt/ant-vel",  # ant, [0, 3]
    "smt-1c": "smt/humanoid-vel",  # humanoid, [0, 1.5]
    "smt-1d": "smt/ant-dir",  # ant, forward or backward
    "smt-1e": "smt/cheetah-vel-wide",  # half-cheetah, [-2, 2]
    "smt-1f": "smt/ant-vel-wide",  # ant, [-3, 3]
    "smt-1g": "smt/humanoid-vel-wide",  # humanoid, [-1.5, 1.5]
    "smt-1h": "smt/ant-vel-2d",  # ant, [-3, 3]²
    "smt-2a": "smt/cheetah-pos-to-neg",  # half-cheetah, positive velocities to negative ones
    "smt-2b": "smt/ant-pos-to-neg",  # ant, the same
    "smt-2c": "smt/ant-low-friction",  # ant's directions, less friction
    "smt-2d": "smt/ant-crippled",  # ant's directions, a leg disabled
    "smt-3": "smt/ant-vel-2d",
}


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    return path


@pytest.mark.parametrize("name", studies.names())
def test_studies_of_the_package_are_complete(name, tmp_path):
    study = studies.get(name)
    for scale in studies.SCALES:
        jobs = study.jobs(tmp_path, scale, 2)
        assert len(jobs) == 2 * len(study.systems) == len({job.out for job in jobs})
        for job in jobs:
            presets.preset(job.algorithm, job.preset, job.family)
    study.test.of(registry.make(study.family).tested)
    assert study.claim and {system.name for system in study.systems} >= {each.like for each in study.published} - {""}


def test_panels_of_smt_have_the_papers_letters():
    assert {name: studies.get(name).family for name in PANELS} == PANELS
    assert {name for name in studies.names() if name.startswith("smt-")} == PANELS.keys()


def test_a_study_of_ones_own_from_nothing_to_a_figure(own, tmp_path, capsys):
    out = tmp_path / "out"
    typed = ["reproduce", str(own), "--scale", "smoke", "--seeds", "1", "--workers", "1", "--out", str(out), "--quiet"]
    assert main([*typed, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["study"] == "two-widths" and result["trained"] == 2
    assert {path.name for path in out.iterdir()} >= {"trpo-s0", "narrow-s0", "figure.svg", "figure.png", "README.md"}
    config = json.loads((out / "narrow-s0" / "config.json").read_text())["config"]
    assert config["hidden"] == [4, 4]
    page = (out / "README.md").read_text()
    assert "| TRPO, narrow |" in page and "* from a paper: nowhere" in page and "Both learn." in page
    assert main([*typed, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trained"] == 0
    (out / "README.md").write_text(page.replace("# two-widths", "A sentence of mine.\n\n# two-widths"))
    figure = (out / "figure.svg").read_bytes()
    assert main(["reproduce", str(own), "--only-draw", "--out", str(out)]) == 0
    assert "A sentence of mine." in (out / "README.md").read_text() and (out / "figure.svg").read_bytes() == figure


def test_a_training_that_was_not_ended_is_not_done(own, tmp_path):
    job = studies.get(str(own)).jobs(tmp_path / "out", "smoke", 1)[0]
    assert not studies.is_done(job)
    from onebody.runs import evaluate, loop

    loop.train(job.algorithm, job.family, out=job.out, preset="smoke", samples=1, quiet=True)
    evaluate.evaluate(job.out, job.test)
    assert not studies.is_done(job)


@pytest.mark.parametrize(
    ("changed", "by", "said"),
    [
        ("studies.two-widths", "other", "has no study: add a table"),
        ('family = "point/goal"\n', "", "needs family"),
        ('"learning"]', '"lerning"]', "no chart 'lerning'; did you mean 'learning'"),
        ("tasks = 2", "task = 2", "no field 'task'; did you mean 'tasks'"),
        ("tasks = 2", 'tasks = "2"', "tasks must be a whole number, not '2'"),
        ("paper =", "paper", "is not valid TOML"),
        ("hidden = [4, 4]", "hiden = [4, 4]", "trpo has no setting 'hiden': onebody train trpo --help"),
        ('label = "TRPO, narrow"\nsmoke', 'label = "TRPO, narrow"\nhuge', r"needs \[systems.NAME\] tables, each with"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(own, tmp_path, changed, by, said):
    text = own.read_text()
    assert changed in text
    own.write_text(text.replace(changed, by))
    with pytest.raises(OnebodyError, match=said):
        studies.get(str(own)).jobs(tmp_path / "out", "smoke", 1)


def test_names_that_do_not_exist_are_refused(own, capsys):
    for typed, said in (
        (["smt-1z"], "no study 'smt-1z'; did you mean 'smt-1"),
        (["nowhere.toml"], "there is no file nowhere.toml"),
        ([f"{own}:three"], "has the studies two-widths: name one"),
        ([str(own), "--only-draw", "--out", "nowhere"], "nowhere has no run of two-widths to draw"),
        (["smt-1a", "--seeds", "0"], "--seeds must be at least 1"),
    ):
        assert main(["reproduce", *typed]) == 2
        assert said in capsys.readouterr().err


def test_the_list_says_what_is_there(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["study"] for row in rows] == studies.names() and {row["runs"] for row in rows} >= {"0/12"}


KEPT = [name for name in studies.names() if (RESULTS / name).is_dir()]


@pytest.mark.parametrize("name", KEPT or [pytest.param("", marks=pytest.mark.skip("the repository alone has them"))])
def test_a_figure_is_drawn_from_the_results_that_were_kept(name, tmp_path):
    study, began = studies.get(name), time.process_time()
    figure = report.draw([study], [RESULTS / name])
    table = report.table(study, RESULTS / name)
    figure.savefig(tmp_path / "figure.svg")
    assert time.process_time() - began < 10
    assert all(axes.lines for axes in figure.axes) and len(table.splitlines()) > 2
