"""Logs on the command line: train --data, and export."""

import json
from pathlib import Path

import numpy as np
import pytest
from commandline import help_of, refusal

from onebody.cli import commands, main, options
from onebody.runs import log, logged

TRAIN = ("train", "omni", "point/goal", "--preset", "smoke", "--quiet", "--json")


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Random steps of the point robot, whose next observations follow from the rows."""
    action = np.random.default_rng(0).uniform(-1, 1, (20, 10, 2))
    position, path = 0.1 * action.cumsum(axis=1) - 0.1 * action, tmp_path_factory.mktemp("logs") / "logs.npz"
    ends = np.tile(np.arange(10) == 9, 20)
    np.savez(path, observation=position.reshape(-1, 2), action=action.reshape(-1, 2), ends=ends)
    return str(path)


def result_of(capsys, *arguments):
    assert main(arguments) == 0
    return json.loads(capsys.readouterr().out)


def test_train_from_logs_export_and_train_from_that(logs, unoptimised, capsys):
    run = result_of(capsys, *TRAIN, "--data", logs, "--out", "run")
    assert run["real/samples"] == 0 and run["iteration"] == 3
    assert result_of(capsys, *TRAIN, "--data", logs, "--out", "run") == run
    assert result_of(capsys, "resume", "run", "--json", "--quiet") == run
    exported = result_of(capsys, "export", "run", "--to", "exported.npz", "--json")
    assert exported == {"log": "exported.npz", "transitions": 180}
    (row,) = result_of(capsys, "adapt", "run", "--task", "0.5,0.5", "--json")
    assert row["adaptation_samples"] == 0 and "untrained" not in row["warning"]
    assert "none here" in refusal(capsys, *TRAIN, "--out", "run")
    again = result_of(capsys, *TRAIN, "--data=exported.npz", "--out", "again")
    assert again["model/loss"] == pytest.approx(run["model/loss"], rel=1e-3)


def test_real_episodes_after_logs_are_asked_for(logs, unoptimised, capsys):
    """By the number that presets have, too; in any order."""
    for episodes in (2, 4):
        asked = ("--config.real-episodes", str(episodes), "--config.n-iterations", "1")
        for typed in ((*TRAIN[1:], *asked, "--data", logs), (*TRAIN[1:], "--data", logs, *asked)):
            assert options.parse(commands.with_config(typed), "train", typed).config.real_episodes == episodes
    run = result_of(capsys, *TRAIN, *asked, "--data", logs, "--out", "with 4")
    assert run["real/samples"] == 4 * 20
    assert int(json.loads(Path("with 4/config.json").read_text())["config"]["logged_transitions"]) == 180
    assert len(log.read(Path("with 4"))) == 1


def test_the_defaults_with_logs():
    for name, setting, usual in (("omni", "real_episodes", 20), ("me-trpo", "real_episodes", 20), ("smt", "n_slbo", 1)):
        config = commands.with_config([name, "point/goal", "--data", "x.npz"]).config
        assert (getattr(config, setting), config.logged_transitions) == (0, logged.LIMIT)
        assert getattr(commands.with_config([name, "point/goal"]).config, setting) == usual


def test_what_is_refused(logs, capsys):
    assert "trpo cannot learn from logs; omni, smt" in refusal(
        capsys, "train", "trpo", "point/goal", "--preset", "smoke", "--data", logs
    )
    assert "there is no file none.npz" in refusal(capsys, *TRAIN, "--data", "none.npz")
    assert "another body" in refusal(capsys, "train", "omni", "cheetah-vel", "--preset", "smoke", "--data", logs)
    assert "leave --samples out" in refusal(capsys, *TRAIN, "--data", logs, "--samples", "100")
    assert "at least 1 where there are no logs" in refusal(capsys, *TRAIN, "--config.real-episodes", "0")
    assert "needs --to" in refusal(capsys, "export", "run")
    assert "run is not a run folder" in refusal(capsys, "export", "run", "--to", "log.npz")
    assert not list(Path().iterdir())


def test_help(capsys):
    assert "--data" in help_of(capsys, "train", "omni", "point/goal", "--help")
    assert "--to" in help_of(capsys, "export", "--help")
