"""Names, paths and values of users are shown as text, on every page."""

import dataclasses
import json

import numpy as np
import pytest

from onebody.reports import comparison, demo, study, study_runs, tuning
from onebody.runs import folder, log, studies
from onebody.runs.adapt import AdaptedPolicy
from onebody.runs.study_file import Published
from onebody.tasks import registry

EVIL = """<script>alert("1")&'$x$|"""
FOLDER = EVIL.replace("|", "")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run folder whose names and values all try to be HTML."""
    family = dataclasses.replace(registry.make("smt/cheetah-vel"), id=EVIL, task_labels=(EVIL,), reward_text=EVIL)
    monkeypatch.setitem(registry._FAMILIES, EVIL, family)
    path = tmp_path / FOLDER / EVIL
    path.mkdir(parents=True)
    record = {"algorithm": EVIL, "family": EVIL, "family_version": 1, "family_file": EVIL, "seed": 0, "samples": None}
    record |= {"preset": EVIL, "config": {EVIL: EVIL}, "evaluate_every": 0, "versions": {EVIL: EVIL, "onebody": EVIL}}
    folder.write_json(path / folder.CONFIG, dict.fromkeys(folder.FIELDS) | record)
    stages = [
        {"stage": i, "adaptation_samples": i, "tasks": [[0.1], [0.2], [0.3]], "returns": [[1.0], [2.0], [3.0 + i]]}
        for i in (0, 1)
    ]
    (path / "evaluation.json").write_text(json.dumps({"training_samples": 500, "stages": stages}))
    (path / "diverged.txt").write_text(EVIL)
    with log.Log(path) as lines:
        lines.write(1, {"real/samples": 500, "real/return": 1.0, "model/validation_error": 0.5})
    return path


def check(text, times):
    assert "<script" not in text.lower() and "&&" not in text
    assert text.count("&lt;script&gt;") >= times
    assert 'alert("1")&\'' not in text  # neither the quotes nor the ampersand as they are


def test_a_comparison(run, tmp_path):
    other = run.with_name("other")
    other.mkdir()
    for path in run.iterdir():
        content = path.read_text().replace('"algorithm": "<script>', '"algorithm": "other <script>')
        (other / path.name).write_text(content)
    check(comparison.write([run, other], tmp_path / "report.html").read_text(), 40)


def test_the_demo(run, policy, monkeypatch):
    monkeypatch.setitem(demo.METHOD, EVIL, EVIL)
    family, one = registry.families()[EVIL], np.ones(1, np.float32)
    adapted = AdaptedPolicy(one, 1.0, (1.0, 2.0), 1.0, one, 1.0, 0, 0, 1.0, "", policy(family))
    page = demo.write_report(run, family, log.read(run), [adapted], [b"film"])
    check(page.read_text(), 8)


def test_a_study_and_a_search(tmp_path):
    built_in = studies.get("smt-1a")
    systems = tuple(dataclasses.replace(system, label=EVIL) for system in built_in.systems)
    published = (Published(EVIL, "adaptation", EVIL, value=1.0),)
    evil = dataclasses.replace(
        built_in, name=EVIL, title=EVIL, paper=EVIL, claim=EVIL, systems=systems, published=published
    )
    results = tmp_path / "results"
    for system in systems:
        run = results / f"{system.name}-s0"
        run.mkdir(parents=True)
        record = {"algorithm": system.algorithm, "family": "smt/cheetah-vel", "preset": "laptop", "config": {}}
        record |= {"seed": 0, "versions": {"onebody": "0"}, "family_version": 1, "evaluate_every": 0}
        folder.write_json(run / folder.CONFIG, dict.fromkeys(folder.FIELDS) | record)
        with log.Log(run) as lines:
            lines.write(1, {"real/samples": 500, "real/return": 1.0})
    text = study.page([study_runs.read(evil, results)] * 2, "figure.svg")
    assert "<script" not in text and text.count("&lt;script&gt;") >= 6
    row = {"trial": 0, "score": 1.0, "settings": {"a|b<c": 1.0}, "importance": {"a|b<c": 1.0}}
    text = tuning.write(f"omni on {EVIL}", [row], tmp_path)["page"].read_text()
    assert "<script" not in text and "&lt;script&gt;" in text and r"a\|b&lt;c" in text
