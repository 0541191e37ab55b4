"""Tests a training ten times more, each with other draws of z, into RUN/draws.json: python draws.py RUN"""

import json
import sys
from pathlib import Path

import numpy as np

from onebody.runs import evaluate, folder

DRAWS = range(100, 110)
"""seeds of adaptation"""


def main(run):
    record = folder.read_config(run)
    algorithm, state = folder.build(record, tested=True), folder.last(run, record, folder.untrained(record)).state
    tests = [
        evaluate.meta_test(record | {"seed": seed}, algorithm, state, 0, evaluate.MetaTest(stages=20)) for seed in DRAWS
    ]
    returns = [[np.round(np.mean(stage["returns"], axis=1), 3).tolist() for stage in test["stages"]] for test in tests]
    (run / "draws.json").write_text(json.dumps({"returns": returns}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
