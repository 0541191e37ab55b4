"""The tutorials do what they say.

The blocks of each page of docs/tutorials/ are run in order, in one folder. A block whose first line is a comment with a
file's name is written to that file. ```python is run, and must print what the ```text after it shows. Each `$ command`
of ```console is run, and must print on stdout what stands below it: the same words, other numbers (they differ between
processors), anything at all for `...`. ```sh is not run.
"""

import ast
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

import onebody.worlds.gym  # noqa: F401  registers in Gymnasium, which `forgotten` would undo
from onebody.algorithms import presets
from onebody.cli import main
from tests.worlds.customs import forgotten

ROOT = Path(__file__).parents[1]
PAGES = sorted(ROOT.glob("docs/tutorials/*.md"))
SLOW = {"own_reward"}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
FILE = re.compile(r"(?:#|<!--) (\w+\.\w+)")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with forgotten():
        yield
    presets._added.cache_clear()
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def install():
    """As `pip install -e .` of the package in this folder: its entry points are found, its modules are imported."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    info = Path(f"{project['name'].replace('-', '_')}-{project['version']}.dist-info")
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = (
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    )
    (info / "entry_points.txt").write_text("\n".join(groups))
    presets._added.cache_clear()


def same_words(shown, printed):
    """Whether a text has the words that a page shows, in lines whose spaces and numbers may differ."""

    def masked(text):
        return " ".join(re.sub(r"-?\d[\d,.:]*(?<![,.])", "#", text).split())

    wanted = [re.escape(part.strip()) for part in masked(shown).split("...")]
    return re.fullmatch(r"\s*.*?\s*".join(wanted), masked(printed), re.S) is not None


def session(text):
    """Commands of a console, each with the output below it."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, output = part.partition("\n")
        yield shlex.split(command), output


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.stem, marks=[pytest.mark.slow] if page.stem in SLOW else []) for page in PAGES],
)
def test_the_page_does_what_it_says(page, capsys):
    names, printed = {"__name__": "__main__"}, None
    for language, text in BLOCK.findall(page.read_text()):
        if file := FILE.match(text):
            Path(file[1]).write_text(text)
        elif language == "console":
            for command, shown in session(text):
                capsys.readouterr()
                if command[:2] == ["pip", "install"]:
                    install()
                    continue
                assert command[0] == "onebody"
                with forgotten():
                    code = main(command[1:])
                printed = capsys.readouterr()
                assert code == 0, printed.err
                assert same_words(shown, printed.out), printed.out
        elif language == "python":
            capsys.readouterr()
            exec(compile(ast.parse(text), page.name, "exec"), names)
            printed = capsys.readouterr().out
        elif language == "text":
            assert printed == text
        else:
            assert language == "sh"


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_first_lines_of_python_run(page):
    """On the point, with the preset for trying out."""
    (text,) = [text for language, text in BLOCK.findall((ROOT / page).read_text()) if language == "python"]
    for theirs, smallest in {'"cheetah-vel"': '"point"', '"laptop"': '"smoke"', "=1.3": "=(0.5, 0.5)"}.items():
        assert theirs in text
        text = text.replace(theirs, smallest)
    names = {}
    exec(text, names)
    assert names["act"]([0.0, 0.0]).shape == (2,)


def test_other_words_are_seen():
    assert same_words("a  -1.5 of 3\n...\nend 2", "a 12.25 of 4\nmore\nend -7\n")
    assert not same_words("a 1", "b 1") and not same_words("a 1", "a 1 b") and not same_words("a 1\nb", "a x\nb")
