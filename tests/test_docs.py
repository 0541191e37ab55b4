"""The pages: what they tell a user to type is what the command line takes, and their links lead somewhere."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import onebody
from onebody import cli
from onebody.algorithms import presets
from onebody.reports import families
from onebody.tasks import registry

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("results/*/README.md"))]
RAW = (ROOT / "results").exists()
"""whether the raw results are here, as in the repository alone"""
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


# ---------------------------------------------------------------- links


def anchors(page):
    """Ids of a page's headings, as repository sites and MkDocs make them."""
    headings = re.findall(r"^#+ +(.+)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
        target = (page.parent / path).resolve() if path else page
        if not RAW and target.is_relative_to(ROOT / "results"):
            continue
        assert target.exists(), path
        if anchor and target.parent.name != "api":  # there, headings are names of Python
            assert anchor in anchors(target), f"{path}#{anchor}"


def test_links_to_files_outside_docs_lead_to_the_repository(caplog):
    rewrite = runpy.run_path(str(ROOT / "docs/outside_links.py"))["on_page_markdown"]
    page = SimpleNamespace(file=SimpleNamespace(src_uri="algorithms/smt.md"))
    text = "[a](../../src/onebody/cli), [b](../../README.md#what-is-in-it), [c](../results.md), [d](slbo.md)"

    def rewritten(text, repository):
        return rewrite(text, page=page, config=SimpleNamespace(repo_url=repository))

    assert rewritten(text, "https://here") == (
        "[a](https://here/tree/main/src/onebody/cli), [b](https://here/blob/main/README.md#what-is-in-it), "
        "[c](../results.md), [d](slbo.md)"
    )
    assert rewritten("[b](../../README.md)", "") == f"[b]({(ROOT / 'README.md').as_uri()})"
    assert not caplog.records
    rewritten("[e](../../nothing.md)", "")
    assert "links to nothing.md, which does not exist" in caplog.text


# ---------------------------------------------------------------- what there must be


def test_every_page_is_in_the_navigation():
    named = re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text())
    assert sorted(named) == sorted(str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/**/*.md"))


def test_the_reference_has_all_public_names():
    text = "".join(page.read_text() for page in ROOT.glob("docs/api/*.md")).replace("onebody.worlds.gym", "onebody.gym")
    assert {f"onebody.{name}" for name in onebody.__all__} <= set(re.findall(r"^::: (\S+)$", text, re.M))


def test_every_algorithm_has_its_row_and_page_with_the_paper():
    index = ROOT / "docs/algorithms/index.md"
    table = index.read_text().split("## All algorithms")[1]
    assert not [name for name in presets.names() if f"`{name}`" not in table]
    for page in set(index.parent.glob("*.md")) - {index}:
        assert f"]({page.name})" in table
        assert "https://" in page.read_text() or "Ours." in page.read_text(), page.name


def test_every_body_has_its_picture_and_they_are_small():
    pictures = [ROOT / "docs" / families.look(name) for name in families.looks()]
    assert len(pictures) > 5 and sum(picture.stat().st_size for picture in pictures) < 300_000


@pytest.mark.skipif(not RAW, reason="pages link to the raw results, which are in the repository alone")
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert "onebody.train" in (tmp_path / "api/training.html").read_text()
