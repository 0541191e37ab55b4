"""The numbers in README, docs and results are those of the raw files."""

import re

import pytest

from results import figures


@pytest.mark.parametrize("page", figures.pages())
def test_numbers_are_of_the_raw_results(page):
    assert not list(figures.problems(figures.text_of(page), figures.phrases(page)))


@pytest.mark.parametrize("page", ["results/smt-cheetah-vel/README.md"])
def test_any_changed_number_is_seen(page):
    text, phrases = figures.flat(figures.text_of(page)), figures.phrases(page)
    checked = re.sub(
        r"`[^`]*`|\]\([^)]*\)|" + f"{figures.NAME}|{figures.YEAR}", lambda found: "¤" * len(found[0]), text
    )
    places = [found.start() for found in re.finditer(figures.NUMBER, checked)]
    assert len(places) > 20
    for at in places:
        changed = text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :]
        assert list(figures.problems(changed, phrases)), text[at - 40 : at + 20]
