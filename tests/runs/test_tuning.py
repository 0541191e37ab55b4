"""The search for settings: scores, resuming, and what it refuses."""

import json

import pytest

from onebody.cli import main
from onebody.core.errors import OnebodyError
from onebody.runs import executors, tuning
from onebody.runs.jobs import Outcome
from onebody.runs.tuning import Range

optuna = pytest.importorskip("optuna")


def trained(monkeypatch, best):
    """Jobs that are done at once, and whose score is the higher the nearer their step size is to `best`."""
    done = []

    def do_all(todo, executor, quiet):
        done.extend(todo)
        for job in todo:
            job.out.mkdir(parents=True, exist_ok=True)
            far = abs(job.config["deviation"] - best)
            returns = [0.0] * 6 + [-far - (job.seed - 100), -far + (job.seed - 100)]
            lines = [{"iteration": i, "real/return": value} for i, value in enumerate(returns)]
            (job.out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return {job.out: Outcome("diverged" if job.config["deviation"] > 0.9 else "done") for job in todo}

    monkeypatch.setattr(executors, "do_all", do_all)
    return done


def search(out, trials, *ranges, seeds=2):
    texts = ranges or ("deviation=0.01:1.0",)
    ranges = [Range.parse(text) for text in texts]
    return tuning.tune("random-search", "point/goal", ranges, out=out, trials=trials, seeds=seeds, preset="smoke")


def test_the_best_trial_comes_first_and_the_first_trial_is_the_preset(tmp_path, monkeypatch):
    done = trained(monkeypatch, best=0.3)
    rows = search(tmp_path, 12)
    assert len(rows) == 12 and [job.seed for job in done[:2]] == [100, 101] and all(job.test is None for job in done)
    first = next(row for row in rows if row["trial"] == 0)
    assert first["settings"] == {"deviation": pytest.approx(0.03)} and first["score"] == pytest.approx(-0.27)
    scores = [row["score"] for row in rows if row["score"] is not None]
    assert scores == sorted(scores, reverse=True) and scores[0] > -0.2
    assert all(row["score"] is None for row in rows[len(scores) :])


def test_a_search_goes_on_where_it_stopped(tmp_path, monkeypatch):
    done = trained(monkeypatch, best=0.3)
    before = {row["trial"]: row["settings"] for row in search(tmp_path, 3)}
    assert len(done) == 6
    search(tmp_path, 3)
    assert len(done) == 6
    after = {row["trial"]: row["settings"] for row in search(tmp_path, 5)}
    assert len(done) == 10 and before.items() <= after.items()


def test_the_trial_that_was_stopped_is_done_again(tmp_path, monkeypatch):
    done = trained(monkeypatch, best=0.3)
    search(tmp_path, 2)
    real = executors.do_all

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(executors, "do_all", stopped)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, 3)
    monkeypatch.setattr(executors, "do_all", real)
    assert len(search(tmp_path, 3)) == 3 and len(done) == 6


def test_important_settings_are_told_from_others(tmp_path, monkeypatch):
    trained(monkeypatch, best=0.3)
    rows = search(tmp_path, 30, "deviation=0.01:0.8", "rate=0.01:0.1:log")
    importance = rows[0]["importance"]
    assert importance["deviation"] > importance["rate"] and sum(importance.values()) == pytest.approx(1)


def test_from_the_command_line_to_a_page(tmp_path, capsys):
    out = tmp_path / "out"
    typed = ["tune", "random-search", "point/goal", "--preset", "smoke", "--search", "directions=2:4", "--trials", "2"]
    assert main([*typed, "--seeds", "1", "--workers", "1", "--out", str(out), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "best: onebody train random-search point/goal --preset smoke --config.directions " in said
    assert {path.name for path in out.iterdir()} >= {"README.md", "figure.svg", "journal.jsonl"}
    assert "| trial | score | directions |" in " ".join((out / "README.md").read_text().split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1:10", Range("a", 1.0, 10.0, whole=True)),
        ("a.b=1e-4:1e-2:log", Range("a.b", 1e-4, 1e-2, log=True)),
        ("a=-2:2", Range("a", -2.0, 2.0, whole=True)),
        ("a=0.5:2", Range("a", 0.5, 2.0)),
    ],
)
def test_ranges(text, expected):
    assert Range.parse(text) == expected


def test_what_cannot_be_searched_is_refused(tmp_path, monkeypatch):
    said_of = {"a": "must be NAME=LOW:HIGH", "a=2:1": "LOW must be below", "a=0:1:log": "above 0 with log"}
    for text, said in said_of.items():
        with pytest.raises(OnebodyError, match=said):
            Range.parse(text)
    with pytest.raises(OnebodyError, match="random-search has no setting 'step'"):
        search(tmp_path, 1, "step=1:2")
    with pytest.raises(OnebodyError, match="at least one trial, one seed and one --search"):
        search(tmp_path, 0)
    monkeypatch.setattr(tuning.extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OnebodyError, match=r"tune needs: pip install 'onebody\[tune\]'"):
        search(tmp_path, 1)
