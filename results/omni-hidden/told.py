"""Returns of OMNI that is told the task, from the checkpoints of omni-hidden: python told.py RUN …

Both algorithms train in the same way, so a training run of omni-hidden is one of OMNI. Writes `RUN/told.json`: mean return
of ten real episodes with the deterministic policy for each held-out task, and what the models predicted, with intervals.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np

from onebody.runs import evaluate, folder

for run in map(Path, sys.argv[1:]):
    record = folder.read_config(run)
    algorithm = folder.build(record, tested=True)
    state = folder.last(run, record).state
    tasks = evaluate.HELD_OUT.of(algorithm.family)
    adapted = next(algorithm.omni.adapt(state, tasks, jax.random.key(record["seed"])))
    returns = evaluate.real_return(algorithm.family, adapted.policies, tasks).mean(1)
    values = {"tasks": tasks, "returns": returns, "predicted": adapted.predicted_return}
    result = {name: np.asarray(x, float).tolist() for name, x in values.items()}
    result["predicted_intervals"] = np.asarray(adapted.predicted_interval, float).tolist()
    (run / "told.json").write_text(json.dumps(result))
    print(run, returns.mean(), adapted.predicted_return.mean())
