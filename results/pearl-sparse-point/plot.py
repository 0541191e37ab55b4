"""Draws `figure.svg`, from the root of the repository: python -m results.pearl-sparse-point.plot"""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Circle

from results import draw

HERE = Path(__file__).parent
RADIUS = 0.2
"""of the goals, m"""
SHOWN = 6
"""held-out goals whose paths are drawn"""
EPISODES = 10
"""after so many the policy is compared during training"""
EXPLORING = 5
NOTHING = "found with nothing seen"


def tests(run):
    """Its meta-tests, by real samples of training."""
    result = [json.loads(path.read_text()) for path in run.glob("evaluation-*.json")]
    return {test["training_samples"]: test for test in sorted(result, key=lambda test: test["training_samples"])}


def returns(test):
    """Of the one episode of each stage and task, `[stage, task]`; start and policy are deterministic."""
    return np.array([np.mean(stage["returns"], axis=1) for stage in test["stages"]])


def draws(path):
    """Returns of ten tests of the last checkpoint, `[draw, stage, task]`, with five exploring episodes and with twenty;
    the share of episodes with nothing seen that find each goal, `[task]`, where it was counted."""
    return {name: np.array(each) for name, each in json.loads((HERE / path).read_text()).items()}


def by_chance(result, episodes):
    """Share of goals that so many episodes find, and one more, all with z ~ N(0, I)."""
    return [np.mean(1 - (1 - result) ** (n + 1)) for n in episodes]


def found_again(drawn):
    """How often a goal is reached for the first time after the fifth episode or a later one, and how often of these by
    the next episode, too."""
    reached = drawn["5 exploring"][:, EXPLORING:] > 0
    first = reached[:, :-1] & (np.cumsum(reached, axis=1)[:, :-1] == 1)
    return first.sum(), (first & reached[:, 1:]).sum()


def learns(metrics):
    """After how many iterations the posterior's return is better than the prior's by 4, mean of ten; seconds of one."""
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    better = [row["real/return"] - row["real/prior_return"] for row in rows]
    after = [n for n in range(10, len(rows) + 1) if np.mean(better[n - 10 : n]) > 4]
    return after[0] if after else None, len(rows), np.mean([row["time/step"] for row in rows])


def draw_paths(place, test, task):
    """Where the policy of each stage goes."""
    place.add_patch(Arc((0, 0), 2, 2, theta1=0, theta2=180, color="0.8"))
    place.add_patch(Circle(test["stages"][0]["tasks"][task], RADIUS, color="C2", alpha=0.3))
    last = len(test["stages"]) - 1
    for stage in test["stages"]:
        number = stage["stage"]
        place.plot(*np.transpose(stage["paths"][task]), color=("C1" if number == 0 else str(0.8 * (1 - number / last))))
    place.set(xlim=(-1.3, 1.3), ylim=(-0.4, 1.3), aspect="equal", xticks=(), yticks=())


def main():
    runs = {run.name: tests(run) for run in sorted(HERE.glob("pearl-s*"))}
    figure = Figure(figsize=(12, 3 + 1.8 * len(runs)), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(3, 1.6 * len(runs)))
    learning, adapting, finding = above.subplots(1, 3)
    drawn = {name: draws(f"{name}/draws.json") for name in runs}
    for i, (name, result) in enumerate(runs.items()):
        curves = [(n, returns(test).mean(axis=1)) for n, test in result.items()]
        samples = [n / 1e6 for n, _ in curves]
        at_end = drawn[name]["5 exploring"]
        label = f"seed {i}, after {EPISODES} episodes"
        learning.plot(samples, [c[EPISODES] for _, c in curves], "o-", ms=3, color=f"C{i}", label=label)
        learning.plot(
            samples, [c[0] for _, c in curves], "o:", ms=3, color=f"C{i}", label=f"seed {i}, after none (control)"
        )
        adapting.plot(at_end.mean(axis=(0, 2)), "o-", ms=3, color=f"C{i}", label=f"seed {i}")
        finding.plot((at_end > 0).mean(axis=(0, 2)), "o-", ms=3, color=f"C{i}", label=f"seed {i}")
        chance = by_chance((at_end[:, 0] > 0).mean(), range(at_end.shape[1]))
        finding.plot(chance, ":", color=f"C{i}", label=f"seed {i}, one more episode than so many at random")
    learning.set(xlabel="million real samples of training", ylabel="sparse return, held-out goals")
    adapting.set(xlabel="episodes seen of the new task", ylabel="sparse return, held-out goals")
    finding.set(xlabel="episodes seen of the new task", ylabel="share of held-out goals found", ylim=(0, 1.02))
    learning.set_ylim(top=15)
    for place in (learning, adapting, finding):
        place.legend(fontsize=6)
    for places, result in zip(below.subplots(len(runs), SHOWN, squeeze=False), runs.values(), strict=True):
        for task, place in enumerate(places):
            draw_paths(place, list(result.values())[-1], task)
    draw.save(figure, HERE / "figure.svg")


if __name__ == "__main__":
    main()
