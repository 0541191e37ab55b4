"""Compiled programs are kept on disk, so that the next process need not compile them again."""

import os
import sys
from pathlib import Path

DIRECTORY = "JAX_COMPILATION_CACHE_DIR"
LEAST_SECONDS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def user_cache() -> Path:
    """Folder of the user for what can be computed or downloaded again: `$XDG_CACHE_HOME/onebody`, by default under
    `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "onebody"


def enable() -> None:
    """Keep what JAX compiles from now on in the user's cache, under `jax`, unless a directory is set or the user has no
    home. `JAX_ENABLE_COMPILATION_CACHE=false` switches the cache off.

    Does not import JAX: before it is imported, the settings are environment variables that it reads.
    """
    directory = user_cache() / "jax"
    if directory.parts[0] == "~":
        return
    if "jax" not in sys.modules:
        if DIRECTORY not in os.environ:
            os.environ |= {DIRECTORY: str(directory), LEAST_SECONDS: os.environ.get(LEAST_SECONDS, "0")}
        return
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue] (made at run time)
        jax.config.update("jax_compilation_cache_dir", str(directory))
        if LEAST_SECONDS not in os.environ:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        compilation_cache.reset_cache()  # JAX does not look at the settings again after its first compilation
