"""Checks a user's family before training, and reports what is wrong with it.

A reward is checked as it will be used: compiled, on the transitions of random real steps, and for dependence on
anything but its arguments.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jax.experimental import checkify
from mujoco.batch import DATA_FIELDS, MODEL_FIELDS

from onebody.core.errors import OnebodyError
from onebody.tasks.body import ClosedFormBody, Feature, GymnasiumBody, MujocoBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.limited import in_one_process, is_single, unlimited
from onebody.tasks.limits import LimitedBody
from onebody.tasks.space import TaskSpace
from onebody.worlds.notes import notes
from onebody.worlds.refusals import needs, refusal, refusing, reproducible, sizes
from onebody.worlds.simulator import Simulator

TASKS, EPISODES, STEPS = 3, 2, 20
"""size of the trial: number of tasks, of episodes per task, and of random steps per episode"""
STARTS = 8
"""number of initial observations per task in `check_hidden`"""


def check(family: TaskFamily, *, simulated: bool = True) -> list[str]:
    """Check a family: its body, task space and functions, with some random steps of a few tasks.

    A single environment, such as a robot, is not moved: its functions are evaluated on random numbers instead. So are
    they where `simulated` is false.

    Returns:
        Notes on what may be unintended, one line each (see `notes`).

    Raises:
        OnebodyError: it cannot be used for training; one line with the reason and what to do.
    """
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", family.id):
        raise OnebodyError(
            f"family {family.id!r}: an id is NAME or GROUP/NAME, of letters, digits, '-', '_' and '.', and neither "
            "begins with '-' or '.'"
        )
    if isinstance(family.body, LimitedBody):
        own = unlimited(family)
        messages = check(own, simulated=not isinstance(own.body, GymnasiumBody))  # its steps would be without limits
        tasks = np.asarray(family.space.sample(jax.random.key(0), TASKS))
        _check_values(family, _functions(family), tasks, not is_single(family.body))
        return messages + _check_test(family)
    _check_body(family)
    tasks = _check_space(family)
    if family.physics is not None:
        _check_physics(family, tasks)
    functions = _functions(family)
    for function in functions:
        _check_function(family, function)
    rows = _check_values(family, functions, tasks, simulated and not is_single(family.body))
    messages = [*notes(family, rows)]
    if len(family.task_labels) not in (0, family.space.size):
        raise refusal(
            family,
            f"{len(family.task_labels)} task_labels for tasks of {family.space.size} numbers; give one per number",
        )
    with refusing(family, "its description"):
        family.describe()
    return messages + _check_test(family)


def _check_test(family: TaskFamily) -> list[str]:
    """Notes on the test family; raises OnebodyError if it is invalid, or its sizes differ."""
    messages: list[str] = []
    if family.test is not None:
        messages += check(family.test)
        if (own := sizes(family)) != (other := sizes(family.test)):
            name = next(name for name in own if own[name] != other[name])
            raise refusal(
                family,
                f"its test family {family.test.id} has {name}s of {other[name]} numbers, but its own have {own[name]}; "
                "a policy must fit both",
            )
    return messages


def check_hidden(family: TaskFamily) -> None:
    """For an algorithm that must infer the task: check that initial observations do not reveal it.

    Raises:
        OnebodyError: some number of the observation is the same in all initial states of a task and differs between
            tasks.
    """
    if family.physics is None:
        return  # observations do not depend on the task
    tasks, keys = family.space.sample(jax.random.key(0), TASKS), jax.random.split(jax.random.key(0), TASKS)
    _, observation = Simulator(family).reset(tasks, STARTS, keys)
    reveals = (np.ptp(observation, axis=1) == 0).all(axis=0) & (np.ptp(observation[:, 0], axis=0) > 1e-5)
    if reveals.any():
        names = ", ".join(label for label, revealing in zip(family.body.labels, reveals, strict=True) if revealing)
        raise refusal(
            family,
            f"its observation tells the task ({names}), which would not be hidden; leave that out, or use an "
            "algorithm that is told the task, such as oracle",
        )


class _Function(NamedTuple):
    """A function of one transition, and the shape and type that it must return."""

    name: str
    call: Callable[..., Any]
    arguments: tuple[str, ...]
    shape: tuple[int, ...]
    kind: Any
    gives: str


def _functions(family: TaskFamily) -> list[_Function]:
    functions = [
        _Function(
            "reward",
            family.reward,
            ("observation", "action", "next_observation", "task"),
            (),
            jnp.floating,
            "one float, a scalar",
        ),
        _Function("terminal", family.terminal, ("next_observation", "task"), (), jnp.bool_, "one bool, a scalar"),
    ]
    if family.achieved is not None:
        size, arguments = family.space.size, ("observation", "next_observation")
        gives = f"one float for each number of a task, {size} in all"
        functions.append(_Function("achieved", family.achieved, arguments, (size,), jnp.floating, gives))
    if isinstance(family.body, ClosedFormBody):
        size = family.body.observation_size
        gives = f"the next observation, {size} floats"
        dynamics = family.body.dynamics
        functions.append(_Function("dynamics", dynamics, ("observation", "action"), (size,), jnp.floating, gives))
    return functions


def _check_body(family: TaskFamily) -> None:
    body = family.body
    if isinstance(body, MujocoBody):
        with refusing(family, "the function that makes its MJCF"):
            model = body.model
        if not isinstance(body.frame_skip, int):
            raise refusal(family, f"frame_skip is a whole number of physics steps, not {body.frame_skip}")
        data = mujoco.MjData(model)
        if not isinstance(body.observation, tuple) or not all(isinstance(x, Feature) for x in body.observation):
            raise refusal(family, 'its observation is a tuple of Features, as in (Feature("qpos"), Feature("qvel"))')
        for feature in body.observation:
            _check_feature(family, feature, data)
        start = reproducible(family, "start", lambda: body.start(np.random.default_rng(0), model, TASKS))
        shapes = {"qpos": (TASKS, model.nq), "qvel": (TASKS, model.nv)}
        if not isinstance(start, tuple | list) or len(start) != 2:
            raise refusal(family, "start must give two arrays, qpos [n, nq] and qvel [n, nv]")
        states = dict(zip(shapes, start, strict=True))
    elif isinstance(body, ClosedFormBody):
        states = {"observations": reproducible(family, "start", lambda: body.start(np.random.default_rng(0), TASKS))}
        shapes = {"observations": (TASKS, body.observation_size)}
    elif isinstance(body, GymnasiumBody):
        states, shapes = {}, {}
    else:
        raise refusal(family, "its body must be a MujocoBody or a ClosedFormBody, or come from from_gymnasium")
    for name, values in states.items():
        if np.shape(values) != shapes[name]:
            raise refusal(family, f"start gives {name} of shape {np.shape(values)} for n = {TASKS}, not {shapes[name]}")
        if not np.isfinite(values).all():
            raise refusal(family, f"start gives {name} that are not finite; draw finite numbers")
    if repeated := sorted({label for label in body.labels if body.labels.count(label) > 1}):
        raise refusal(family, f"its observation has several numbers called {repeated[0]!r}; give each its own label")
    if not body.dt > 0:
        raise refusal(
            family, f"a control step lasts {body.dt:g} s; dt (of MuJoCo: timestep × frame_skip) must be above 0"
        )


def _check_feature(family: TaskFamily, feature: Feature, data: mujoco.MjData) -> None:
    field, columns, limit = feature
    if not limit > 0:
        raise refusal(family, f"its observation clips {field} to ±{limit:g}; a limit must be above 0")
    if field not in DATA_FIELDS:
        raise refusal(
            family, f"its observation names {field!r}, no field of MjData; use one such as qpos, qvel or sensordata"
        )
    size = np.size(getattr(data, field))
    if _out_of_range(columns, size) if isinstance(columns, slice) else any(not -size <= i < size for i in columns):
        raise refusal(family, f"its observation takes columns {columns} of {field}, which has {size} numbers")


def _out_of_range(columns: slice, size: int) -> bool:
    """Whether a slice begins or ends outside an array, where Python would silently shorten it."""
    start, stop = columns.start or 0, size if columns.stop is None else columns.stop
    return not (-size <= start <= size and -size <= stop <= size) or (columns.start is not None and start == size)


def _check_space(family: TaskFamily) -> np.ndarray:
    """Check the task space; returns some tasks [task, feature] of it."""
    space = family.space
    if not isinstance(space, TaskSpace):
        raise refusal(family, "its space must have size, sample, held_out, contains, bounds and split, as a Box has")
    sampled = reproducible(family, "space.sample", lambda: space.sample(jax.random.key(0), TASKS))
    held_out = reproducible(family, "space.held_out", lambda: space.held_out(TASKS))
    for name, rows in (("sample", sampled), ("held_out", held_out)):
        rows, least = np.asarray(rows), 1 if name == "held_out" else TASKS
        if rows.ndim != 2 or rows.shape[1] != space.size or not least <= len(rows) <= TASKS:
            fewer = " or fewer" if least < TASKS else ""
            raise refusal(
                family,
                f"space.{name}({TASKS}) has shape {rows.shape}; it must give {TASKS}{fewer} rows, each a task of "
                f"{space.size} numbers",
            )
        if rows.dtype.kind != "f":
            raise refusal(family, f"space.{name} gives {rows.dtype}; tasks are floats: write 1.0 for 1")
        if not np.isfinite(rows).all():
            raise refusal(family, f"space.{name} gives a task that is not finite; use finite bounds")
        for row in rows:
            with refusing(family, "space.contains"):
                inside = space.contains(row)
            if not inside:
                task = ", ".join(f"{x:g}" for x in row)
                raise refusal(family, f"space.contains rejects ({task}), which space.{name} gave; make them agree")
    return np.asarray(sampled)


def _check_physics(family: TaskFamily, tasks: np.ndarray) -> None:
    physics, body = family.physics, family.body
    assert physics is not None
    if not isinstance(body, MujocoBody):
        raise refusal(family, "physics that vary with the task need a MuJoCo body; leave physics out")
    names: list[list[str]] = []
    for task in tasks:
        fields = reproducible(family, "physics", lambda task=task: physics(task))
        if not isinstance(fields, Mapping):
            raise refusal(family, "physics must give a dict from names of fields of MjModel to their values")
        names.append(sorted(fields))
        for name, values in fields.items():
            if name == "opt.timestep":
                raise refusal(family, "physics changes opt.timestep, but a family has one dt; leave it out")
            if name not in MODEL_FIELDS:
                raise refusal(
                    family,
                    f"physics names {name!r}, no field of MjModel that can vary; use one such as body_mass, "
                    "geom_friction or opt.gravity",
                )
            option = name.removeprefix("opt.")
            shape = np.shape(getattr(body.model if option == name else body.model.opt, option))
            if np.shape(values) != shape:
                raise refusal(family, f"physics gives {name} of shape {np.shape(values)}, the model's has {shape}")
            if not np.isfinite(values).all():
                raise refusal(family, f"physics gives {name} that is not finite; it must be finite for every task")
            if name in ("body_mass", "body_inertia") and np.min(values) < 0:
                raise refusal(family, f"physics gives {name} below zero; it must be at least zero for every task")
    if any(each != names[0] for each in names):
        raise refusal(family, "physics gives other fields for other tasks; it must give the same fields for all")


def _check_function(family: TaskFamily, function: _Function) -> None:
    """Check a function's signature, what it reads, whether it compiles, and the shape of its result."""
    name, call, arguments, shape, kind, gives = function
    try:
        inspect.signature(call).bind(*arguments)
    except (TypeError, ValueError) as error:
        raise refusal(family, f"{name} must take ({', '.join(arguments)})") from error
    if inspect.isfunction(call):
        with refusing(family, name):
            variables = inspect.getclosurevars(call)
        for variable, value in {**variables.globals, **variables.nonlocals}.items():
            if isinstance(value, mujoco.MjData | gymnasium.Env):
                raise refusal(
                    family,
                    f"{name} reads {variable} ({type(value).__name__}), not only its arguments; {needs(family)}",
                )
    size_of = sizes(family)
    rows = [np.zeros(size_of[argument.removeprefix("next_")], np.float32) for argument in arguments]
    try:
        with np.errstate(all="ignore"):
            call(*(row.view(_StrictArray) for row in rows))  # JAX would clamp an index out of range
    except jax.errors.JAXIndexError:
        pass
    except IndexError as error:
        raise refusal(family, f"{name} reads what is not there ({error}); {needs(family)}") from error
    except Exception:
        pass  # some jnp functions do not accept NumPy arrays
    with refusing(family, name):
        result = jax.eval_shape(call, *rows)
    if not isinstance(result, jax.ShapeDtypeStruct):
        raise refusal(family, f"{name} gives {type(result).__name__}; it must give {gives}")
    if result.shape != shape or not jnp.issubdtype(result.dtype, kind):
        raise refusal(family, f"{name} gives {result.dtype} of shape {result.shape}; it must give {gives}")


class _StrictArray(np.ndarray):
    """An array that raises IndexError for a slice out of range."""

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice) and _out_of_range(index, len(self)):
            raise IndexError(f"slice {index.start}:{index.stop} is out of bounds with size {len(self)}")
        return super().__getitem__(index)


def _check_values(family: TaskFamily, functions: list[_Function], tasks: np.ndarray, simulated: bool) -> np.ndarray:
    """Evaluate the functions on some transitions twice; returns the observations of these transitions."""
    flat, reset = _random_steps(family, tasks) if simulated else _random_rows(family, tasks)
    first = [_evaluated(family, function, flat) for function in functions]
    reset()
    for function, before in zip(functions, first, strict=True):
        if before.tobytes() != _evaluated(family, function, flat).tobytes():
            raise refusal(
                family,
                f"{function.name} gives other numbers for the same transitions in a second call; it may depend only on "
                "its arguments, not on random numbers or on anything that changes",
            )
    return flat["observation"]


def _random_rows(family: TaskFamily, tasks: np.ndarray) -> tuple[dict[str, np.ndarray], Callable[[], Any]]:
    """As `_random_steps`, but normal random numbers; nothing is simulated."""
    rng, n = np.random.default_rng(0), STEPS * EPISODES
    names = ("observation", "action", "next_observation")
    flat = {name: rng.standard_normal((TASKS * n, sizes(family)[name.removeprefix("next_")])) for name in names}
    rows = {name: values.astype(np.float32) for name, values in flat.items()}
    return {**rows, "task": np.repeat(tasks, n, axis=0)}, lambda: None


def _random_steps(family: TaskFamily, tasks: np.ndarray) -> tuple[dict[str, np.ndarray], Callable[[], Any]]:
    """Transitions [row, ...] of random steps in the simulator, with their tasks, and what resets it to other states."""
    simulator, rng = Simulator(in_one_process(family)), np.random.default_rng(0)
    keys = jax.random.split(jax.random.key(0), TASKS)
    rows, size = [], family.body.observation_size
    try:
        with refusing(family, "its simulation"):
            age, observation = simulator.reset(jax.device_put(tasks), EPISODES, keys)
            if observation.shape[-1] != size:
                raise refusal(family, f"its body has {size} labels for observations of {observation.shape[-1]} numbers")
            for _ in range(STEPS):
                action = rng.uniform(-1, 1, (TASKS, EPISODES, family.body.action_size)).astype(np.float32)
                age, observation, row = simulator.step(age, observation, action)
                rows.append(row)
            if simulator.cut > max(1, sum(np.sum(row.terminated | row.truncated) for row in rows) / 2):
                raise simulator.early_end_error()
    except OnebodyError as error:
        reason = str(error).removeprefix(f"family {family.id}: ").removeprefix(f"{family.id}: ")
        hints = {
            "reward is not finite": "; keep roots, logarithms and divisions away from zero, and indices in range",
            "observation is not finite": "; use a smaller time step or weaker actuators",
        }
        raise refusal(family, reason + next((hint for fault, hint in hints.items() if fault in reason), "")) from error

    transitions = jax.tree.map(lambda *x: np.stack(x), *rows)
    if transitions.terminated.all():
        raise refusal(family, "terminal is true from the first step of every episode; make it true only at its end")
    arguments = {name: getattr(transitions, name) for name in ("observation", "action", "next_observation")}
    arguments["task"] = np.broadcast_to(tasks[:, None], (STEPS, TASKS, EPISODES, tasks.shape[-1]))
    flat = {name: values.reshape(STEPS * TASKS * EPISODES, values.shape[-1]) for name, values in arguments.items()}
    other = jax.random.split(jax.random.key(1), TASKS)
    return flat, lambda: simulator.reset(jax.device_put(tasks), EPISODES, other)


def _evaluated(family: TaskFamily, function: _Function, flat: Mapping[str, np.ndarray]) -> np.ndarray:
    """Results of a function on transitions [row, ...], traced again and with every index checked."""
    checked = checkify.checkify(jax.vmap(function.call), errors=checkify.index_checks)
    with refusing(family, function.name):
        fault, result = jax.jit(checked)(*(flat[argument] for argument in function.arguments))
    if fault.get():
        match = re.search(r"(index -?\d+ is out of bounds) for axis \d+ (with size \d+)", str(fault.get()))
        reason = " ".join(match.groups()) if match else "out of bounds"
        raise refusal(family, f"{function.name} reads what is not there ({reason}); {needs(family)}")
    return np.asarray(result)
