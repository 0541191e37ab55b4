"""Errors for an invalid family of a user: one line with the reason and what to do."""

import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import jax
import mujoco
import numpy as np

from onebody.core.errors import OnebodyError
from onebody.tasks.family import TaskFamily
from onebody.tasks.limited import is_single

LABELS = 40
"""largest number of observation labels that a message lists"""


def sizes(family: TaskFamily) -> dict[str, int]:
    """Number of features of an observation, an action and a task."""
    return {
        "observation": family.body.observation_size,
        "action": family.body.action_size,
        "task": family.space.size,
    }


def refusal(family: TaskFamily, reason: str) -> OnebodyError:
    """The error that names the family and the reason."""
    return OnebodyError(f"family {family.id}: {reason}")


def refuse_single(family: TaskFamily, what: str, instead: str) -> None:
    """Raises OnebodyError if the family has a single environment, which `what` must not move unasked."""
    if is_single(family.body):
        raise OnebodyError(f"{what} would move the one environment of {family.id} (copies=1) a lot: {instead}")


def needs(family: TaskFamily) -> str:
    """Says that a function may read only its arguments, and lists what these contain."""
    labels = [f"{i} {label}" for i, label in enumerate(family.body.labels)]
    listed = ", ".join(labels[:LABELS]) + (", …" if len(labels) > LABELS else "")
    size_of = sizes(family)
    return (
        f"what it needs must stand in the observation, one row of {size_of['observation']} numbers ({listed}); "
        f"the action has {size_of['action']}, the task {size_of['task']}"
    )


def reproducible(family: TaskFamily, name: str, call: Callable[[], Any]) -> Any:
    """Result of a call, as NumPy arrays; raises OnebodyError if a second call gives another result."""
    with refusing(family, name):
        first, again = (jax.tree.map(np.asarray, call()) for _ in range(2))
        bytes_of = [[(x.shape, x.tobytes()) for x in jax.tree.leaves(each)] for each in (first, again)]
    if bytes_of[0] != bytes_of[1]:
        raise refusal(
            family,
            f"{name} gives other numbers in a second call; it may depend only on its arguments, and must sample from "
            "the generator or key that it is given",
        )
    return first


@contextmanager
def refusing(family: TaskFamily, name: str) -> Iterator[None]:
    """Converts exceptions of a user's function into an OnebodyError that says what to do."""
    try:
        yield
    except OnebodyError as error:
        if family.id in str(error):
            raise
        raise refusal(family, str(error)) from error
    except AttributeError as error:
        if not isinstance(error.obj, jax.Array):
            raise refusal(family, f"{name} raises {first_line(error)}") from error
        raise refusal(family, f"{name} reads .{error.name}, which an array does not have; {needs(family)}") from error
    except (jax.errors.TracerBoolConversionError, jax.errors.NonConcreteBooleanIndexError) as error:
        raise refusal(
            family,
            f"{name} branches, or picks by a mask, where numbers are not known when it is compiled; write "
            "jnp.where(condition, a, b), and & or | for and, or",
        ) from error
    except (
        jax.errors.ConcretizationTypeError,
        jax.errors.TracerArrayConversionError,
        jax.errors.TracerIntegerConversionError,
    ) as error:
        raise refusal(
            family,
            f"{name} converts a JAX array to a Python number or a NumPy array; use jax.numpy instead of math and "
            "numpy, and no float() or int()",
        ) from error
    except (Exception, SystemExit) as error:
        raise refusal(family, f"{name} raises {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Type and first line of an exception; of an assertion without a text, its line of code."""
    text = " ".join(str(error).split())[:300]
    if not text and isinstance(error, AssertionError) and (frames := traceback.extract_tb(error.__traceback__)):
        text = frames[-1].line
    return f"{type(error).__name__}: {text or 'no reason given'}"


_NOT_TO_BLAME = {"onebody", "gymnasium", "numpy", "jax", "mujoco"}
"""packages in whose functions the mistakes of environments show"""


def environment_error(error: BaseException) -> str:
    """`first_line` of an exception that an environment raised, and the installed package that the environment is of."""
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    packages = (name.partition(".")[0] for name in reversed(modules))
    package = next((name for name in packages if name not in _NOT_TO_BLAME), "")
    for name in metadata.packages_distributions().get(package, ())[:1]:
        needs_mujoco = any(re.match(r"mujoco\b", each) for each in metadata.requires(name) or ())
        beside = f" beside mujoco {mujoco.__version__} (docs/robots.md says what works)" if needs_mujoco else ""
        return f"{first_line(error)}, in {name} {metadata.version(name)}{beside}"
    return first_line(error)
