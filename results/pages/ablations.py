"""The numbers of results/ablations."""

from collections.abc import Iterator

import numpy as np

from results import raw

FIRST_THREE = "omni-cheetah-vel/omni-s[012]"
ABLATED = 40_000
"""samples of an ablation"""
VARIANTS = {
    "members/members1": ("1 member", "`--config.model.members 1`"),
    "members/members8": ("8 members", "`--config.model.members 8`"),
    "window/window1": ("windows of 1 step", "`--config.policy.window 1 --config.policy.value-steps 1`"),
    "window/window5": ("windows of 5 steps", "`--config.policy.window 5`"),
    "window/window20": ("windows of 20 steps", "`--config.policy.window 20`"),
    "starts/p0": ("from p0 alone", "`--config.policy.from-start 1 --config.policy.from-data 0`"),
    "starts/data": ("from the data, and p0", "`--config.policy.from-start 0.1 --config.policy.from-data 0.9`"),
    "starts/visited": (
        "from where the policy comes, and p0",
        "`--config.policy.from-start 0.1 --config.policy.from-data 0`",
    ),
}


def figures() -> Iterator[str]:
    def row(name, options, scores, predicted):
        return raw.row(
            name, options, raw.mean(scores, 1), raw.by_seed(scores, 1), raw.worst(scores, 1), raw.mean(predicted, 1)
        )

    reference = raw.scores(FIRST_THREE, samples=ABLATED)
    yield row("as it is", "", reference, raw.predicted(FIRST_THREE, samples=ABLATED))
    result = {}
    for name, (words, options) in VARIANTS.items():
        pattern = f"ablations-{name}-s*"
        result[name] = raw.scores(pattern, samples=ABLATED)
        yield row(words, options, result[name], raw.predicted(pattern, samples=ABLATED))
    trpo = [raw.read(f"omni/ablations/trpo-s{seed}.json") for seed in range(3)]
    scores = np.array([np.mean(each["returns"], axis=1) for each in trpo])
    words, script = "TRPO in place of pathwise gradients, about the same time", "results/omni/ablations/trpo.py"
    yield row(words, f"`python {script} SEED`", scores, np.array([each["predicted"] for each in trpo]))

    assert all(np.all(result[name].mean(1) < reference.mean(1)) for name in ("starts/data", "starts/visited"))
    yield "either kind of state alone is lower than the mix with each seed"
    more = result["window/window20"].mean(1) - reference.mean(1)
    yield f"higher than ten with each seed, by {raw.numbers(more, 1)}"
    yield f"one member is lower than five by {raw.numbers(reference.mean(1) - result['members/members1'].mean(1), 1)}"
    gap = raw.predicted("ablations-members/members1-s*", samples=ABLATED).mean() - result["members/members1"].mean()
    yield f"its predictions are {raw.number(gap, 1)} too high"
    yield f"TRPO's mean is {raw.number(reference.mean() - scores.mean(), 1)} lower"

    up = "omni/ablations/collect-gap-s*"
    scores = raw.scores(up, samples=ABLATED)
    yield f"{raw.mean(scores, 1)}, worst task {raw.worst(scores, 1)}, "
    yield f"beside {raw.mean(reference[:1], 1)} and {raw.worst(reference[:1], 1)} with uniform tasks"
    gap, uniform = (
        raw.metrics(run)[9]["real/return"] for run in ("omni/ablations/collect-gap-s0", "omni-cheetah-vel/omni-s0")
    )
    yield f"({raw.number(gap)} in the last iteration, with exploration noise, where uniform tasks have {raw.number(uniform)})"

    alone = [raw.read(f"omni/ablations/one-task-s{seed}.json")["tasks"] for seed in range(3)]
    shared, refined, new = (
        [np.mean([task[kind]["real"] for task in tasks]) for tasks in alone]
        for kind in ("conditioned", "refined", "scratch")
    )
    yield f"the one policy for all tasks has {raw.numbers(shared, 1)}"
    yield f"the best prediction kept, {raw.numbers(refined, 1)}"
    yield f"in the same models, {raw.numbers(new, 1)}"
    yield from multi_step()
    yield from imagined_steps()


def multi_step() -> Iterator[str]:
    """Models fitted to one step and to four: real returns, and how far predictions are above them."""
    for body, digits in (("cheetah", 1), ("ant", 0)):
        one, four = (f"omni/ablations/{body}-{kind}-s*" for kind in ("one-step", "four-steps"))
        real = raw.by_seed(raw.scores(one), digits), raw.by_seed(raw.scores(four), digits)
        high = [raw.by_seed(raw.predicted(each) - raw.scores(each), digits) for each in (one, four)]
        yield f"{real[1]} beside {real[0]} with single steps, predictions {high[1]} too high beside {high[0]}"


def imagined_steps() -> Iterator[str]:
    """Imagined steps along the members' means, and drawn from their distributions."""
    pairs = {
        "ant-dir": ("omni/ablations/ant-dir-means-s*", "omni/ablations/ant-dir-samples-s*", 0),
        "cheetah-vel": ("omni/ablations/cheetah-one-step-s*", "omni/ablations/cheetah-samples-s*", 1),
    }
    for family, (means, samples, digits) in pairs.items():
        for words, pattern in (("means", means), ("samples", samples)):
            real, predicted = raw.scores(pattern), raw.predicted(pattern)
            seeds = " ".join(path.name.rsplit("-s", 1)[1] for path in raw.runs(pattern))
            yield raw.row(f"`{family}`", words, seeds, raw.by_seed(real, digits), raw.by_seed(predicted, digits))
    means, samples = (raw.scores(x).mean(1) for x in pairs["ant-dir"][:2])
    above, below = raw.predicted(pairs["ant-dir"][0]).mean(1) / means - 1, 1 - raw.predicted(pairs["ant-dir"][1]).mean(1) / samples
    yield f"predictions are {' and '.join(raw.number(100 * x) for x in below)}% below what is reached, where those along means are {' and '.join(raw.number(100 * x) for x in above)}% above"
    drift = raw.read("omni/ablations/drift.json")[0]
    for words, key in (("real", "real"), ("along means", "means"), ("along samples", "samples")):
        after = drift.get(f"{key}_after_own_data")
        yield raw.row(words, raw.numbers(drift[key]), raw.numbers(after) if after else "")
    yield raw.row("steps ahead", *drift["steps_ahead"])
    yield raw.row("imagined", *(raw.number(x, 2) for x in drift["imagined_reward"]))
    yield raw.row("real", *(raw.number(x, 2) for x in drift["real_reward"]))
    pendulum = [
        [round(m.get("real/deterministic_return", m["real/return"])) for m in raw.metrics(run)]
        for run in ("omni/ablations/double-pendulum-samples-s100", *raw.runs("double-pendulum/double-pendulum-s*"))
    ]
    of = [raw.numbers([each[i] for each in pendulum[1:]]) for i in (4, 6, 7)]
    demo = raw.read("omni/ablations/demo-samples-s0/three-tasks.json")
    reached = raw.numbers([np.mean(each) for each in demo["returns"]], 1)
    yield f"has {reached} at 0.4, 1.0 and 1.6 m/s, predicted {raw.numbers(demo['predicted'], 1)}"
    walker = raw.metrics("omni/ablations/walker2d-samples-s100")
    real, promised = (raw.numbers([m[f"{k}/deterministic_return"] for m in walker]) for k in ("real", "imagined"))
    yield f"it has {real} in the six iterations, predicted {promised}, where"
    yield f"has {pendulum[0][4]} in the fifth iteration"
    yield f"have {of[0]}, and {pendulum[0][6]} and {pendulum[0][7]} in the seventh and eighth ({of[1]} and {of[2]})"
    alone = {
        name: (raw.by_seed(raw.scores(run)), raw.by_seed(raw.predicted(run)))
        for name in ("layer-norm", "starts-in-agreement", "input-noise-too", "fifty-episodes")
        for run in [f"omni/ablations/ant-dir-{name}-s*"]
    }
    yield "layer normalisation in the models {} after 60,000 samples, predicted {}".format(*alone["layer-norm"])
    yield f"of the data's) {alone['starts-in-agreement'][0]} after 56,000"
    yield "input noise drawn, too {}, predicted {}".format(*alone["input-noise-too"])
    yield "in place of twenty have {} after 100,000 samples, predicted {}".format(*alone["fifty-episodes"])


GIVEN = [
    "has 40,000 samples",
    
    "did after 40,000 samples",
    "at 100,000 samples, eight tasks",
    "1000 updates more",
    "3000 updates for the task",
    "seeds 100 to 102, on a grid of 20 tasks",
    "64 windows of four steps",
    "in place of 256 single steps",
    "(seed 100 alone)",
    "40,000 samples of the half-cheetah",
    "80,000 of the ant",
    "a policy after 72,000 samples",
    "(seed 100, ten episodes",
    "and 1,000 gradient steps more",
    "a grid of 20 velocities",
    "the runs have 60,000 real samples, but that of seed 100 along means has 72,000",
    "seed 100) the deterministic",
    "[seeds 1 to 3]",
    "(seed 100, to 24,000 samples)",
    "had 31 10 105 183 163 101",
    "seed 0) has",
    "one seed (100) each",
    "99th percentile",
]
