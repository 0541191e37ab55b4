"""The numbers of results/omni-demo."""

from collections.abc import Iterator

from results import raw


ROWS = {
    "before": "before",
    "now": "new",
    "the same with 500 policy updates": "trials/updates-500",
    "the same with 500 policy updates, 18 iterations": "trials/longer",
}
TRIALS = {
    "halved": "halved batches alone",
    "shorter": "with fewer steps and higher learning rates",
    "shortest": "at doubled learning rates",
    "windows": "windows of 8 steps",
}


def figures() -> Iterator[str]:
    for label, name in ROWS.items():
        scores = raw.scores(f"omni-demo/{name}-s10*")
        yield raw.row(label, *(raw.number(score, 1) for score in scores.mean(axis=1)))
    for name, words in TRIALS.items():
        yield f"{words} {raw.mean(raw.scores(f'omni-demo/trials/{name}-s100'), 1)}"


GIVEN = [
    "`laptop` with 10 iterations; now it has 16 iterations with half the batches (128 transitions, 64 windows), 700 model "
    "steps and 650 policy updates in place of 1,000 and 700, and learning rates of 0.0015 and 0.001 in place of 0.001 and "
    "0.0005",
    "64,000 real samples in place of 40,000. Seeds 100 to 102",
    "from 0 to 2 m/s",
    "| | seed 100 | seed 101 | seed 102 |",
    "283, 236 and 240 before, 203, 189 and 183 now",
    "400 model steps and 280 policy updates",
    "windows of 8 steps",
    "on seed 100, with 10 iterations",
]
