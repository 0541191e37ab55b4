"""The numbers of results/mbmpo-2."""

from collections.abc import Iterator

import numpy as np

from results import raw

BODIES = ("half-cheetah", "swimmer")
NAMES = {"mb-mpo": "MB-MPO", "me-trpo": "ME-TRPO", "mb-mpc": "MB-MPC (iCEM)"}
TRIALS = {
    "mb-mpo-meta-15-epochs-40": "MB-MPO, 15 meta-steps, models of 40 epochs at most",
    "mb-mpo-meta-30-episodes-50-epochs-40": "MB-MPO, 50 imagined episodes, models of 40 epochs at most",
    "mb-mpo-rewards-as-drawn": "MB-MPO, imagined rewards see actions as drawn",
    "me-trpo-epochs-40": "ME-TRPO, models of 40 epochs at most",
    "me-trpo-earlier-stop": "ME-TRPO, stops at the first check that fails",
}
"""on the half-cheetah"""
SHOWN = (8, 24, 48, 72, 96)
"""thousand real samples"""
HORIZON = 200


def returns(body: str, name: str, thousands: float) -> np.ndarray:
    """Returns without noise, before adaptation, `[seed]`."""
    return raw.scores(f"mbmpo-2-{body}/{name}-s*", samples=int(1000 * thousands)).mean(axis=1)


def with_noise(name: str) -> np.ndarray:
    """Mean return of the last iteration's real episodes, whose actions are sampled, on the half-cheetah, `[seed]`."""
    return np.array([raw.metrics(run)[-1]["real/return"] for run in raw.runs(f"mbmpo-2-half-cheetah/{name}-s*")])


def last(path: str) -> tuple[float, float]:
    """Thousand real samples and return of a training's last test."""
    (run,) = raw.runs(path)
    tested = raw.tests(run)
    return max(tested) / 1000, float(np.mean(tested[max(tested)][0]["returns"]))


def table() -> Iterator[str]:
    for body in BODIES:
        for name, title in NAMES.items():
            end = max(raw.tests(raw.runs(f"mbmpo-2-{body}/{name}-s*")[0])) / 1000
            cells = [raw.numbers(returns(body, name, n)) if n <= end else "" for n in SHOWN]
            if end < SHOWN[1]:
                cells[1] = f"{raw.numbers(returns(body, name, end))} (at {raw.number(1000 * end)})"
            yield raw.row(body, title, *cells)


def figures() -> Iterator[str]:
    yield from table()
    ours, theirs = (returns("half-cheetah", name, SHOWN[-1]) for name in ("mb-mpo", "me-trpo"))
    yield f"MB-MPO has {raw.numbers(ours)} and ME-TRPO {raw.numbers(theirs)}"
    apart = raw.number(ours.mean() - theirs.mean())
    yield f"means {raw.number(ours.mean())} and {raw.number(theirs.mean())}, {apart} apart"
    yield from effort()
    yield from equal_effort()
    yield from full_sizes()
    yield from published()
    yield from other_bodies()
    yield from fits()
    yield from trials()


def effort() -> Iterator[str]:
    config = raw.read("mbmpo-2-half-cheetah/mb-mpo-s0/config.json")["config"]
    each = config["meta_batch"] * config["episodes"] * HORIZON
    yield f"{raw.number(each)} imagined steps before the inner step and as many after it"
    config = raw.read("mbmpo-2-half-cheetah/me-trpo-s0/config.json")["config"]
    yield f"one of ME-TRPO {raw.number(config['episodes'] * HORIZON)}"
    runs = raw.runs("mbmpo-2-half-cheetah/me-trpo-s*")
    kept = [line["policy/steps"] for run in runs for line in raw.metrics(run)]
    yield f"in {kept.count(0)} of {len(kept)} iterations it kept the policy that it had"


EQUAL = {
    "MB-MPO, as above": "mbmpo-2-half-cheetah/mb-mpo-s*",
    "MB-MPO, α = 0": "mbmpo-2-equal/mb-mpo-alpha-0-s*",
    "ME-TRPO, as above": "mbmpo-2-half-cheetah/me-trpo-s*",
    "ME-TRPO, equal imagined steps, with its stopping rule": "mbmpo-2-equal/me-trpo-vote-s*",
    "ME-TRPO, equal imagined steps, no stopping rule": "mbmpo-2-equal/me-trpo-no-vote-s*",
}
TESTED = (8, 16, 24, 32, 40)
"""thousand real samples"""


def equal(name: str, thousands: int) -> np.ndarray:
    """Returns without noise, before adaptation, `[seed]`."""
    return raw.scores(EQUAL[name], samples=1000 * thousands).mean(axis=1)


def equal_effort() -> Iterator[str]:
    for name in EQUAL:
        yield raw.row(name, *(raw.numbers(equal(name, n)) for n in TESTED))
    config = raw.read("mbmpo-2-equal/me-trpo-no-vote-s0/config.json")["config"]
    yield f"beside one of ME-TRPO with {raw.number(config['episodes'] * HORIZON)}, {config['n_policy']} of them per iteration"
    ours, alone, as_above, ruled, free = ends = [equal(name, TESTED[-1]) for name in EQUAL]
    said = [f"{raw.numbers(each)} (mean {raw.number(each.mean())})" for each in ends]
    yield f"MB-MPO has {said[0]}, and {said[1]} without adaptation"
    yield f"ME-TRPO at equal imagined steps has {said[3]} with its stopping rule and {said[4]} without it, and {said[2]} with a sixteenth"
    best = np.max(ends[1:])
    assert ours.min() > best
    yield f"each seed of MB-MPO is above each of the others ({raw.number(ours.min())} beside at most {raw.number(best)})"
    early = {name: equal(name, 24) for name in EQUAL}
    yield f"24,000 samples do not show that order: {raw.numbers(early['MB-MPO, as above'])} beside {raw.numbers(early['MB-MPO, α = 0'])}"
    more = [raw.number(ours.mean() - each.mean()) for each in (np.concatenate([ruled, free]), alone, as_above)]
    yield f"{more[0]} more than ME-TRPO's six trainings and {more[1]} more than α = 0 ({more[2]} more than ME-TRPO as above"
    steps = [line["policy/steps"] for run in raw.runs("mbmpo-2-equal/me-trpo-vote-s*") for line in raw.metrics(run)]
    yield f"the policy that it keeps has on average {raw.number(np.mean(steps))} of the 30 updates"


def full_sizes() -> Iterator[str]:
    run = "mbmpo-2/mb-mpo-paper-s0"
    lines = raw.metrics(run)
    yield f"it was stopped after {raw.number(lines[-1]['real/samples'])} samples"
    yield raw.row("`paper`", *(raw.number(raw.scores(run, samples=1000 * n).mean()) for n in FULL))
    yield raw.row("`laptop`, three seeds", *(raw.numbers(returns("half-cheetah", "mb-mpo", n)) for n in FULL))
    yield f"{raw.number(lines[-1]['real/return'])} with noise in the last iteration"


FULL = (8, 24, 40, 56, 80)
"""thousand real samples"""


def published() -> Iterator[str]:
    theirs, ours = raw.published("mb-mpo/half-cheetah"), with_noise("mb-mpo")
    yield f"about {theirs['return']} after {raw.number(theirs['samples'])} samples"
    short = 1 - ours.mean() / theirs["return"]
    yield f"in the last iteration {raw.numbers(ours)}, on average {raw.number(ours.mean())}, {raw.number(100 * short)}% less"
    yield f"ME-TRPO's {raw.numbers(with_noise('me-trpo'))}"


def other_bodies() -> Iterator[str]:
    early = [raw.numbers(returns("half-cheetah", name, SHOWN[0])) for name in ("mb-mpc", "mb-mpo")]
    yield f"after 8,000 samples it has {early[0]} beside MB-MPO's {early[1]}"
    end = raw.to(returns("half-cheetah", "mb-mpc", 20))
    yield f"after 20,000 it has {end}"
    shooting, icem = (
        raw.numbers([raw.scores(run, samples=1000 * n).mean() for n in (2, 4, 6, 8)])
        for run in ("mbmpo-2/random-shooting-s0", "mbmpo-2-half-cheetah/mb-mpc-s0")
    )
    yield f"has {shooting} after 2,000, 4,000, 6,000 and 8,000 samples, one seed, where iCEM's seed 0 has {icem}"
    ours, theirs = (returns("swimmer", name, 24) for name in ("mb-mpo", "me-trpo"))
    yield f"({raw.to(ours)} beside {raw.to(theirs)} after 24,000)"
    assert all(np.all(returns("swimmer", "mb-mpo", n) > returns("swimmer", "me-trpo", n)) for n in (8, 16, 24, 32, 40, 48))
    yield "ahead of ME-TRPO with each seed up to 48,000 samples"
    both = np.concatenate([returns("swimmer", name, SHOWN[-1]) for name in ("mb-mpo", "me-trpo")])
    yield f"in the end both have {raw.to(both)}"


def fits() -> Iterator[str]:
    long, short = (
        [raw.metrics(run) for run in raw.runs(p)]
        for p in ("mbmpo-2-half-cheetah/mb-mpo-s*", "mbmpo-6/tailored-s*")
    )
    epochs = [raw.to([line["model/epochs"] for run in each for line in run[-10:]]) for each in (short, long)]
    errors = [raw.to([run[-1]["model/held_out_error"] for run in each], 2) for each in (short, long)]
    yield f"with 0.95 (the paper's) {epochs[0]} epochs in the last ten iterations"
    yield f"with 0.99 (the released comparison's) {epochs[1]}"
    yield f"the last models' held-out error is {errors[1]} in place of {errors[0]} standard deviations"
    before = raw.scores("mbmpo-6/tailored-s*", samples=96_000)
    yield f"MB-MPO had {raw.by_seed(before)} after 96,000 samples"
    apart = [
        abs(line["imagined/return"] - np.mean(tested[line["real/samples"]][0]["returns"]))
        for metrics, run in zip(long, raw.runs("mbmpo-2-half-cheetah/mb-mpo-s*"), strict=True)
        for tested in [raw.tests(run)]
        for line in metrics
        if line["real/samples"] >= 60_000 and line["real/samples"] in tested
    ]
    yield f"imagined returns are {raw.to(apart)} from the real ones"


def trials() -> Iterator[str]:
    for name, title in TRIALS.items():
        seeds = [raw.tests(run) for run in raw.runs(f"mbmpo-2/trials/{name}-s*")]
        reached = {n: [each[1000 * n][0]["returns"] for each in seeds if 1000 * n in each] for n in TRIED}
        yield raw.row(title, *(raw.numbers([np.mean(each) for each in reached[n]]) for n in TRIED))
    first, second, trpo = (
        last(f"mbmpo-2/trials/{n}")[1]
        for n in ("mb-mpo-meta-15-epochs-40-s0", "mb-mpo-meta-15-epochs-40-s1", "me-trpo-epochs-40-s0")
    )
    second = f"(a second seed {raw.number(second)} after 40,000, where it was stopped)"
    yield f"MB-MPO had {raw.number(first)} {second} and ME-TRPO {raw.number(trpo)}"
    name = "mbmpo-2/trials/mb-mpo-meta-30-episodes-50-epochs-40-s0"
    real, lines = raw.scores(name, samples=16_000).mean(), raw.metrics(name)
    imagined, stopped = raw.number(lines[3]["imagined/return"]), raw.number(lines[-1]["real/samples"])
    yield f"the real return was {raw.number(real)} after 16,000 samples, where the imagined one was {imagined}"
    yield f"it was stopped at {stopped}. Imagined rewards"
    name = "mbmpo-2/trials/mb-mpo-rewards-as-drawn-s1"
    with_them, without = (raw.scores(n, samples=32_000).mean() for n in (name, "mbmpo-6/tailored-s1"))
    yield f"{raw.number(with_them)} after 32,000 samples, where the same seed of Figure 6's reference had {raw.number(without)}"
    yield f"it was stopped at {raw.number(raw.metrics(name)[-1]['real/samples'])}."
    early = raw.runs("mbmpo-2/trials/me-trpo-earlier-stop-s*")
    steps = [line["policy/steps"] for run in early for line in raw.metrics(run)]
    yield f"ME-TRPO had {raw.by_seed(raw.scores('mbmpo-2/trials/me-trpo-earlier-stop-s*', samples=96_000))}"
    yield f"{steps.count(5)} of {len(steps)} iterations had five steps"


TRIED = (8, 24, 40, 72, 96)
"""thousand real samples"""
GIVEN = [
    "8,000 samples | 24,000 | 40,000 | 72,000 | 96,000",
    "fifty imagined episodes for each of the 20 tasks (200,000 steps before the inner step and as many after it), models of 2 × 512 units",
    "8,000 samples | 24,000 | 40,000 | 56,000 | 80,000",
    "(1,000 sequences of 10 actions, rewards discounted by 0.99)",
    "80,000 imagined steps before the inner step and 80,000 after it",
    "(α = 0)",
    "three seeds, to 40,000\nsamples",
    "run again up to 24,000 samples",
    "8,000 samples | 16,000 | 24,000 | 32,000 | 40,000",
    "After 40,000 samples",
    "8,000 samples | 24,000 | 48,000 | 72,000 | 96,000",
    "4,000 samples, one of MB-MPC (iCEM) 1,000",
    "After 96,000 samples",
    "From 60,000 samples on",
    "at most 200 epochs",
    "for 40 epochs (at first a fit has six batches per epoch, so 40 epochs are 240 steps)",
    "the released 30 meta-steps in place of 15",
    "With 15 meta-steps and 40 epochs",
    "30 meta-steps alone",
    "models of 40 epochs, with 50 imagined episodes",
    "for 25 steps",
    "With 0.95 and",
    "50 imagined episodes at `619250c`",
    "(0.8, fifteen times)",
    "a persistence of 0.99 and 500 epochs",
    "a persistence of 0.95",
]
