"""The numbers of results/pearl-walker-params."""

from collections.abc import Iterator

from results import raw

OMNI = "pearl-walker-params/omni-s0"


def figures() -> Iterator[str]:
    scores, predicted, last = raw.scores(OMNI), raw.predicted(OMNI), raw.metrics(OMNI)[-1]
    yield f"{raw.mean(scores)} after 250,000 real samples"
    yield f"where its models predicted {raw.number(predicted.mean())}"
    yield f"its worst body has {raw.number(scores.min())}"
    yield f"With bodies of training it has {raw.number(last['real/deterministic_return'])} in the last iteration"


GIVEN = ["40 training bodies", "61 numbers", "726", "10 bodies", "29 minutes on one core"]
