"""The numbers of results/smt-3."""

from collections.abc import Iterator

from results import raw

SMT, ACTIVE = "smt-3/smt-s*", "smt-3/smt-active-s*"
TASKS = {5: 20_000, 20: 80_000, 30: 120_000}
"""training tasks, and the real samples they are"""


def figures() -> Iterator[str]:
    smt, active = ([raw.scores(pattern, samples=n) for n in TASKS.values()] for pattern in (SMT, ACTIVE))
    pairs = list(zip(active, smt))
    differences = [raw.number(ours.mean() - theirs.mean()) for ours, theirs in pairs]
    yield raw.row("SMT", *map(raw.by_seed, smt))
    yield raw.row("active SMT", *map(raw.by_seed, active))
    yield raw.row("active SMT less SMT, of the means", *differences)
    yield raw.row("worst task, SMT", *(raw.numbers(scores.min(1)) for scores in smt))
    yield raw.row("worst task, active SMT", *(raw.numbers(scores.min(1)) for scores in active))
    rises = [raw.number(scores[2].mean() - scores[1].mean()) for scores in (smt, active)]
    yield f"from 20 to 30 tasks by {rises[0]} and {rises[1]}"
    yield f"ahead by {differences[1]} in the mean at 20 tasks and by {differences[2]} at 30, and behind by {differences[0][1:]} at 5"
    yield f"in all, {raw.to(raw.minutes(ACTIVE))} minutes of training for active SMT and {raw.to(raw.minutes(SMT))} for SMT"
    skipped = [sum(line["task/skipped"] for line in raw.metrics(run)) for run in raw.runs(ACTIVE)]
    yield f"{raw.numbers(skipped)} tasks were skipped for the 30 that were trained on"


GIVEN = [
    "20 held-out tasks after 5, 20 and 30 training tasks of 4,000 real samples",
    "the paper takes 8,000",
    "| seeds 0 to 2 | 5 tasks | 20 tasks | 30 tasks |",
    "after 100 further gradient steps",
    "has 1,010 less 200 for each m/s of the task; 1,010 is the most",
    "The paper sees it help at 20 tasks",
    "still rise at 30 tasks",
]
