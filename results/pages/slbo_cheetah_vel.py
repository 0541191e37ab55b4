"""The numbers of results/slbo-cheetah-vel."""

from collections.abc import Iterator

import numpy as np

from results import raw

SMT, SLBO = "slbo-cheetah-vel/smt-s*", "slbo-cheetah-vel/slbo-s*"


def figures() -> Iterator[str]:
    zero_shot, alone = raw.scores(SMT), raw.scores(SLBO, stage=1)
    for name, scores in (
        ("untrained policy", raw.scores(SMT, samples=0)),
        ("SLBO alone, 4,000 samples of the task", alone),
        ("SMT zero-shot, 160,000 samples of other tasks", zero_shot),
        ("SMT stage 1, 4,000 samples of the task besides", raw.scores(SMT, stage=1)),
    ):
        yield raw.row(name, raw.mean(scores, 1), raw.by_seed(scores, 1), raw.worst(scores, 1))
    lowest, highest = zero_shot.mean(1).min(), alone.mean(1).max()
    yield f"the lowest SMT mean is {raw.number(lowest, 1)}, the highest SLBO mean {raw.number(highest, 1)}"
    above = np.sum(zero_shot.mean(0) > alone.mean(0))
    yield f"averaged over seeds, SMT is higher on {above} of the {zero_shot.shape[1]} tasks"

    early, predicted_early = raw.scores(SMT, samples=100_000).mean(1), raw.predicted(SMT, samples=100_000).mean(1)
    end, predicted = zero_shot.mean(1), raw.predicted(SMT)
    yield f"zero-shot means of {raw.numbers(early, 1)} at 100,000 training samples"
    yield f"seed 2 then fell from {raw.number(early[2], 1)} to {raw.number(end[2], 1)}"
    yield f"predicted {raw.number(predicted_early[1], 1)} at 100,000 samples and reached {raw.number(early[1], 1)}"
    yield f"predicted means are {raw.to(predicted.mean(1), 1)}"
    lowest = zero_shot[2].argmin()
    yield (
        f"seed 2's worst task has {raw.number(zero_shot[2, lowest])} where "
        f"{raw.number(predicted[2, lowest])} was predicted"
    )
    fast = np.array(raw.stages(SMT)[0]["tasks"])[:, 0] > 1.5
    yield f"predictions average {raw.to(predicted[:, fast].mean(1))} and returns {raw.to(zero_shot[:, fast].mean(1))}"
    minutes = [sum(line["time/step"] for line in raw.metrics(run)) / 60 for run in raw.runs(SMT)]
    yield f"Training took {raw.numbers(minutes)} minutes"


GIVEN = [
    "3 seeds",
    "the 4,000 real samples of each task",
    "Above 1.5 m/s",
    "240 TRPO steps",
    "300 TRPO steps after its samples",
    "240 before and 60 after",
]
