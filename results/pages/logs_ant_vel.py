"""The numbers of results/logs-ant-vel."""

from collections.abc import Iterator

from results import raw
from results.pages.logs_cheetah_vel import rows


def figures() -> Iterator[str]:
    yield from rows("logs-ant-vel")
    yield f"untrained policy has {raw.mean(raw.scores('omni-ant-vel/omni-s0', samples=0))}"
    yield f"with {raw.by_seed(raw.scores('omni-ant-vel/omni-s*', samples=200_000))} after 200,000 real samples"


GIVEN = [
    "100,000 transitions",
    "velocities in [0, 3] m/s",
    "1.0 m/s with Gaussian noise of 0.1",
    "40 held-out velocities",
]
