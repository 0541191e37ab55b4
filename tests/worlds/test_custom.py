"""Families of the user's: registered, in a file, and as the page has them."""

import dataclasses
import json
import re
import runpy
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from customs import EXAMPLE, POINT, fails, forgotten

import onebody
import onebody.worlds.gym
from onebody.cli import main
from onebody.core.errors import OnebodyError
from onebody.tasks import registry
from onebody.tasks.space import Box, FiniteSet
from onebody.worlds.custom import from_gymnasium, register

pytestmark = pytest.mark.usefixtures("nothing_leaks")


# ---------------------------------------------------------------- register


def test_register_makes_both_families_known_everywhere(crane):
    test = dataclasses.replace(crane, id="mine/crane-test", space=Box((1.0,), (1.5,)))
    mine = dataclasses.replace(crane, id="mine/crane", test=test)
    assert register(mine) is mine and register(mine) is mine
    assert onebody.make("mine/crane") is mine and onebody.make("mine/crane-test") is test
    assert {"onebody/mine-crane-v1", "onebody/mine-crane-test-v1"} <= gymnasium.registry.keys()
    env = gymnasium.make("onebody/mine-crane-v1", task=0.5)
    assert env.reset(seed=0)[0].shape == (5,)
    env.close()


def test_what_is_refused_is_not_half_registered(crane, monkeypatch):
    before, views = registry.families(), dict(gymnasium.registry)
    test = dataclasses.replace(crane, id="mine/crane-test")
    taken = dataclasses.replace(crane, id="mine/crane", test=dataclasses.replace(POINT))
    wrong = dataclasses.replace(crane, id="mine/crane", reward=lambda o, a, n, t: n[5])
    for family, said in (
        (
            dataclasses.replace(crane, id="point/goal"),
            "there is a family point/goal already; give yours another id",
        ),
        (dataclasses.replace(crane, id="cheetah-vel"), "there is a family cheetah-vel already"),
        (taken, "there is a family point/goal already"),
        (wrong, "family mine/crane: reward"),
    ):
        with pytest.raises(OnebodyError, match=re.escape(said)):
            register(family)
    with monkeypatch.context() as patched:
        view = onebody.worlds.gym.register_view
        patched.setattr(onebody.worlds.custom, "register_view", lambda f: view(f) if f.id == "mine/crane" else fails())
        with pytest.raises(KeyError):
            register(dataclasses.replace(crane, id="mine/crane", test=test))
    assert registry.families() == before and gymnasium.registry == views


def test_a_family_of_ones_own_is_replaced(crane):
    """As when a cell of a notebook runs again, with the family it is tested on; what is wrong changes nothing."""
    first = register(dataclasses.replace(crane, id="mine/crane", test=dataclasses.replace(crane, id="mine/test")))
    again = dataclasses.replace(first, horizon=7, test=dataclasses.replace(first.test, horizon=7))
    assert register(again) is again
    assert onebody.make("mine/crane") is again and onebody.make("mine/test") is again.test
    env = gymnasium.make("onebody/mine-crane-v1")
    assert env.unwrapped._family is again
    env.close()
    with pytest.raises(OnebodyError, match="family mine/crane: reward"):
        register(dataclasses.replace(crane, id="mine/crane", reward=lambda o, a, n, t: n[5]))
    assert onebody.make("mine/crane") is again
    with pytest.raises(OnebodyError, match="this mine/crane is not the registered family"):
        onebody.train("smt", first, preset="smoke", out="run")
    register(dataclasses.replace(crane, id="mine/crane", version=2))
    views = {name for name in gymnasium.registry if name.startswith("onebody/mine-")}
    assert views == {"onebody/mine-crane-v2", "onebody/mine-test-v1"}


def test_registering_says_what_may_not_be_meant(crane, capsys):
    register(dataclasses.replace(crane, id="mine/crane"))
    assert capsys.readouterr().err == ""
    register(dataclasses.replace(crane, id="mine/blind", reward=lambda o, a, n, t: n[4]))
    said = capsys.readouterr().err
    assert said.startswith("onebody: family mine/blind: neither its reward nor") and said.count("\n") == 1


# ---------------------------------------------------------------- a file of the user's


def typed(*arguments):
    """What a command prints as JSON, in a process that knows no family of ours."""
    with forgotten():
        assert main([*map(str, arguments), "--json"]) == 0


def said_no(capsys, *arguments):
    with forgotten():
        assert main([*map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def test_the_command_line_takes_a_file_and_the_run_remembers_it(capsys):
    mine = Path("mine.py")
    mine.write_text(EXAMPLE.read_text())
    train = ("train", "smt", "mine.py:example/crane", "--preset", "smoke", "--config.n-tasks", "1", "--quiet")
    typed(*train)
    run = json.loads(capsys.readouterr().out)
    assert run["run"] == "runs/smt-example-crane-s0" and run["iteration"] == 1
    record = json.loads(Path(run["run"], "config.json").read_text())
    assert record["family"] == "example/crane" and record["family_file"] == str(mine.resolve())
    typed("adapt", run["run"], "--task", "0.5")
    assert np.isfinite(json.loads(capsys.readouterr().out)[0]["real_return"])
    typed("resume", run["run"], "--quiet")
    capsys.readouterr()
    mine.rename("moved.py")
    line = said_no(capsys, "adapt", run["run"], "--task", "0.5")
    assert (
        "the run's family example/crane is not registered" in line
        and f"there is no file {mine.resolve()}" in line
        and 'give the file that does so as "family_file" in the run\'s config.json' in line
    )
    Path(run["run"], "config.json").write_text(json.dumps(record | {"family_file": "moved.py"}))
    typed("adapt", run["run"], "--task", "0.5")
    typed("train", "smt", "moved.py:example/crane", *train[3:], "--out", run["run"])
    typed("adapt", run["run"], "--task", "0.5")


def test_the_example_is_a_script_that_trains_and_adapts(capsys):
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert "reached" in capsys.readouterr().out
    typed("adapt", "runs/crane", "--task", "-0.5")


def test_a_family_that_python_registered_must_be_registered_again(crane, capsys):
    mine = register(dataclasses.replace(crane, id="mine/crane"))
    run = onebody.train("smt", mine, preset="smoke", out="run", samples=1, quiet=True)
    with pytest.raises(OnebodyError, match="this mine/crane is not the registered family"):
        onebody.train("smt", dataclasses.replace(mine), preset="smoke", out="run")
    line = said_no(capsys, "resume", run)
    assert "the run's family mine/crane is not registered: call onebody.register first" in line
    assert onebody.resume(run, quiet=True) == run


def test_a_file_is_run_once():
    Path("mine.py").write_text(
        "import onebody, dataclasses, pathlib\n"
        "with open('count', 'a') as file: print(end='x', file=file)\n"
        "@dataclasses.dataclass\nclass Mine:\n    size: 'int'\n"
        "point = onebody.make('point/goal')\n"
        "onebody.register(dataclasses.replace(point, id='mine/point'))\n"
        "assert onebody.make(f'{__file__}:mine/point').body is point.body\n"
    )
    first = onebody.make("mine.py:mine/point")
    assert onebody.make(str(Path("mine.py:mine/point").absolute())) is first is onebody.make("mine/point")
    assert Path("count").read_text() == "x"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, ["there is no file", "mine.py", "FILE.py:ID"]),
        ("import nothing_like_it", ["mine.py cannot be run: ModuleNotFoundError: No module named 'nothing_like_it'"]),
        ("x = (", ["mine.py cannot be run: SyntaxError"]),
        ("make('mine.py:point/goal')", ["mine.py registers no family 'point/goal'"]),
        ("", ["mine.py registers no family 'mine/point'; it must call onebody.register(family)"]),
        ("register(replace(point, id='mine/pint'))", ["registers no family 'mine/point'; did you mean 'mine/pint'?"]),
        (
            "register(replace(point, id='mine/point', reward=lambda o, a, n, t: n[2]))",
            ["family mine/point: reward reads"],
        ),
        ("register(replace(point, id='point/goal'))", ["there is a family point/goal already"]),
    ],
)
def test_files_that_are_refused(text, said, capsys):
    if text is not None:
        start = "from dataclasses import replace\nfrom onebody import make, register\npoint = make('point/goal')\n"
        Path("mine.py").write_text(start + text)
    line = said_no(capsys, "train", "smt", "mine.py:mine/point", "--preset", "smoke")
    assert all(words in line for words in said)
    assert not Path("runs").exists()


def test_what_a_family_is_written_with_is_public():
    assert set(onebody.__all__) <= set(dir(onebody))
    assert onebody.register is register and onebody.from_gymnasium is from_gymnasium and onebody.FiniteSet is FiniteSet
    for name in onebody.__all__:
        assert getattr(onebody, name)
