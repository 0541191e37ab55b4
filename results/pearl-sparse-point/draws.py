"""Tests a training ten times more, each with other draws of z, into RUN/draws.json: python draws.py RUN

With the family's five exploring episodes, and with twenty, so that the posterior only has to know the goal again. And
the share of 100 episodes with z ~ N(0, I) that find each goal.
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

from onebody.runs import evaluate, folder

DRAWS = range(100, 110)
"""seeds of adaptation"""
EPISODES = 20
PRIOR = range(100, 200)
"""seeds of episodes with nothing seen"""


def result(record, state):
    """`[task]`"""
    algorithm, nothing = folder.build(record, tested=True), evaluate.MetaTest(stages=0)
    tests = [evaluate.meta_test(record | {"seed": seed}, algorithm, state, 0, nothing) for seed in PRIOR]
    return (np.array([test["stages"][0]["returns"] for test in tests]).max(axis=2) > 0).mean(axis=0).round(2).tolist()


def returns(record, state, exploring):
    """`[draw][stage][task]`"""
    algorithm = folder.build(record, tested=True)
    config = dataclasses.replace(algorithm.config, exploration_episodes=exploring)
    algorithm = dataclasses.replace(algorithm, config=config)
    tests = [
        evaluate.meta_test(record | {"seed": seed}, algorithm, state, 0, evaluate.MetaTest(stages=EPISODES))
        for seed in DRAWS
    ]
    return [[np.round(np.mean(stage["returns"], axis=1), 3).tolist() for stage in test["stages"]] for test in tests]


def main(run):
    record = folder.read_config(run)
    state = folder.last(run, record).state
    drawn = {f"{n} exploring": returns(record, state, n) for n in (5, EPISODES)}
    drawn["found with nothing seen"] = result(record, state)
    (run / "draws.json").write_text(json.dumps(drawn, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
