"""Compiled programs are kept between test runs, as the command line keeps them between commands; what draws."""

import os
from pathlib import Path

import pytest

_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "onebody" / "jax-tests"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """After each file of tests: a process can map only so many compiled programs, and the cache on disk has them."""
    yield
    import jax

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
