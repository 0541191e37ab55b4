from pathlib import Path

from onebody.reports import families
from onebody.tasks import registry

FACTS = ("source", "differs", "initial state", "time", "tasks", "reward", "episode ends early", "observation")
PAGE = Path(__file__).parents[2] / "docs" / "families.md"


def test_the_page_is_that_of_the_definitions():
    assert PAGE.read_text() == families.page(), "make docs"


def test_every_family_has_its_section_and_says_what_it_means():
    sections = PAGE.read_text().split("\n### ")
    for name in registry.families():
        (section,) = (text for text in sections if text.split("\n")[0] == name)
        for fact in (
            "source",
            "differs",
            "initial state",
            "time",
            "tasks",
            "reward",
            "episode ends early",
            "observation",
        ):
            assert f"**{fact}**: " in section
