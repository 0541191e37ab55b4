"""The numbers in README, docs and results are those of the raw files."""

import re

import pytest

figures = pytest.importorskip("results.figures", reason="the raw results are in the repository alone")
standings = pytest.importorskip("results.standings", reason="the raw results are in the repository alone")


@pytest.mark.parametrize("page", figures.pages())
def test_numbers_are_of_the_raw_results(page):
    assert not list(figures.problems(figures.text_of(page), figures.phrases(page), figures.settings(page)))


@pytest.mark.parametrize("page", ["README.md", "docs/results.md", "docs/algorithms/smt.md", "results/smt-1a/README.md"])
def test_any_changed_number_is_seen(page):
    text, expected = figures.flat(figures.text_of(page)), (figures.phrases(page), figures.settings(page))
    skipped = r"`[^`]*`|\]\([^)]*\)|" + f"{figures.NAME}|{figures.YEAR}"
    numbers = re.sub(skipped, lambda result: "¤" * len(result[0]), text)
    places = [result.end() - 1 for result in re.finditer(figures.NUMBER, numbers)]
    assert len(places) > 10
    for i in places:
        changed = text[:i] + str((int(text[i]) + 1) % 10) + text[i + 1 :]
        assert list(figures.problems(changed, *expected)), text[i - 40 : i + 20]


def test_a_phrase_that_is_gone_is_seen():
    assert list(figures.problems("It has none.", ["It has 12 of them"], []))


def test_the_standings_are_those_of_the_raw_results():
    written = (figures.ROOT / standings.PAGE).read_text(encoding="utf-8")
    assert written == standings.standings(), "write it anew: python -m results.standings"
