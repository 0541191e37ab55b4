"""Files of a run folder that were damaged, cut or replaced are named in one line, or left out; nothing is lost."""

import json
import random
import shutil

import pytest
from matplotlib.figure import Figure
from states import files

from onebody.cli import main
from onebody.reports import charts
from onebody.runs import folder, log

TRAIN = ["train", "trpo", "point/goal", "--preset", "smoke", "--evaluate-every", "1", "--quiet"]
CONTENTS = {
    "an empty file": b"",
    "zeros": bytes(100),
    "no text": b"\xff\xfe\x00abc",
    "a list": b"[]",
    "nested too deeply": b"[" * 3000,
    "an empty object": b"{}",
    "another object": b'{"a": 1}',
    "a number": b"3",
    "null": b"null",
    "a text": b'"stages"',
    "stages of another kind": b'{"training_samples": 1, "task_is_known": true, "stages": {"0": 1}}',
    "no stages": b'{"training_samples": 1, "task_is_known": true, "stages": []}',
}
LINES = {
    "an empty object": b"{}\n",
    "a list": b"[]\n",
    "no samples": b'{"iteration": 1}\n',
    "no iteration": b'{"real/samples": 80, "real/return": 1.0}\n',
    "texts": b'{"iteration": "1", "real/samples": "80"}\n',
    "a list of returns": b'{"iteration": 1, "real/samples": 80, "real/return": [1.0]}\n',
    "half a line": b'{"iteration": 1, "real/sam',
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    assert main([*TRAIN, "--out", str(run)]) == 0
    assert main(["evaluate", str(run), "--tasks", "3", "--stages", "1", "--quiet"]) == 0
    return run


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def unrendered(monkeypatch):
    """Charts are drawn, but not rendered, which takes most of the time of a report."""

    def save(drawing, file, colors, kind):
        drawing.draw(Figure(), colors)
        if kind == "svg":
            file.write('<svg viewBox="0 0 1 1"></svg>')

    monkeypatch.setattr(charts, "_save", save)


def said(capsys, *arguments, code=2):
    """What a command says that ends with this exit code; if it is refused, in one line."""
    capsys.readouterr()
    assert main([str(each) for each in arguments]) == code
    error = capsys.readouterr().err
    assert code != 2 or (error.startswith("onebody: ") and error.count("\n") == 1)
    return error


@pytest.mark.parametrize("content", [*CONTENTS, "half of it"])
@pytest.mark.parametrize("name", ["evaluation.json", "evaluations/000001.json"])
def test_a_damaged_test_is_named_by_the_report_and_made_again(name, content, run, capsys):
    path, page = run / name, run.parent / "page.html"
    path.write_bytes(CONTENTS.get(content, path.read_bytes()[:200]))
    before = files(run)
    assert f"{path} is damaged" in said(capsys, "report", run, "--json", "--out", page)
    assert files(run) == before and not page.exists()
    if name == "evaluation.json" and content == "a list":
        said(capsys, "evaluate", run, "--tasks", "3", "--stages", "1", "--quiet", code=0)
    else:
        path.unlink()
    if content == "a list":
        said(capsys, "report", run, "--json", "--out", page, code=0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"stages": 0}, "stages"),
        ({"training_samples": "80"}, "training_samples"),
        ({"told": "everything"}, "told"),
        ({"task_is_known": 1}, "task_is_known"),
    ],
)
def test_a_test_with_a_value_of_another_kind_is_damaged(change, reason, run, capsys):
    path = run / "evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert reason in said(capsys, "report", run, "--json") or reason == "stages"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tasks", [[0.0, 0.0]]),
        ("tasks", None),
        ("returns", [["1"] * 10] * 3),
        ("returns", [[1.0] * 9] * 3),
        ("returns", [[1e999] * 10] * 3),
        ("paths", [[0.0]] * 3),
        ("adaptation_samples", None),
        ("mean", "high"),
    ],
)
def test_a_stage_with_a_value_of_another_kind_is_damaged(name, value, run, capsys):
    path = run / "evaluation.json"
    test = json.loads(path.read_text())
    test["stages"][1][name] = value
    path.write_text(json.dumps(test))
    assert f"{path} is damaged" in said(capsys, "report", run, "--json")


@pytest.mark.parametrize("place", ["first", "last", "only"])
@pytest.mark.parametrize("line", LINES)
def test_a_damaged_line_of_the_metrics_is_left_out(line, place, run, capsys):
    path = run / log.METRICS
    lines = path.read_bytes()
    path.write_bytes({"first": LINES[line] + lines, "last": lines + LINES[line], "only": LINES[line]}[place])
    if place == "last":
        said(capsys, "report", run, "--json", "--out", run.parent / "a.html", code=0)
    said(capsys, "resume", run, code=0)
    if place == "only":
        path.write_bytes(LINES[line])
        said(capsys, *TRAIN, "--out", run, code=0)


@pytest.mark.parametrize("content", [b"", None, b"[]\n"])
def test_missing_lines_of_the_metrics_are_named(content, run, capsys, monkeypatch):
    if content == b"":
        monkeypatch.undo()  # a report without a curve of training is rendered
    path = run / log.METRICS
    path.write_bytes(path.read_bytes()[:-5] if content is None else content)
    left = "1" if content is None else "0"
    page = run.parent / "page.html"
    assert f"{run}: lines of metrics.jsonl are" in said(capsys, "report", run, "--json", "--out", page, code=0)
    warning = f"onebody: {run}: metrics.jsonl has only {left} of the 2 lines before iteration 3\n"
    assert said(capsys, "resume", run, "--quiet", code=0) == warning


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "evaluation.json", "evaluations/000002.json"])
def test_a_flipped_bit_ends_no_command_in_a_traceback(name, run, capsys):
    chance, path = random.Random(0), run / name
    whole = path.read_bytes()
    for _ in range(5 if name.startswith("evaluation") else 25):
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        command = ["resume", str(run), "--quiet"]
        if name.startswith("evaluation"):
            command = ["report", str(run), "--json", "--out", str(run.parent / "a.html")]
        code = main(command)
        error = capsys.readouterr().err
        assert code == 0 or (code == 2 and error.count("\n") == 1), data


@pytest.mark.parametrize(
    ("name", "value"),
    [("activation", "tenh"), ("episodes", 1.5), ("hidden", [4, 1.5]), ("trpo", 3), ("episods", 3), ("normalize", 1)],
)
def test_a_configuration_that_does_not_fit_is_one_line(name, value, run, capsys):
    record = folder.read_config(run)
    record["config"][name] = value
    folder.write_json(run / folder.CONFIG, record)
    before = files(run)
    error = said(capsys, "resume", run)
    assert "does not fit trpo here" in error and str(name if name != "trpo" else value) in error
    assert files(run) == before


@pytest.mark.parametrize(("name", "value"), [("seed", "1"), ("versions", []), ("samples", 1.5), ("config", None)])
def test_a_record_with_a_value_of_another_kind_is_damaged(name, value, run, capsys):
    folder.write_json(run / folder.CONFIG, folder.read_config(run) | {name: value})
    for command in ("resume", "evaluate", "report"):
        assert f"{run / folder.CONFIG} is damaged" in said(capsys, command, run)


@pytest.mark.parametrize("kind", ["a folder", "a link to nothing"])
@pytest.mark.parametrize("name", ["metrics.jsonl", "evaluation.json", "diverged.txt", "checkpoints", "evaluations"])
def test_a_part_of_another_kind_is_refused_before_anything_changes(name, kind, run, capsys):
    path = run / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if kind == "a link to nothing":
        path.symlink_to(run.parent / "nowhere")
    elif "." in name:
        path.mkdir()
    else:
        path.write_text("no folder")
        kind = "a file"
    before = sorted(run.rglob("*")), files(run)
    for command in (["resume", run], [*TRAIN, "--samples", "500", "--out", run], ["evaluate", run, "--stages", "0"]):
        assert f"{path} is {kind}" in said(capsys, *command)
        assert (sorted(run.rglob("*")), files(run)) == before


def test_a_complete_run_is_cleaned_of_what_a_kill_left(run, capsys):
    shutil.copytree(run / "checkpoints/000001", run / "checkpoints/000000")
    said(capsys, "resume", run, code=0)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["000001", "000002"]
