import os
import pwd
import subprocess
import sys

import pytest

from onebody.runs import compilation_cache

SCRIPT = """if True:
    import os, sys
    if sys.argv[1] == "late":
        import jax
        jax.jit(lambda x: x + 1)(1.0)  # after its first compilation
    from onebody.runs import compilation_cache
    compilation_cache.enable()
    import jax
    jax.jit(lambda x: x + 2)(1.0)
    print(jax.config.jax_compilation_cache_dir)
"""


OTHER = {"JAX_COMPILATION_CACHE_DIR": "OTHER"}
EVERYTHING = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
OFF = {"JAX_ENABLE_COMPILATION_CACHE": "false"}


@pytest.mark.parametrize(
    ("when", "settings", "where"),
    [
        ("early", {}, {"cache"}),
        ("late", {}, {"cache"}),
        ("early", OTHER | EVERYTHING, {"other"}),
        ("early", OTHER, set()),  # by JAX's settings, a program that compiles as quickly is not kept
        ("late", OTHER | EVERYTHING, {"other"}),
        ("early", OFF, set()),
        ("late", OFF, set()),
    ],
)
def test_programs_are_kept_where_the_user_wants_them(when, settings, where, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XDG_"))}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache")} | settings
    environment = {name: value.replace("OTHER", str(tmp_path / "other")) for name, value in environment.items()}
    subprocess.run([sys.executable, "-c", SCRIPT, when], env=environment, check=True, stdout=subprocess.DEVNULL)
    assert {path.relative_to(tmp_path).parts[0] for path in tmp_path.glob("**/*-cache")} == where


def test_a_user_without_a_home_has_no_cache(tmp_path, monkeypatch):
    def nobody(user):
        raise KeyError(user)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "XDG_CACHE_HOME", compilation_cache.DIRECTORY):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    compilation_cache.enable()
    assert compilation_cache.DIRECTORY not in os.environ and os.listdir() == []
