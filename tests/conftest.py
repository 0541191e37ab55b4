"""Compiled programs are kept between test runs, as the command line keeps them between commands. Most run once or
twice, so they are compiled in a hurry: with neither optimizations nor XLA's newer code generator, the slower compiler.
"""

import os
from pathlib import Path

import pytest

_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "onebody" / "jax-tests"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false")


@pytest.fixture(scope="session", autouse=True)
def state(tmp_path_factory):
    """The files that tests run are not noted among those of the user."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module", autouse=True)
def programs():
    """Forgotten after each file: a process can map only so many of them, and the cache on disk has them."""
    import jax

    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def renders():
    """Skips where the machine has no OpenGL."""
    from onebody.core.errors import OnebodyError
    from onebody.tasks.registry import make
    from onebody.worlds.camera import Camera

    try:
        Camera(make("mbmpo/hopper").body).close()
    except OnebodyError as error:
        pytest.skip(str(error))
