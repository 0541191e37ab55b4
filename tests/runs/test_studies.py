"""Studies: all that come with the package can begin, files of one's own, what is missing is done, and what is drawn."""

import dataclasses
import json
import shutil
import time
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.text import Text

from onebody.algorithms import presets
from onebody.cli import main
from onebody.core.errors import OnebodyError
from onebody.reports import study as report
from onebody.reports import study_charts, study_runs, study_table
from onebody.runs import configs, evaluate, jobs, loop, studies, study_file
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
    for scale in study_file.SCALES:
        todo = studies.jobs_of(study, tmp_path, scale, 2)
        assert len(todo) == 2 * len(study.systems) == len({job.out for job in todo})
        for job in todo:
            presets.preset(job.algorithm, job.preset, job.family)
    study.test.of(registry.make(study.family).tested)
    assert study.claim and {system.name for system in study.systems} >= {each.like for each in study.published} - {""}


def test_panels_of_smt_have_the_papers_letters():
    assert {name: studies.get(name).family for name in PANELS} == PANELS
    assert {name for name in studies.names() if name.startswith("smt-")} == PANELS.keys()


def test_a_study_of_ones_own_from_nothing_to_a_figure(own, tmp_path, capsys):
    text = OWN.replace("[systems.trpo]", '[systems.search]\nalgorithm = "trpo"').replace("TRPO", "Search")
    text = text.replace('algorithm = "trpo"', 'algorithm = "random-search"')
    own.write_text(text.replace("hidden = [4, 4]", "directions = 2"))
    out = tmp_path / "out"
    typed = ["reproduce", str(own), "--scale", "smoke", "--seeds", "1", "--workers", "1", "--out", str(out), "--quiet"]
    assert main([*typed, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["study"] == "two-widths" and result["trained"] == 2
    written = {"two-widths.svg", "two-widths.png", "README.md"}
    assert {path.name for path in out.iterdir()} >= {"search-s0", "narrow-s0"} | written
    config = json.loads((out / "narrow-s0" / "config.json").read_text())["config"]
    assert config["directions"] == 2
    during = json.loads((out / "search-s0" / "evaluations" / "000001.json").read_text())
    assert len(during["stages"][0]["tasks"]) == 2
    page = (out / "README.md").read_text()
    assert (
        "| Search, narrow |" in page and "* from a paper: nowhere" in page and "Claim under test: Both learn." in page
    )
    assert "from a paper: -3" in page and "onebody train random-search point/goal --preset smoke" in page
    assert main([*typed, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trained"] == 0
    (out / "README.md").write_text(page.replace("# two-widths", "A sentence of mine.\n\n# two-widths"))
    figure = (out / "two-widths.svg").read_bytes()
    assert main(["reproduce", str(own), "--only-draw", "--out", str(out)]) == 0
    assert "A sentence of mine." in (out / "README.md").read_text() and (out / "two-widths.svg").read_bytes() == figure


def test_a_file_of_the_package_is_read_once(own, monkeypatch):
    files, read = [], study_file.read
    monkeypatch.setattr(studies, "BUILT_IN", own.parent)
    monkeypatch.setattr(study_file, "read", lambda path: files.append(path) or read(path))
    assert studies.get("two-widths") is studies.get("two-widths") and files == [own]


def test_a_wrong_place_to_train_writes_nothing(own, tmp_path):
    assert main(["reproduce", str(own), "--scale", "smoke", "--on", "moon", "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_a_training_that_was_not_ended_is_not_done(own, tmp_path):
    job = studies.jobs_of(studies.get(str(own)), tmp_path / "out", "smoke", 1)[0]
    assert not jobs.is_done(job)
    loop.train(job.algorithm, job.family, out=job.out, preset="smoke", samples=1, quiet=True)
    evaluate.evaluate(job.out, job.test)
    assert not jobs.is_done(job)


@pytest.mark.parametrize(
    ("changed", "by", "said"),
    [
        ("studies.two-widths", "other", "has no study: add a table"),
        ('family = "point/goal"\n', "", "needs family"),
        ('"learning"]', '"lerning"]', "no chart 'lerning'; did you mean 'learning'"),
        ("tasks = 2", "task = 2", "no field 'task'; did you mean 'tasks'"),
        ("tasks = 2", 'tasks = "2"', "tasks must be a whole number, not '2'"),
        ("paper =", "paper", "is not valid TOML"),
        ("hidden = [4, 4]", "hiden = [4, 4]", "trpo has no setting 'hiden'; did you mean 'hidden'"),
        ("hidden = [4, 4]", 'hidden = "big"', r"setting hidden must be like \[16, 16\], not 'big'"),
        ("hidden = [4, 4]", "hidden = 16", "setting hidden must be like"),
        ("hidden = [4, 4]", "hidden = [16.5]", "setting hidden must be like"),
        ('label = "TRPO, narrow"', 'lable = "TRPO, narrow"', "no field 'lable'; did you mean 'label'"),
        ('label = "TRPO, narrow"\nsmoke', 'label = "TRPO, narrow"\nhuge', "no field 'huge'"),
        ('label = "TRPO, narrow"\nsmoke', 'label = "TRPO, narrow"\nlaptop', "no scale smoke for narrow: add smoke"),
        ('paper = "ours"', 'paper = "ours"\nmetric = "median"', "metric must be one of mean, iqm, worst, cvar10"),
        ('paper = "ours"', 'paper = "ours"\nseeds = 0', "seeds must be at least 1"),
        ("value = -3.0", 'value = "low"', "value must be a number, not 'low'"),
        ("value = -3.0", "points = [1, 2]", r"points must be \[\[x, y\], …\], not"),
        ('chart = "adaptation"', 'chart = "adaptaion"', "no chart 'adaptaion'; did you mean 'adaptation'"),
        ("[[studies.two-widths.published]]", "[studies.two-widths.published]", "need double brackets"),
        ('{ preset = "smoke", evaluate_every = 1 }', '"smoke"', "must be a table in braces, not 'smoke'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(own, tmp_path, changed, by, said):
    text = own.read_text()
    assert changed in text
    own.write_text(text.replace(changed, by))
    with pytest.raises(OnebodyError, match=said):
        studies.jobs_of(studies.get(str(own)), tmp_path / "out", "smoke", 1)


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


def test_settings_in_a_table_change_what_they_name_alone(own, tmp_path):
    own.write_text(own.read_text().replace("hidden = [4, 4]", "trpo = { max_kl = 0.5 }"))
    before = presets.preset("trpo", "smoke", "point/goal")
    narrow = studies.jobs_of(studies.get(str(own)), tmp_path, "smoke", 1)[1]
    expected = dataclasses.replace(before, trpo=dataclasses.replace(before.trpo, max_kl=0.5))
    assert narrow.config == configs.to_json(expected)


def test_runs_of_another_scale_are_not_taken(own, tmp_path, monkeypatch):
    text = own.read_text()
    own.write_text(text.replace("smoke = {", "laptop = {"))
    out = tmp_path / "out"
    job = studies.jobs_of(studies.get(str(own)), out, "laptop", 1)[0]
    loop.train(job.algorithm, job.family, out=job.out, preset="smoke", quiet=True)
    evaluate.evaluate(job.out, job.test)
    assert jobs.is_done(job)
    own.write_text(text.replace("smoke = {", "laptop = {").replace("evaluate_every = 1", "settings = { hidden = [8] }"))
    other = studies.jobs_of(studies.get(str(own)), out, "laptop", 1)[0]
    with pytest.raises(OnebodyError, match=r"holds another run \(config\.hidden is .* choose another --out"):
        jobs.is_done(other)


def test_a_result_of_an_older_onebody_is_kept(own, tmp_path):
    own.write_text(own.read_text().replace("smoke = {", "laptop = {"))
    study, out = studies.get(str(own)), tmp_path / "out"
    job = studies.jobs_of(study, out, "laptop", 1)[1]
    loop.train(job.algorithm, job.family, out=job.out, preset="smoke", quiet=True)
    shutil.rmtree(job.out / "checkpoints")
    record = json.loads((job.out / "config.json").read_text())
    del record["config"]["trpo"]
    (job.out / "config.json").write_text(json.dumps(record))
    trained = study_runs.read(study, out)
    assert jobs.is_done(job) and not study_table.table(trained)
    command = "onebody train trpo point/goal --preset smoke --seed 0 --config.hidden 4 4"
    assert list(report.settings(trained)) == [f"* TRPO, narrow: `{command}`"]


def test_runs_of_systems_with_similar_names_are_told_apart(tmp_path):
    for name in ("omni-s0", "omni-small-s1", "omni-s2-old", "omni-s10"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    assert studies.seeds_of("omni", tmp_path) == {0: tmp_path / "omni-s0", 10: tmp_path / "omni-s10"}


def test_a_test_on_other_tasks_is_not_drawn(own, tmp_path):
    study, out = studies.get(str(own)), tmp_path / "out"
    tasks = study.test.of(registry.make(study.family)).tolist()
    for seed, tested in ((0, tasks), (1, [[0.0, 0.0]] * 3)):
        run = out / f"trpo-s{seed}"
        run.mkdir(parents=True)
        (run / "config.json").write_text("{}")
        stage = {"tasks": tested, "returns": [[1.0]] * len(tested), "adaptation_samples": 0}
        (run / "evaluation.json").write_text(json.dumps({"training_samples": 80, "stages": [stage]}))
    runs = study_runs.runs_of(study, study.systems[0], out)
    assert [path.name for path in runs.paths] == ["trpo-s0"] and len(runs.last) == 1


def test_the_list_says_what_is_there(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["study"] for row in rows] == studies.names() and {row["runs"] for row in rows} >= {"0/12"}


KEPT = [path.name for path in sorted(RESULTS.glob("*/")) if path.name in {*studies.names(), *studies.figures()}]
SAVED = {
    "omni": "the largest",
    "cheetah-dir": "published points and values, adaptation, tasks on a line with dotted predictions",
    "smt-3": "maps of tasks",
    "pearl-sparse-point": "an axis that is linear near zero and logarithmic beyond",
    "mbmpo-3": "learning, a logarithmic axis",
}
"""figures that are written to a file, and what they have; the others are drawn alone, and their texts are checked"""
GLYPHS = get_font(findfont("DejaVu Sans")).get_charmap()


@pytest.mark.parametrize("name", KEPT or [pytest.param("", marks=pytest.mark.skip("the repository alone has them"))])
def test_a_figure_is_drawn_from_the_results_that_were_kept(name, tmp_path):
    began = time.process_time()
    read = [study_runs.read(study, RESULTS / study.name) for study in studies.named(name)]
    each = [trained for trained in read if trained.any_runs]
    figure = study_charts.draw(each)
    page = report.page(each, f"{name}.svg")
    if name in SAVED:
        figure.savefig(tmp_path / "figure.svg")
    assert time.process_time() - began < 10
    texts = "".join(each.get_text() for each in figure.findobj(Text))
    assert "$" not in texts and {ord(letter) for letter in texts} - {ord("\n")} <= GLYPHS.keys()
    readme = RESULTS / name / "README.md"
    committed = readme.read_text() if readme.exists() else ""
    assert figure.axes and ("|" in page or each[0].study.charts == ("learning",))
    assert report.BEGIN not in committed or page in committed


GROUP = """
figures = ["own"]
paper = "ours"
charts = ["training", "tasks"]
test = { tasks = 3, stages = 1, training_stages = 1 }
[systems.search]
algorithm = "random-search"
smoke = { preset = "smoke", evaluate_every = 1 }
[systems.again]
runs_of = "own-1/search"
[studies.own-1]
title = "point robot"
family = "point/goal"
[studies.own-2]
title = "point robot, again"
family = "point/goal"
systems.search.smoke = { settings = { n_iterations = 1 } }
"""


def test_panels_share_a_figure_and_systems_share_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("own.toml").write_text(GROUP)
    monkeypatch.setattr(studies, "BUILT_IN", tmp_path)
    one, two = studies.named("own")
    assert [system.trainings["smoke"].settings for system in two.systems[:1]] == [{"n_iterations": 1}]
    assert two.systems[0].trainings["smoke"].evaluate_every == 1 and not one.systems[0].trainings["smoke"].settings
    outs = [str(job.out) for job in studies.jobs_of(two, Path("runs/own-2-smoke"), "smoke", 1)]
    assert outs == ["runs/own-2-smoke/search-s0", "runs/own-1-smoke/search-s0"]
    typed = ["reproduce", "own", "--scale", "smoke", "--seeds", "1", "--workers", "1", "--quiet", "--json"]
    assert main(typed) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["trained"] == 2 and result["page"] == "runs/own-smoke/README.md"
    page = Path(result["page"]).read_text()
    assert page.count("| search ") == 2 and page.count("| again ") == 2 and "### own-2: point robot, again" in page
    during = json.loads(Path("runs/own-1-smoke/search-s0/evaluations/000001.json").read_text())
    assert len(during["stages"]) == 2
    (title, *_), maps = [[axes.get_title() for axes in part.axes] for part in _drawn("own", "-smoke").subfigs[:2]]
    assert "own-1" in title and maps[:2] == ["search", "again"]


def _drawn(name, suffix):
    return study_charts.draw([study_runs.read(s, Path("runs") / f"{s.name}{suffix}") for s in studies.named(name)])


def test_runs_of_a_system_that_does_not_exist_are_refused(tmp_path, monkeypatch):
    (tmp_path / "own.toml").write_text(GROUP.replace("own-1/search", "own-1/serch"))
    monkeypatch.setattr(studies, "BUILT_IN", tmp_path)
    said = "runs_of = 'own-1/serch' of again: own-1 has no system 'serch'; did you mean"
    with pytest.raises(OnebodyError, match=said):
        studies.jobs_of(studies.get("own-2"), tmp_path, "smoke", 1)


@pytest.mark.parametrize(
    ("changed", "by", "said"),
    [
        ('runs_of = "own-1/search"', "runs_of = 3", r"runs_of must be a string, not 3"),
        ('runs_of = "own-1/search"', 'runs_of = "nothing"', "must name a study of the package: no study 'nothing'"),
        ('runs_of = "own-1/search"', 'runs_of = "own-1/again"', "name own-1/again, where these runs are taken from"),
        (
            'again"\nfamily = "point/goal"',
            'again"\nfamily = "maml/point"',
            "own-1 is a study of point/goal, this one of",
        ),
        ("systems.search.smoke =", "systems = 3\nother =", "systems must be tables"),
        (
            'again"\nfamily = "point/goal"',
            'again"\nfamily = "mbmpo/point"',
            "is a single task, so leave out the chart tasks",
        ),
    ],
)
def test_what_is_wrong_with_shared_systems_is_said(tmp_path, monkeypatch, changed, by, said):
    assert changed in GROUP
    (tmp_path / "own.toml").write_text(GROUP.replace(changed, by))
    monkeypatch.setattr(studies, "BUILT_IN", tmp_path)
    with pytest.raises(OnebodyError, match=said):
        studies.jobs_of(studies.get("own-2"), tmp_path, "smoke", 1)


def test_a_study_can_leave_out_a_shared_system(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        GROUP.replace("systems.search.smoke = { settings", "systems.again = false\nsystems.search.smoke = { settings")
    )
    assert [[system.name for system in each.systems] for each in studies.named(str(path))] == [
        ["search", "again"],
        ["search"],
    ]


def test_the_beginning_of_a_name_is_no_figure(capsys):
    assert main(["reproduce", "pear"]) == 2
    assert "no study 'pear'; did you mean 'pearl'" in capsys.readouterr().err
    panels = studies.figures()
    assert panels["smt-1"] == [f"smt-1{letter}" for letter in "abcdefgh"] and "mbmpo-7-rate" in panels["mbmpo-7"]
    assert {study for each in panels.values() for study in each} <= set(studies.names())


def test_runs_of_another_study_are_where_that_study_keeps_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = studies.get("mbmpo-1-swimmer")
    system = next(each for each in study.systems if each.runs_of)
    assert studies.place_of(study, system, Path("runs/mbmpo-1-swimmer"))[0] == Path("runs/mbmpo-2-swimmer")
    assert studies.place_of(study, system, Path("runs/mbmpo-1-swimmer-smoke"))[0] == Path("runs/mbmpo-2-swimmer-smoke")
    assert studies.place_of(study, system, Path("mine/mbmpo-1"))[0] == Path("mine/mbmpo-1/mbmpo-2-swimmer")
    Path("results/mbmpo-2-swimmer").mkdir(parents=True)
    assert studies.place_of(study, system, Path("runs/mbmpo-1-swimmer"))[0] == Path("results/mbmpo-2-swimmer")


def _tested(run, samples, returns, told="task"):
    """A run folder with tests on the three tasks of GROUP, after so many real samples each."""
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    tasks = evaluate.MetaTest(tasks=3).of(registry.make("point/goal")).tolist()
    for n, mean in zip(samples, returns, strict=True):
        stages = [{"tasks": tasks, "returns": [[mean]] * 3, "adaptation_samples": 20 * i} for i in range(2)]
        test = {"training_samples": n, "stages": stages, "told": told, "task_is_known": told == "task"}
        (run / f"evaluation-{n}.json").write_text(json.dumps(test))


def test_seeds_and_systems_are_compared_after_equal_samples(tmp_path, monkeypatch):
    """The mean is over tests after as many samples; `up_to` leaves later tests out."""
    (tmp_path / "own.toml").write_text(GROUP)
    monkeypatch.setattr(studies, "BUILT_IN", tmp_path)
    study, out = studies.get("own-1"), tmp_path / "own-1"
    _tested(out / "search-s0", [100, 200], [1.0, 9.0])
    _tested(out / "search-s1", [100, 300], [3.0, 9.0])
    runs = study_runs.runs_of(study, study.systems[0], out)
    assert [(n, stages[0]["returns"][0]) for n, stages in runs.last] == [(100, [1.0]), (100, [3.0])]
    _tested(out / "search-s2", [300], [5.0])
    assert [n for n, _ in study_runs.runs_of(study, study.systems[0], out).last] == [200, 300, 300]
    short = dataclasses.replace(study, up_to=200)
    assert [n for n, _ in study_runs.runs_of(short, study.systems[0], out).last] == [100, 100]


def test_a_table_says_what_systems_are_told_where_that_differs(tmp_path, monkeypatch):
    (tmp_path / "own.toml").write_text(
        GROUP.replace('runs_of = "own-1/search"', 'algorithm = "random-search"\nsmoke = {}')
    )
    monkeypatch.setattr(studies, "BUILT_IN", tmp_path)
    study, out = studies.get("own-1"), tmp_path / "own-1"
    _tested(out / "search-s0", [100], [1.0])
    assert "told" not in study_table.table(study_runs.read(study, out))
    _tested(out / "again-s0", [100], [2.0], "reward function")
    table = study_table.table(study_runs.read(study, out))
    assert "| search | the task            |" in table and "| again  | the reward function |" in table


def test_all_figures_that_have_runs_are_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "--only-draw"]) == 2
    assert "there are no runs to draw" in capsys.readouterr().err
    assert main(["reproduce", "--only-draw", "--out", "x"]) == 2
    assert "leave --out out" in capsys.readouterr().err
    Path("own.toml").write_text(GROUP.replace('figures = ["own"]', 'figures = ["own", "empty"]'))
    monkeypatch.setattr(studies, "BUILT_IN", tmp_path)
    for name in ("own-1", "own-2"):
        _tested(Path(f"runs/{name}/search-s0"), [100], [1.0])
    Path("runs/empty").mkdir()
    monkeypatch.setattr(report, "settings", lambda trained: [])
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)
    assert main(["reproduce", "--only-draw", "--json"]) == 0
    assert [each["study"] for each in json.loads(capsys.readouterr().out)] == ["own-1", "own-2"]
    Path("results/own").mkdir(parents=True)
    assert main(["reproduce", "--only-draw", "--json"]) == 0
    assert [each["study"] for each in json.loads(capsys.readouterr().out)] == ["own"]


def test_missing_logs_are_said_before_any_training_with_how_to_make_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = studies.get("logs-cheetah-vel")
    todo = studies.jobs_of(study, tmp_path / "out", "smoke", 1)
    with pytest.raises(OnebodyError, match=r"there is no file logs/.*expert\.npz, .*onebody train omni cheetah-vel"):
        studies.check_logs([study], todo)
    ant = studies.get("logs-ant-vel")
    with pytest.raises(OnebodyError, match=r"there is no file logs/ant-vel/expert\.npz.* for logs-ant-vel: ") as error:
        studies.check_logs([study, ant], studies.jobs_of(ant, tmp_path / "out", "smoke", 1))
    assert "logs-cheetah-vel" not in str(error.value)
    for source in {source for job in todo for source in job.data}:
        (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / source).touch()
    studies.check_logs([study], todo)
