"""The numbers of results/smt-1b."""

from collections.abc import Iterator

from results import raw

SMT, OMNI = "smt-1b/smt-s*", "omni-ant-vel/omni-s*"


def figures() -> Iterator[str]:
    stages, theirs = [raw.scores(SMT, stage=k).mean() for k in range(4)], raw.published("maml/ant-vel")
    zero_shot, predicted = raw.scores(SMT), raw.predicted(SMT)
    yield f"SMT's one seed has {raw.number(stages[0], 1)} without a real sample of the task"
    yield f"{raw.number(stages[3], 1)} after 12,000"
    yield f"MAML's published {theirs['maml']['1']} after its first stage"
    yield f"the published oracle ({theirs['oracle']})"
    yield f"its worst task has {raw.number(zero_shot.min(), 1)} at stage 0"
    yield f"predicted {raw.number(predicted.mean(), 1)} on average"
    yield f"OMNI's five seeds have {raw.spread(raw.scores(OMNI, samples=200_000), 1)} after 200,000 samples"
    yield f"in {raw.numbers(raw.minutes(SMT))} minutes"


GIVEN = ["velocities in [0, 3] m/s", "160,000 real samples (40 tasks)", "12,000", "95% interval"]
