"""Each option of an algorithm is understood without the one above it."""

import ast
import dataclasses
import inspect
import re
import textwrap

import pytest

from onebody.algorithms import presets


def kinds(config):
    """The classes of a configuration and of those in it, with the classes that they inherit fields from."""
    found = [kind for kind in type(config).__mro__ if dataclasses.is_dataclass(kind)]
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(value := getattr(config, field.name)):
            found += kinds(value)
    return found


def documented(kind):
    """Name and docstring of each field that a class itself defines."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body
    for line, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(line, ast.AnnAssign):
            text = following.value.value if isinstance(following, ast.Expr) else ""
            yield line.target.id, " ".join(text.split())


@pytest.mark.parametrize("algorithm", presets.names())
def test_each_option_is_a_phrase_of_its_own(algorithm):
    plain = set()
    for kind in kinds(presets.preset(algorithm, "paper")):
        for name, text in documented(kind):
            if not re.match(r"[A-Z]\S*[,.]? \S", text) or re.match(r"[A-Z]\w+ of (one|it|them)\b", text):
                plain.add(f"{kind.__name__}.{name}: {text}")
    assert not plain
