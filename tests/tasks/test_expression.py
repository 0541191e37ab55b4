"""Rewards written as expressions: their values and derivatives, and what is refused."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.core.errors import OnebodyError
from onebody.tasks import expression, registry

CHEETAH = registry.make("smt/cheetah-vel")
OBSERVATION = jnp.linspace(-1.0, 1.0, 19) ** 3
"""of which number 17 is the velocity, and number 1 the pitch"""
ACTION, TASK = jnp.array([0.5, -0.5, 0.0, 0.0, 1.0, -1.0]), jnp.array([1.5])
V, PITCH = float(OBSERVATION[17]), float(OBSERVATION[1])


def value(text):
    return expression.parse(text, CHEETAH)(jnp.zeros(19), ACTION, OBSERVATION, TASK)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("velocity_x", V),
        ("velocity_x - 0.1 * abs(rooty)", V - 0.1 * abs(PITCH)),
        (" -velocity_x ** 2 / 4 + +1 ", -(V**2) / 4 + 1),
        ("-abs(velocity_x - task_1) - 0.05 * effort", -abs(V - 1.5) - 0.05 * 2.5),
        ("(rooty < 0) * 3 + (rooty >= 0)", 3.0),
        ("max(min(action_5, 0.25), action_2)", 0.25),
        ("sin(rooty) + cos(rooty) + tanh(rooty)", np.sin(PITCH) + np.cos(PITCH) + np.tanh(PITCH)),
        ("exp(-rooty ** 2) + sqrt(velocity_x)", np.exp(-(PITCH**2)) + np.sqrt(V)),
        ("2", 2.0),
    ],
)
def test_values(text, expected):
    result = value(text)
    assert result.shape == () and result.dtype == jnp.float32
    assert float(result) == pytest.approx(expected, rel=1e-5)


def test_derivatives_are_those_of_the_formula():
    reward = expression.parse("velocity_x ** 3 - 0.1 * exp(rooty) * velocity_x", CHEETAH)
    gradient = jax.jit(jax.grad(reward, argnums=2))(OBSERVATION, ACTION, OBSERVATION, TASK)
    expected = np.zeros(19)
    expected[17], expected[1] = 3 * V**2 - 0.1 * np.exp(PITCH), -0.1 * np.exp(PITCH) * V
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("velocity_x.shape", "'velocity_x.shape' is not allowed in a reward expression, which has numbers, names"),
        ("().__class__", "is not allowed"),
        ("velocity_x[0]", "is not allowed"),
        ("[velocity_x]", "is not allowed"),
        ("'a' * 3", "is not allowed"),
        ("b'a'", "is not allowed"),
        ("True", "is not allowed"),
        ("1j", "is not allowed"),
        ("...", "is not allowed"),
        ("lambda: 1", "is not allowed"),
        ("(x := 1)", "is not allowed"),
        ("f'{velocity_x}'", "is not allowed"),
        ("[x for x in (1, 2)]", "is not allowed"),
        ("1 if rooty else 2", "is not allowed"),
        ("0 < rooty < 1", "is not allowed"),
        ("rooty == 0", "is not allowed"),
        ("rooty and 1", "is not allowed"),
        ("rooty // 2", "is not allowed"),
        ("1 << 1000", "is not allowed"),
        ("(abs)(*rooty)", "is not allowed"),
        ("abs(x=rooty)", "is not allowed"),
        ("abs(rooty)(1)", "is not allowed"),
        ("eval('1')", "unknown function 'eval'; known: abs, cos"),
        ("velocity(1)", "unknown function 'velocity'"),
        ("abs", "unknown name 'abs'"),
        ("velocity_y", "unknown name 'velocity_y'; did you mean 'velocity_"),
        ("__import__", "unknown name '__import__'"),
        ("abs(rooty, 1)", "abs takes 1 argument, not 2"),
        ("max(rooty)", "max takes 2 arguments, not 1"),
        ("rooty ** 1000", "the exponent of ** must be a number from 0 to 10"),
        ("9 ** 9 ** 9", "the exponent of ** must be a number"),
        ("2 ** rooty", "the exponent of ** must be a number"),
        ("2 ** -1", "the exponent of ** must be a number"),
        ("2 ** True", "the exponent of ** must be a number"),
        ("9" * 200, "of the reward expression is above 1e+09"),
        ("1e39", "of the reward expression is above 1e+09"),
        ("1e999", "of the reward expression is above 1e+09"),
        ("1" * 301, "at most 300 characters, not 301"),
        ("(" * 150 + "1" + ")" * 149, "'((("),
        ("rooty +", "is not a valid expression"),
        ("", "is not a valid expression"),
        ("rooty = 1", "is not a valid expression"),
        ("import os", "is not a valid expression"),
        ("rooty\0", "is not a valid expression"),
    ],
)
def test_anything_else_is_refused_in_one_line(text, message):
    with pytest.raises(OnebodyError, match=re.escape(message)) as error:
        expression.parse(text, CHEETAH)
    assert "\n" not in str(error.value)


def test_the_deepest_expression_is_read_or_refused():
    for text in ("-" * 299 + "1", "(" * 149 + "1" + ")" * 149, "abs(" * 59 + "1" + ")" * 59, "1+" * 149 + "1"):
        try:
            value(text)
        except OnebodyError as error:
            assert "deep" in str(error) or "nested" in str(error)


def test_names_are_identifiers_made_of_the_labels():
    names = expression.names(CHEETAH)
    assert names["velocity_x"] == "velocity x (m/s)" and names["rooty_rate"] == "rooty rate (rad/s)"
    assert names["task_1"] == "task: forward velocity (m/s)" and names["action_6"] == "action 6"
    assert expression.names(registry.make("point/goal")).keys() == {"x", "y", *_of_the_point()}
    for family in registry.families().values():
        names = expression.names(family)
        assert all(name.isidentifier() for name in names)
        assert len(names) == family.body.observation_size + family.body.action_size + 1 + family.space.size


def _of_the_point():
    return {"action_1", "action_2", "effort", "task_1", "task_2"}
