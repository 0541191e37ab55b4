"""What a release states in several places is the same in all of them."""

import importlib.util
import re
import sys
import tomllib
import types
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from onebody.runs import loggers

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_is_that_of_the_citation_and_of_the_newest_section_of_the_changelog():
    (citation,) = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE)
    sections = re.findall(r"^## \[([0-9].*?)\] - ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert PROJECT["version"] == citation == sections[0]


def test_constraints_have_an_allowed_version_of_each_dependency_and_extra():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    exact = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    unbound = {"onebody", "imageio-ffmpeg"}
    for text in [
        *PROJECT["dependencies"],
        *(text for each in PROJECT["optional-dependencies"].values() for text in each),
    ]:
        need = Requirement(text)
        if need.name not in unbound:
            assert need.specifier.contains(exact[canonicalize_name(need.name)]), text


def test_each_logger_is_an_extra_with_its_package():
    for name, kind in loggers.KINDS.items():
        packages = [Requirement(text).name.removesuffix("-skinny") for text in PROJECT["optional-dependencies"][name]]
        assert kind.module in packages


def test_the_pythons_of_the_classifiers_are_those_that_are_tested():
    classified = {text.split(" :: ")[-1] for text in PROJECT["classifiers"] if " :: Python :: 3." in text}
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    (tested,) = re.findall(r"^ +python: \[(.+)\]$", workflow, flags=re.MULTILINE)
    assert classified == set(re.findall(r"3\.\d+", tested)) and min(classified) in PROJECT["requires-python"]


def test_links_of_the_readme_hold_on_a_package_index(monkeypatch):
    hatchling = types.SimpleNamespace(MetadataHookInterface=object)  # it is only where packages are built
    monkeypatch.setitem(sys.modules, "hatchling.metadata.plugin.interface", hatchling)
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    built = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(built)
    text = built.absolute((ROOT / "README.md").read_text(), "https://example.org/one/body")
    targets = re.findall(r"\]\(([^)]+)\)", text)
    ours = [each for each in targets if each.startswith("https://example.org/one/body/")]
    assert len(ours) > 10 and all(each.startswith("https://") for each in targets)
    assert "https://example.org/one/body/raw/main/docs/play.webp" in ours
    for each in ours:
        assert (ROOT / each.split("/main/")[1]).exists(), each
