"""An algorithm of another package is listed, trained, evaluated and resumed like one of ours."""

import json
import os
import subprocess
import sys

import pytest

from onebody.algorithms import presets
from onebody.core.errors import OnebodyError
from onebody.runs import loop

ALGORITHM = '''
"""Nothing: a policy that never learns, for tests."""
from dataclasses import dataclass
from itertools import repeat
from onebody.algorithms.protocol import Adapted, AlgorithmSpec
from onebody.core.nets import Normalizer
from onebody.core.returns import first_episode_return
from onebody.learning.policies import GaussianPolicy, for_each
from onebody.worlds.rollout import rollout

@dataclass(frozen=True)
class Config:
    n_iterations: int = 2
    """Iterations of training"""
    hidden: tuple[int, ...] = ()
    """Units of each hidden layer of the policy"""

@dataclass(frozen=True)
class Nothing:
    family: object
    config: Config
    simulator: object
    task_is_known = False

    def init(self, key):
        body = self.family.body
        return GaussianPolicy(key, self.config.hidden, Normalizer(body.observation_size), body.action_size)

    def step(self, state, key):
        tasks = self.family.space.sample(key, 2)
        seen = rollout(self.simulator, for_each(state, 2), tasks, key, episodes=1)
        return state, {"real/return": float(first_episode_return(seen.reward, seen.done).mean())}

    def adapt(self, state, tasks, key):
        return repeat(Adapted(for_each(state, len(tasks))))

class Silent:
    task_is_known: bool

@dataclass(frozen=True)
class Unsaved(Nothing):
    def init(self, key):
        return Config()

@dataclass(frozen=True)
class Unpaid(Nothing):
    def step(self, state, key):
        return state, {}

UNSAVED, UNPAID = (AlgorithmSpec(each, {"laptop": Config()}) for each in (Unsaved, Unpaid))
SILENT, ENDLESS = AlgorithmSpec(Silent, {"laptop": Config()}), AlgorithmSpec(Nothing, {"laptop": 3})
SPEC = AlgorithmSpec(Nothing, {"laptop": Config()}, {("laptop", "point/goal"): {"n_iterations": 3}})
'''


@pytest.fixture
def installed(tmp_path):
    """A folder with a package and its entry points, as pip leaves them."""
    (tmp_path / "nothing_algorithm.py").write_text(ALGORITHM)
    facts = tmp_path / "nothing_algorithm-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: nothing-algorithm\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[onebody.algorithms]\n"
        "nothing = nothing_algorithm:SPEC\n"
        "missing = nowhere:SPEC\n"
        "wrong = nothing_algorithm:Config\n"
        "silent = nothing_algorithm:SILENT\n"
        "endless = nothing_algorithm:ENDLESS\n"
        "unsaved = nothing_algorithm:UNSAVED\n"
        "unpaid = nothing_algorithm:UNPAID\n"
        "ppo = nothing_algorithm:SPEC\n"
    )
    return tmp_path


def test_the_command_line_takes_it(installed, tmp_path):
    path = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH")]))

    def onebody(*arguments):
        command = [sys.executable, "-m", "onebody", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "nothing" in [row["id"] for row in json.loads(onebody("list", "--algorithms", "--json"))["algorithms"]]
    run = str(tmp_path / "run")
    onebody("train", "nothing", "point", "--out", run, "--config.hidden", "4", "--quiet")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["algorithm"], config["config"]) == ("nothing", {"n_iterations": 3, "hidden": [4]})
    bare = subprocess.run([sys.executable, "-m", "onebody", "evaluate", run], capture_output=True, text=True)
    assert bare.returncode == 2 and "'nothing', which no installed package provides" in bare.stderr
    result = json.loads(onebody("evaluate", run, "--tasks", "2", "--stages", "1", "--json"))
    assert [len(stage["returns"]) for stage in result["stages"]] == [2, 2]


@pytest.fixture
def added(installed, monkeypatch):
    monkeypatch.syspath_prepend(str(installed))
    presets._added.cache_clear()
    yield
    presets._added.cache_clear()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "'missing' cannot be loaded from nowhere:SPEC: No module named 'nowhere'"),
        ("wrong", "nothing_algorithm:Config must be an AlgorithmSpec, not type"),
        ("silent", "'silent': its class needs `task_is_known = True`"),
        ("endless", "'endless': preset 'laptop' must be a dataclass that has `n_iterations`"),
        ("nothin", "no algorithm 'nothin'.*nothing"),
    ],
)
def test_one_that_cannot_be_loaded_is_named(added, name, message):
    with pytest.raises(OnebodyError, match=message):
        presets.spec(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [("unsaved", "it is a Config, and neither an array nor a pytree of arrays"), ("unpaid", "Unpaid.*real/return")],
)
def test_what_could_not_be_saved_or_shown_is_said_at_once(added, name, message, tmp_path):
    with pytest.raises(OnebodyError, match=message):
        loop.train(name, "point/goal", out=tmp_path / "run", quiet=True)


def test_our_names_stay_ours(added):
    assert presets.ignored() == ["ppo = nothing_algorithm:SPEC"]
    assert presets.algorithm("ppo").__module__.startswith("onebody.") and presets.names().count("ppo") == 1
