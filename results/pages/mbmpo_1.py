"""The numbers of results/mbmpo-1."""

from collections.abc import Iterator

from results import raw

BODIES = ("half-cheetah", "swimmer")
NAMES = {"trpo": "TRPO", "ppo": "PPO", "ddpg": "DDPG", "acktr": "ACKTR"}
SHOWN = (50, 100, 250, 500, 1000)
"""thousand real samples"""
MODEL_BASED = 96
"""thousand real samples of MB-MPO's last test"""


def shown(pattern: str, thousands: int) -> str:
    """Returns without noise, of each seed."""
    return raw.by_seed(raw.scores(pattern, samples=1000 * thousands))


def figures() -> Iterator[str]:
    for body in BODIES:
        for name, title in NAMES.items():
            yield raw.row(body, title, *(shown(f"mbmpo-1-{body}/{name}-s*", n) for n in SHOWN))
        yield f"{shown(f'mbmpo-2-{body}/mb-mpo-s*', MODEL_BASED)} on the {body}"


GIVEN = [
    "50,000 samples | 100,000 | 250,000 | 500,000 | 1,000,000",
    "after 96,000 samples",
    "after every 50,000 samples",
]
