"""Checks every number of the pages against the raw results: python -m results.figures [PAGE …]

After a change of settings in a page of docs/: python -m results.figures --accept PAGE

A page with results (README.md, results/*/README.md, one in docs/) has a module in `pages/`, with

* `figures()`, which yields table rows and phrases built from the raw files, and
* `GIVEN`, phrases with numbers that are no results: settings, sizes, durations, limits of a task.

Each of them must stand in the page, word for word (line breaks aside). No other number may, but in code, links, names
(`p0`, `seed 2`, `Figure 3`) and years; or, on pages that have settings alone, the numbers that `settings.json` lists for
the page, in this order. So a changed number is an error, whichever it is.
"""

import difflib
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
GENERATED = {"docs/families.md", "docs/standings.md"}
"""pages that `make docs` writes, and other tests compare"""
NAME = (
    r"(Algorithm|Appendix|Eq\.|Figure|§|[Ll]ine|Python|[Ss]eed|[Ss]tage|version)s? ?"
    r"\d[\d.]*[a-h]?\b(-\d\b)?((,| to| and|, and) \d\b(?![.,]\d))*"
)
"""what a number can belong to that is a name, not a figure: `seeds 0, 1 and 2`"""
YEAR = r"\b20[12]\d[a-c]?\b"
NUMBER = r"(?<![\w.])(?<![A-Za-z]-)\d[\d.,]*(e-?\d+)?(?<![.,])"


def pages() -> list[str]:
    """All pages with numbers to check, by their paths from the root."""
    result = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("results/*/README.md"))]
    return [path for each in result if (path := str(each.relative_to(ROOT))) not in GENERATED]


def module(page: str) -> str:
    """The module of a page: `smt_1a` of results/smt-1a/README.md, `docs_omni` of docs/algorithms/omni.md, `readme`."""
    name = page.lower().removesuffix(".md").removesuffix("/readme").removeprefix("results/").replace("algorithms/", "")
    return re.sub(r"\W", "_", name)


def phrases(page: str) -> list[str]:
    """All that must stand in a page, built from the raw results or given; none where the page has no module."""
    name = f"results.pages.{module(page)}"
    if importlib.util.find_spec(name) is None:
        return []
    result = importlib.import_module(name)
    return [*getattr(result, "figures", list)(), *getattr(result, "GIVEN", [])]


def settings(page: str) -> list[str]:
    """The numbers of a page that are in no phrase, in order."""
    return json.loads((ROOT / "results/settings.json").read_text()).get(page, "").split()


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def flat(text: str) -> str:
    """A text in one line, without blocks of code and without what `onebody reproduce` writes from the raw results."""
    for block in (r"^```.*?^```", "^<!-- results -->.*?^<!-- end of results -->"):
        text = re.sub(block, "", text, flags=re.MULTILINE | re.DOTALL)
    return " ".join(text.split())


def problems(text: str, phrases: list[str], settings: list[str]) -> Iterator[str]:
    """What is wrong with the numbers of a page: phrases that it lacks, with the nearest text that it has; if it lacks
    none, numbers that are neither in one nor a setting."""
    missing = [phrase for phrase, pattern in _patterns(phrases).items() if not re.search(pattern, flat(text))]
    yield from (f"should have: {phrase}\n  where it has: {_nearest(phrase, flat(text))}" for phrase in missing)
    if missing:
        return
    text = without(text, phrases)
    result = list(re.finditer(NUMBER, text))
    changes = difflib.SequenceMatcher(None, settings, [each[0] for each in result], autojunk=False).get_opcodes()
    for kind, i, j, k, end in changes:
        if kind != "equal":
            yield from (f"lacks the setting {number}" for number in settings[i:j])
            yield from (
                f"has an unknown number: … {text[max(0, each.start() - 30) : each.end() + 15]} …"
                for each in result[k:end]
            )


def without(text: str, phrases: list[str]) -> str:
    """A page in one line, without its phrases and whatever else may have numbers."""
    text = flat(text)
    for pattern in (*_patterns(phrases).values(), r"`[^`]*`", r"\]\([^)]*\)", NAME, YEAR):
        text = re.sub(pattern, "¤", text)
    return text


def _nearest(phrase: str, text: str) -> str:
    """The part of a text that is most like a phrase and as long."""
    words, n = text.split(), len(phrase.split())
    parts = (" ".join(words[i : i + n]) for i in range(max(len(words) - n, 0) + 1))
    return max(parts, key=lambda part: len(set(part.split()) & set(phrase.split())))


def _patterns(phrases: list[str]) -> dict[str, str]:
    expected = sorted({" ".join(phrase.split()) for phrase in phrases}, key=len, reverse=True)
    return {phrase: rf"(?<![\w.,-]){re.escape(phrase)}(?![\d%]|[.,]\d)" for phrase in expected}


def accept(page: str) -> None:
    """List the numbers of a page that are in no phrase as its settings."""
    path = ROOT / "results/settings.json"
    numbers = re.finditer(NUMBER, without(text_of(page), phrases(page)))
    listed = json.loads(path.read_text()) | {page: " ".join(each[0] for each in numbers)}
    path.write_text(json.dumps(listed, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def main(names: list[str]) -> int:
    if names[:1] == ["--accept"]:
        for page in names[1:]:
            accept(page)
        return 0
    wrong = 0
    for page in pages():
        if names and page not in names and module(page) not in names:
            continue
        result = list(problems(text_of(page), phrases(page), settings(page)))
        wrong += len(result)
        if result:
            print("\n  ".join([f"{page}:", *result]))
    print(f"{wrong} problems" if wrong else "all numbers are right")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
