"""The published returns in docs/algorithms/oracle.md."""

from collections.abc import Iterator

from results import raw

TABLE = {
    "| half-cheetah, velocity in [0, 2] m/s | `smt/cheetah-vel` |": "maml/cheetah-vel",
    "| half-cheetah, forward or backward | `maml/cheetah-dir` |": "maml/cheetah-dir",
    "| ant, velocity in [0, 3] m/s | `smt/ant-vel` |": "maml/ant-vel",
    "| ant, forward or backward | `smt/ant-dir` |": "maml/ant-dir",
}


def figures() -> Iterator[str]:
    for families, key in TABLE.items():
        theirs = raw.published(key)
        yield f"{families} {theirs['oracle']} | {', '.join(str(theirs['maml'][step]) for step in '123')} |"
