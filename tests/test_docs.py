"""What the pages tell a user to type is what the command line takes."""

import re
import shlex
from pathlib import Path

import pytest

from onebody import cli
from onebody.tasks import registry

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("results/*/README.md"))]
PLACEHOLDERS = {"$seed": "0", "SEED": "0", "$family": "cheetah-vel", " N`": " 1000`"}


def commands(page):
    """Every `onebody …` of a page, in a line or between backquotes, as a shell would split it; no mere names."""
    text = page.read_text()
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    spoken = [" ".join(result.split()) for result in re.findall(r"`(onebody [^`]+)`", text)]
    typed = re.findall(r"^ *(onebody [^\n]+)$", text, flags=re.MULTILINE)
    for line in [*spoken, *(line for line in typed if "`" not in line)]:
        words = shlex.split(line, comments=True)[1:]
        if len(words) > 1 and words[0].islower() and "ALGORITHM" not in words:
            yield words


def test_there_are_commands_on_the_pages():
    assert sum(1 for page in PAGES for _ in commands(page)) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_taken(page):
    for words in commands(page):
        command = cli._command(words)
        family = getattr(command, "family", "")
        if family and ".py:" not in family:
            registry.make(family)
