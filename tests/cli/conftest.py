"""Commands are typed in an empty folder."""

import os
from unittest.mock import patch

import pytest
from commandline import SMOKE

from onebody.algorithms.omni import omni
from onebody.cli import main


@pytest.fixture(autouse=True, scope="module")
def environment():
    """What `main` sets for JAX does not leak out."""
    with patch.dict(os.environ):
        yield


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Each test types its commands in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = tmp_path_factory.mktemp("trained") / "run"
    assert main([*SMOKE, "--quiet", "--out", str(run)]) == 0
    return run


@pytest.fixture(scope="module")
def unoptimised():
    """OMNI leaves its policy as it is: most of its compilation is policy optimisation, which has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(omni.OMNI, "_optimize", lambda self, state, tasks, rates, key: (state, {}))
        yield
