"""The numbers of results/mbmpo-7."""

from collections.abc import Iterator

from results import raw
from results.pages.mbmpo_6 import shown

SHOWN = (20_000, 40_000, 60_000)
REFERENCE = "mbmpo-6/tailored"
ROWS = {
    "reference": REFERENCE,
    "α 0": "mbmpo-7-rate/rate-0",
    "one model": "mbmpo-7-models/members-1",
    "10 meta-steps": "mbmpo-7-steps/steps-10",
}


def figures() -> Iterator[str]:
    for title, system in ROWS.items():
        yield raw.row(title, *(shown(system, n) for n in SHOWN))
    reference = {n: shown(REFERENCE, n) for n in SHOWN}
    alone, single = shown(ROWS["α 0"], 60_000), shown(ROWS["one model"], 40_000)
    yield f"without adaptation {alone} after 60,000 samples, where the reference has {reference[60_000]}"
    yield f"with one model in place of five {single} after 40,000, where it has {reference[40_000]}"
    one_model = [raw.metrics(run) for run in raw.runs(f"{ROWS['one model']}-s*")]
    yield f"({raw.number(one_model[1][-1]['imagined/return'])} after 40,000)"
    yield f"with 10 meta-steps per iteration {shown(ROWS['10 meta-steps'], 60_000)} after 60,000, one seed"
    yield f"`members-1` was stopped after {len(one_model[0])} iterations and {len(one_model[1])}"


GIVEN = [
    "the paper's persistence of 0.95 and at most 200 epochs; 15 iterations",
    "with α 0.001, 5 models and 30 meta-steps",
    "with 25 iterations",
    "after 20,000 samples | 40,000 | 60,000",
    "every 8,000 samples: at 20,000 and 60,000",
    "α 0.01, 10 models and 60 meta-steps",
]
