"""`python -m tests.touched [FILE…]`: the test files of these files, by default of all that differ from the last commit.

For a module of `src/onebody` these are the test file at its place in `tests/`, those that import it, and for an
algorithm also the contracts of all algorithms.
"""

import re
import subprocess
import sys
from pathlib import Path

TESTS = Path("tests")
SOURCE = Path("src")


def changed() -> list[str]:
    """Files that differ from the last commit, new ones included."""
    commands = (["git", "diff", "--name-only", "HEAD"], ["git", "ls-files", "--others", "--exclude-standard"])
    return [line for command in commands for line in subprocess.check_output(command, text=True).splitlines()]


def of(path: Path) -> set[Path]:
    """Test files of one file."""
    if path.parts[0] == "tests":
        return set(path.parent.rglob("test_*.py")) if path.name == "conftest.py" else {path}
    if path.suffix == ".py" and path.parts[0] == "src":
        package = path.relative_to(SOURCE).with_suffix("").parts
        own = TESTS.joinpath(*package[1:-1], f"test_{package[-1].lstrip('_')}.py")
        contracts = {TESTS / "algorithms/test_contracts.py"} if "algorithms" in package else set()
        return {own} | contracts | {test for test in TESTS.rglob("test_*.py") if imports(test, package)}
    if path.parts[0] in ("docs", "results") or path.suffix == ".md" or path.name == "mkdocs.yml":
        run = {TESTS / "test_tutorials.py"} if "tutorials" in path.parts else set()
        return {TESTS / "test_docs.py", TESTS / "test_results.py"} | run
    return set()


def imports(test: Path, package: tuple[str, ...]) -> bool:
    """Whether a test imports a module, as `from onebody.a import b`, `from onebody.a.b import …` or `import …`."""
    whole, parent, name = ".".join(package), ".".join(package[:-1]), package[-1]
    text = test.read_text()
    direct = rf"^\s*(from|import) {re.escape(whole)}\b(?!\.)"
    by_name = rf"^\s*from {re.escape(parent)} import [^\n]*\b{re.escape(name)}\b"
    return bool(re.search(f"{direct}|{by_name}", text, re.MULTILINE))


def main() -> None:
    """Print the test files, one per line."""
    found = set().union(*(of(Path(name)) for name in sys.argv[1:] or changed()))
    print(*sorted(str(test) for test in found if test.exists() and test.name.startswith("test_")), sep="\n")


if __name__ == "__main__":
    main()
