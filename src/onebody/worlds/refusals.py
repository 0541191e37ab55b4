"""How a user's family is refused: one line with the reason and what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from onebody.core.errors import OnebodyError
from onebody.tasks.family import TaskFamily

LABELS = 40
"""numbers of an observation that a message lists"""


def sizes(family: TaskFamily) -> dict[str, int]:
    return {
        "observation": family.body.observation_size,
        "action": family.body.action_size,
        "task": family.space.size,
    }


def refusal(family: TaskFamily, reason: str) -> OnebodyError:
    return OnebodyError(f"family {family.id}: {reason}")


def needs(family: TaskFamily) -> str:
    labels = [f"{i} {label}" for i, label in enumerate(family.body.labels)]
    listed = ", ".join(labels[:LABELS]) + (", …" if len(labels) > LABELS else "")
    size_of = sizes(family)
    return (
        f"what it needs must stand in the observation, one row of {size_of['observation']} numbers ({listed}); "
        f"the action has {size_of['action']}, the task {size_of['task']}"
    )


def twice(family: TaskFamily, name: str, ask: Callable[[], Any]) -> Any:
    """What it gives, with arrays of NumPy; refused if it gives something else when it is asked again."""
    with told(family, name):
        first, again = (jax.tree.map(np.asarray, ask()) for _ in range(2))
        bytes_of = [[(x.shape, x.tobytes()) for x in jax.tree.leaves(each)] for each in (first, again)]
    if bytes_of[0] != bytes_of[1]:
        raise refusal(
            family,
            f"{name} gives other numbers when it is asked again; let it depend on its arguments alone, and draw from "
            "the generator or key that it is given",
        )
    return first


@contextmanager
def told(family: TaskFamily, name: str) -> Iterator[None]:
    """What a user's function raises becomes a refusal that says what to do."""
    try:
        yield
    except OnebodyError as error:
        if family.id in str(error):
            raise
        raise refusal(family, str(error)) from error
    except AttributeError as error:
        if not isinstance(error.obj, jax.Array):
            raise refusal(family, f"{name} raises {first_line(error)}") from error
        raise refusal(family, f"{name} reads .{error.name}, which an array has not; {needs(family)}") from error
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
            f"{name} turns an array of JAX into a number of Python or an array of NumPy; use jax.numpy for math and "
            "numpy, and no float() or int()",
        ) from error
    except Exception as error:
        raise refusal(family, f"{name} raises {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Type and first line of an exception."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300] or 'no reason given'}"
