"""Checks every number of the pages against the raw results: python -m results.figures [PAGE …]

A page with numbers (README.md, docs/**/*.md, results/*/README.md) has a module in `pages/`, with one or both of

* `figures()`, which yields table rows and phrases built from the raw files, and
* `GIVEN`, phrases with numbers that are no results: settings, sizes, durations, limits of a task.

Each of them must stand in the page, word for word (line breaks aside). No digit may stand outside them, but in code,
links, names (`p0`, `seed 2`, `Figure 3`) and years. So a changed number is an error, whichever it is.
"""

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
GENERATED = {"docs/families.md"}
"""pages that `make docs` writes, and another test compares"""
NAME = r"(Algorithm|Appendix|Eq\.|Figure|§|[Ll]ine|Python|[Ss]eed|[Ss]tage|version)s? ?\d[\d.]*[a-h]?\b(-\d\b)?((,| to| and|, and) \d\b(?![.,]\d))*"
"""what a number can belong to that is a name, not a figure: `seeds 0, 1 and 2`"""
YEAR = r"\b20[12]\d[a-c]?\b"
NUMBER = r"(?<!\w)(?<![A-Za-z]-)\d"


def pages() -> list[str]:
    """All pages with numbers to check, by their paths from the root."""
    found = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("results/*/README.md"))]
    return [path for each in found if (path := str(each.relative_to(ROOT))) not in GENERATED]


def module(page: str) -> str:
    """The module of a page: `smt_1a` of results/smt-1a/README.md, `docs_omni` of docs/algorithms/omni.md, `readme`."""
    name = page.lower().removesuffix(".md").removesuffix("/readme").removeprefix("results/").replace("algorithms/", "")
    return re.sub(r"\W", "_", name)


def phrases(page: str) -> list[str]:
    """All that must stand in a page, built from the raw results or given; none where the page has no module."""
    name = f"results.pages.{module(page)}"
    if importlib.util.find_spec(name) is None:
        return []
    found = importlib.import_module(name)
    return [*getattr(found, "figures", list)(), *getattr(found, "GIVEN", [])]


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def flat(text: str) -> str:
    """A text without blocks of code, in one line."""
    return " ".join(re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL).split())


def problems(text: str, phrases: list[str]) -> Iterator[str]:
    """What is wrong with the numbers of a page: phrases that it lacks, numbers that are in none."""
    text = flat(text)
    expected = sorted({" ".join(phrase.split()) for phrase in phrases}, key=len, reverse=True)
    patterns = {phrase: rf"(?<![\w.,-]){re.escape(phrase)}(?![\d%]|[.,]\d)" for phrase in expected}
    yield from (f"is missing: {phrase}" for phrase, pattern in patterns.items() if not re.search(pattern, text))
    for pattern in patterns.values():
        text = re.sub(pattern, "¤", text)
    for pattern in (r"`[^`]*`", r"\]\([^)]*\)", NAME, YEAR):
        text = re.sub(pattern, "¤", text)
    words = text.split()
    for i, word in enumerate(words):
        if re.search(NUMBER, word):
            yield f"is neither given nor of the results: {' '.join(words[max(0, i - 4) : i + 3])}"


def main(names: list[str]) -> int:
    wrong = 0
    for page in pages():
        if names and page not in names and module(page) not in names:
            continue
        found = list(problems(text_of(page), phrases(page)))
        wrong += len(found)
        print("\n  ".join([f"{page}: {'all numbers are right' if not found else ''}", *found]))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
