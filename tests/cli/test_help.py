"""Each option of a command or an algorithm is understood without the one above it."""

import ast
import dataclasses
import inspect
import re
import textwrap

import pytest

from onebody.algorithms import presets
from onebody.cli import commands, options

SHARED = {"Trust": options.Trust.__metadata__[-1].help}
"""help of options that several commands have, by their types"""


def kinds(config):
    """The classes of a configuration and of those in it, with the classes that they inherit fields from."""
    classes = [kind for kind in type(config).__mro__ if dataclasses.is_dataclass(kind)]
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(value := getattr(config, field.name)):
            classes += kinds(value)
    return classes


def documented(kind):
    """Name and docstring of each field that a class itself defines."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body
    for line, next_line in zip(body, [*body[1:], None], strict=True):
        if isinstance(line, ast.AnnAssign):
            text = (
                next_line.value.value
                if isinstance(next_line, ast.Expr)
                else SHARED.get(ast.unparse(line.annotation), "")
            )
            yield line.target.id, " ".join(text.split())


def stands_alone(text):
    """Whether a help text begins with a capital letter and is a phrase that refers to nothing outside it."""
    return re.match(r"[A-Z]\S*[,.]? \S", text) and not re.match(r"[A-Z]\w+ of (one|it|them)\b", text)


@pytest.mark.parametrize("command", commands.COMMANDS)
def test_each_option_of_a_command_is_a_phrase_of_its_own(command):
    texts = dict(documented(commands.COMMANDS[command]))
    assert texts and all(stands_alone(text) for text in texts.values()), texts


@pytest.mark.parametrize("command", commands.COMMANDS)
def test_the_line_of_a_command_in_the_list_is_a_sentence(command):
    assert str(commands.COMMANDS[command].__doc__).splitlines()[0].endswith(".")


@pytest.mark.parametrize("algorithm", presets.names())
def test_each_option_is_a_phrase_of_its_own(algorithm):
    plain = set()
    for kind in kinds(presets.preset(algorithm, "paper")):
        for name, text in documented(kind):
            if not stands_alone(text):
                plain.add(f"{kind.__name__}.{name}: {text}")
    assert not plain
