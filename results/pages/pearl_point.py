"""The numbers of results/pearl-point."""

from collections.abc import Iterator

from results.pages.pearl_cheetah_vel import rl2


def figures() -> Iterator[str]:
    yield from rl2("pearl-point", (0.2, 0.5, 1), digits=1)


GIVEN = [
    "20 of them held out for tests",
    "4,000 samples per iteration, of 100 tasks with two episodes each",
    "250 iterations, 1 million samples",
    "first episode, seeds 0 1 2",
    "over 5 iterations up to there",
]
