"""The numbers of results/bundled."""

from collections.abc import Iterator

from results import raw


def figures() -> Iterator[str]:
    yield f"without a real sample of them: {raw.mean(raw.scores('bundled/omni-s0'), 1)}"


GIVEN = ["after 100,000 real samples", "ten real episodes of each of 40 held-out velocities"]
