"""The numbers of README.md."""

from collections.abc import Iterator

from results.pages import docs_results


def figures() -> Iterator[str]:
    rows = docs_results.rows()
    for name in ("untrained", "smt", "omni", "maml adapted", "oracle"):
        yield rows[name]


GIVEN = ["40 held-out velocities", "0 is perfect", "95% interval", "Python ≥ 3.11", "1.5 GB"]
