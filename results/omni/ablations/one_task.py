"""Policies for single tasks, all in the ensemble of one training: python one_task.py RUN > one-task-sSEED.json

conditioned: OMNI's policy as it is; refined: then UPDATES updates for the task alone, the best prediction kept (`--refine`);
scratch: a new policy and new values, SCRATCH updates for the task alone.

Runs at commit f58773f, of the trainings it reads.
"""

import itertools
import json
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp

from onebody.algorithms import omni, practice
from onebody.learning import ensemble, first_order
from onebody.runs import evaluate, folder

UPDATES, SCRATCH, TASKS = 1000, 3000, 8


def main():
    run = Path(sys.argv[1])
    record = folder.read_config(run)
    algorithm = folder.build(record, tested=True)
    found = folder.latest(run, record, folder.initial_state(record, folder.build(record)))
    state, family = found.state, algorithm.family
    fresh = algorithm.init(jax.random.key(1000 + record["seed"])).agent
    fresh = eqx.tree_at(lambda s: s.agent, state, first_order.renormalize(fresh, state.model.observation))
    rows = []
    for i, task in enumerate(family.space.held_out(TASKS)):
        key = jax.random.fold_in(jax.random.key(record["seed"]), i)

        def reached(adapted, task=task):
            real = evaluate.real_return(family, adapted.policies, task[None])
            return {"predicted": float(adapted.predicted_return[0]), "real": float(real.mean())}

        refined = itertools.islice(algorithm.refine(state, task, key), UPDATES // practice.REFRESH + 1)
        row = {"task": task.tolist(), "conditioned": reached(next(refined))}
        *_, last = refined
        practised, _ = algorithm._practise(fresh, task[None], ensemble.falling(SCRATCH), key)
        row |= {"refined": reached(last), "scratch": reached(algorithm._promise([practised], task[None], 0, key))}
        rows.append(row)
        print(row, file=sys.stderr)
    print(json.dumps({"seed": record["seed"], "updates": UPDATES, "scratch_updates": SCRATCH, "tasks": rows}))


if __name__ == "__main__":
    main()
