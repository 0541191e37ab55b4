"""A run folder of somebody else runs no code: its family's file is run only by name, when known, or with consent."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from customs import forgotten

import onebody
from onebody.cli import main
from onebody.core.errors import OnebodyError
from onebody.runs import consent, folder

FILE = """
import dataclasses, onebody
with open("executed", "a") as file:
    file.write("x")
onebody.register(dataclasses.replace(onebody.make("point/goal"), id="mine/point"))
"""
TRAIN = ("train", "trpo", "mine.py:mine/point", "--preset", "smoke", "--samples", "0", "--quiet", "--out", "run")
COMMANDS = {
    "resume": ["resume", "run", "--quiet"],
    "adapt": ["adapt", "run", "--task", "0.5,0"],
    "evaluate": ["evaluate", "run", "--tasks", "1", "--stages", "0", "--quiet"],
    "report": ["report", "run"],
    "play": ["play", "run", "--save", "play.npz"],
    "export": ["play", "run", "--export", "play.html"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run and its family's file."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch, forgotten():
        patch.chdir(place)
        Path("mine.py").write_text(FILE)
        assert main(TRAIN) == 0
        assert main(COMMANDS["evaluate"]) == 0
    return place


@pytest.fixture
def received(trained, tmp_path, monkeypatch):
    """The folder as another user gets it, who has run nothing of it."""
    shutil.copytree(trained, tmp_path / "got")
    monkeypatch.chdir(tmp_path / "got")
    another_user(monkeypatch, tmp_path)
    Path("executed").unlink()
    record = folder.read_config(Path("run"))
    Path("run/config.json").write_text(json.dumps(record | {"family_file": str(Path("mine.py").resolve())}))
    with forgotten():
        yield


def another_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(consent, "_GIVEN", set())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_only_the_run_names_is_not_run(command, received, capsys):
    assert main(COMMANDS[command]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert f"needs the Python file '{Path('mine.py').resolve()}', which you have not run" in err and "--trust" in err
    assert not Path("executed").exists()


@pytest.mark.parametrize("command", ["resume", "adapt", "evaluate", "report"])
def test_with_consent_it_is_named_and_run_from_then_on(command, received, capsys):
    assert main([*COMMANDS[command], "--trust"]) == 0
    said = f"onebody: running '{Path('mine.py').resolve()}', which registers 'mine/point'"
    assert said in capsys.readouterr().err and Path("executed").read_text() == "x"
    consent._GIVEN.clear()
    with forgotten():
        assert main(COMMANDS["adapt"]) == 0
    assert said in capsys.readouterr().err
    Path("mine.py").write_text(FILE + "# changed\n")
    with forgotten():
        assert main(COMMANDS["adapt"]) == 2


def test_python_asks_for_consent_too(received):
    for call in (onebody.resume, onebody.evaluate, onebody.load, lambda run: onebody.adapt(run, (0.5, 0.0))):
        with pytest.raises(OnebodyError, match="trust=True"):
            call("run")
    assert np.isfinite(onebody.adapt("run", (0.5, 0.0), trust=True).real_return)


def test_who_names_the_file_has_run_it(received, tmp_path, monkeypatch):
    assert main(TRAIN) == 0
    Path("mine.py").rename("elsewhere.py")
    record = folder.read_config(Path("run"))
    Path("run/config.json").write_text(json.dumps(record | {"family_file": "elsewhere.py"}))
    with forgotten():
        assert main(COMMANDS["adapt"]) == 0


def test_a_home_that_cannot_be_written_asks_in_each_process(received, tmp_path, monkeypatch):
    (tmp_path / "state").write_text("no folder")
    assert main([*COMMANDS["adapt"], "--trust"]) == 0
    with forgotten():
        assert main(COMMANDS["adapt"]) == 0
    consent._GIVEN.clear()
    with forgotten():
        assert main(COMMANDS["adapt"]) == 2


def test_the_name_of_a_family_names_no_file(received):
    """Neither in a run folder, of a file that is known, nor in a policy file."""
    consent.give(Path("mine.py"))
    Path("mine.py:x").mkdir()
    Path("mine.py:x/evil.py").write_text(FILE)
    record = folder.read_config(Path("run"))
    for family, file in (("x/evil.py:mine/point", "mine.py"), ("mine.py:mine/point", None)):
        with pytest.raises(OnebodyError):
            folder.family_of(record | {"family": family, "family_file": file})
    assert not Path("executed").exists() or Path("executed").read_text() == "x"


def test_a_policy_file_names_no_file_to_run(received, capsys):
    about = {"family": f"{Path('mine.py').resolve()}:mine/point", "version": 1, "title": ""}
    np.savez("play.npz", about=np.array(json.dumps(about)))
    assert main(["play", "play.npz"]) == 2
    assert "is not a policy for any task" in capsys.readouterr().err and not Path("executed").exists()
