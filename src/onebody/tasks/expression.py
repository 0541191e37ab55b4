"""Rewards written as one expression, such as `velocity_x - 0.1 * abs(rooty)`.

The text is parsed and compiled node by node; it is never evaluated as Python.
"""

import ast
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from onebody.core.errors import OnebodyError, did_you_mean
from onebody.tasks.family import Reward, TaskFamily
from onebody.tasks.limits import bare

MAX_LENGTH = 300
"""number of characters of the longest expression"""
MAX_NUMBER, MAX_EXPONENT = 1e9, 10
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_SIGNS = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_COMPARISONS = {ast.Lt: jnp.less, ast.LtE: jnp.less_equal, ast.Gt: jnp.greater, ast.GtE: jnp.greater_equal}
_FUNCTIONS: dict[str, tuple[int, Callable[..., Array]]] = {
    **{name: (1, getattr(jnp, name)) for name in ("abs", "sqrt", "exp", "sin", "cos", "tanh")},
    "min": (2, jnp.minimum),
    "max": (2, jnp.maximum),
}
"""number of arguments of each function, and the function"""
ALLOWED = f"numbers, names, + - * / ** < > and {', '.join(_FUNCTIONS)}"

_Term = Callable[[Mapping[str, Array]], Array]
"""from the values of names to that of a part of the expression"""


def names(family: TaskFamily) -> dict[str, str]:
    """What the names in expressions for a family mean.

    These are the numbers of the observation after the step, the action in [-1, 1], the sum of its squares as `effort`,
    and the task.
    """
    return {name: meaning for name, (meaning, _) in _variables(family).items()}


def parse(text: str, family: TaskFamily) -> Reward:
    """The reward that an expression of `names` defines. A comparison is 1 or 0.

    Raises:
        OnebodyError: the expression is wrong, or has something else in it than `ALLOWED`; says what.
    """
    if len(text) > MAX_LENGTH:
        raise OnebodyError(f"a reward expression has at most {MAX_LENGTH} characters, not {len(text):,}")
    try:
        with warnings.catch_warnings(action="ignore"):  # of Python's syntax, such as `1if`
            term = _compiled(ast.parse(text.strip(), mode="eval").body, variables := _variables(family))
    except SyntaxError as error:
        raise OnebodyError(f"{text.strip()!r} is not a valid expression: {error.msg}") from None
    except (RecursionError, MemoryError, ValueError):
        raise OnebodyError("the reward expression cannot be read: it is too deep, or has a wrong character") from None

    def reward(observation: Array, action: Array, next_observation: Array, task: Array) -> Array:
        values = {name: value(next_observation, action, task) for name, (_, value) in variables.items()}
        return term(values)

    reward.__name__ = text.strip()
    return reward


def _variables(family: TaskFamily) -> dict[str, tuple[str, Callable[[Array, Array, Array], Array]]]:
    """Meaning of each name, and its value as a function of next observation, action and task."""
    variables: dict[str, tuple[str, Callable[[Array, Array, Array], Array]]] = {}

    def add(name: str, meaning: str, value: Callable[[Array, Array, Array], Array]) -> None:
        name = re.sub(r"\W+", "_", re.sub(r"\(.*?\)|,.*", "", name).strip())
        name = name if name.isidentifier() else f"x_{name}"
        same = sum(each == name or each.startswith(f"{name}__") for each in variables)
        variables[f"{name}__{same + 1}" if same else name] = meaning, value

    for i, label in enumerate(bare(family.body).labels):
        add(label, label, lambda o, a, t, i=i: o[i])
    for i in range(family.body.action_size):
        add(f"action_{i + 1}", f"action {i + 1}", lambda o, a, t, i=i: a[i])
    add("effort", "sum of squared actions", lambda o, a, t: jnp.square(a).sum())
    for i, label in enumerate(family.task_names):
        add(f"task_{i + 1}", f"task: {label}", lambda o, a, t, i=i: t[i])
    return variables


def _compiled(node: ast.expr, known: Mapping[str, Any]) -> _Term:
    """Raises OnebodyError for a node that is not allowed."""
    match node:
        case ast.Constant() if (value := _number(node)) is not None:
            if value > MAX_NUMBER:
                raise OnebodyError(f"a number of the reward expression is above {MAX_NUMBER:g}")
            return lambda values: jnp.float32(value)
        case ast.Name(id=name):
            if name not in known:
                raise OnebodyError(f"unknown name {name!r}{did_you_mean(name, known)}")
            return lambda values: values[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _SIGNS:
            return _applied(_SIGNS[type(op)], [operand], known)
        case ast.BinOp(left=base, op=ast.Pow(), right=right):
            if (exponent := _number(right)) is None or not exponent <= MAX_EXPONENT:
                raise OnebodyError(f"the exponent of ** must be a number from 0 to {MAX_EXPONENT}")
            return _applied(lambda x: x**exponent, [base], known)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _applied(_OPERATORS[type(op)], [left, right], known)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
            compare = _COMPARISONS[type(op)]
            return _applied(lambda x, y: compare(x, y).astype(jnp.float32), [left, right], known)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            if name not in _FUNCTIONS:
                raise OnebodyError(f"unknown function {name!r}{did_you_mean(name, _FUNCTIONS)}")
            size, function = _FUNCTIONS[name]
            if len(arguments) != size:
                raise OnebodyError(f"{name} takes {size} argument{'s' * (size > 1)}, not {len(arguments)}")
            return _applied(function, arguments, known)
    raise OnebodyError(f"{ast.unparse(node)!r} is not allowed in a reward expression, which has {ALLOWED}")


def _number(node: ast.expr) -> float | int | None:
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _applied(function: Callable[..., Array], arguments: list[ast.expr], known: Mapping[str, Any]) -> _Term:
    terms = [_compiled(each, known) for each in arguments]
    return lambda values: function(*(term(values) for term in terms))
