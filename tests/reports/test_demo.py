"""The demo's table and report, from a training and adaptation that are given."""

import numpy as np
import pytest

from onebody.core.errors import OnebodyError
from onebody.reports import demo, video
from onebody.runs import adapt, folder, log, loop
from onebody.runs.adapt import AdaptedPolicy
from onebody.tasks.registry import make


@pytest.fixture
def trained(monkeypatch, policy):
    """Training writes two lines; adaptation returns untrained policies. What they were asked for is returned."""
    asked = {}

    def train(algorithm, family, *, out, **options):
        asked["train"] = {"algorithm": algorithm, "family": family, **options}
        out.mkdir(parents=True, exist_ok=True)
        config = {"algorithm": algorithm, "family": family, "preset": "demo", "seed": 0, "versions": {"jax": "0.1.2"}}
        config |= {"family_version": 1, "config": {}, "evaluate_every": 0}
        folder.write_json(out / folder.CONFIG, dict.fromkeys(folder.FIELDS) | config)
        with log.Log(out) as lines:
            for i in (1, 2):
                lines.write(i, {"real/samples": 4000 * i, "real/return": -100.0 * i, "model/validation_error": 0.5})
        return out

    def adapt_many(run, tasks, *, untrained):
        asked["adapt"] = {"tasks": tasks, "untrained": untrained}
        one = policy(make("cheetah-vel"))
        return [
            AdaptedPolicy(
                task=np.array([t], np.float32),
                predicted_return=-20.0,
                predicted_interval=(-40.0, -10.0),
                real_return=-31.25,
                achieved=np.array([t - 0.03]),
                untrained_return=-200.0,
                adaptation_samples=0,
                refine_updates=0,
                predicted_before=-20.0,
                warning="",
                policies=one,
            )
            for t in tasks
        ]

    monkeypatch.setattr(loop, "train", train)
    monkeypatch.setattr(adapt, "adapt_many", adapt_many)
    return asked


def test_table_report_and_what_to_do_next(trained, tmp_path, monkeypatch, capsys):
    captions = []
    monkeypatch.setattr(video, "film", lambda *given: captions.append(given[-1]) or b"film")
    out = tmp_path / "demo"
    demo.demo(out, quiet=True)
    printed = capsys.readouterr().out
    numbers = ("0.40 m/s", "0.97 m/s", "1.00 m/s", "1.60 m/s", "-20.0 (-40.0 to -10.0)", "-31.2", "-200.0")
    for text in (*numbers, "0 is perfect"):
        assert text in printed
    assert str(out / "report.html") in printed
    assert f"onebody adapt {out} --task 1.3" in printed
    assert trained["train"]["quiet"] and trained["train"]["preset"] == "demo" and trained["train"]["seed"] == 0
    assert trained["adapt"] == {"tasks": [0.4, 1.0, 1.6], "untrained": True}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 3
    for text in (
        "8,000 real",
        "80 s of motion",
        "each episode at another velocity",
        "-31.2",
        "0.1.2",
        "<svg",
        "second half of each real episode",
        *numbers,
    ):
        assert text in page
    assert captions[1] == "asked 1.00 m/s, achieved 0.97 m/s" and f"{captions[1]}; real return -31.2" in page


def test_a_machine_that_cannot_render_still_gets_its_report(trained, blind, tmp_path, capsys):
    demo.demo(tmp_path / "demo")
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if "No videos" in line]
    assert "cannot render" in line
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert "<img" not in page and "Videos</h2>" not in page and "1.60 m/s" in page


def test_smt_is_one_flag_away_and_others_are_not_known(trained, monkeypatch, tmp_path):
    monkeypatch.setattr(video, "film", lambda *_: b"film")
    demo.demo(tmp_path / "demo", quiet=True, algorithm="smt")
    assert trained["train"]["algorithm"] == "smt"
    assert "at velocities sampled at random" in (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    with pytest.raises(OnebodyError, match="'smtt'; did you mean 'smt'"):
        demo.demo(tmp_path / "demo", quiet=True, algorithm="smtt")
