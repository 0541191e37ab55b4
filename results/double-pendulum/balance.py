"""python -m results.double-pendulum.balance RUN…: how long OMNI's policies balance, in RUN/balance.json.

Each held-out task has ten episodes of the deterministic policy, with initial states of their own; their lengths are in
control steps, for the family's horizon and for the 1,000 steps that Gymnasium allows.
"""

import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np

from onebody.learning.policies import for_each
from onebody.runs import folder
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

TASKS, EPISODES = 40, 10
LONG = 1000


def lengths(run: Path) -> dict[str, list[list[int]]]:
    """Lengths of episodes by horizon, each [task, episode]."""
    record = folder.read_config(run)
    algorithm = folder.build(record)
    state = folder.last(run, record, folder.initial_state(record, algorithm)).state
    tasks = algorithm.family.space.held_out(TASKS)
    policies, result = for_each(state.agent.policy, len(tasks)), {}
    for horizon in (algorithm.family.horizon, LONG):
        world = Simulator(dataclasses.replace(algorithm.family, horizon=horizon))
        transitions = rollout(world, policies, tasks, jax.random.key(7), episodes=EPISODES, deterministic=True)
        result[str(horizon)] = (np.argmax(transitions.terminated | transitions.truncated, axis=1) + 1).tolist()
    return result


if __name__ == "__main__":
    for each in map(Path, sys.argv[1:]):
        result = lengths(each)
        (each / "balance.json").write_text(json.dumps(result))
        print(each.name, {horizon: f"{np.mean(x) / int(horizon):.3f}" for horizon, x in result.items()})
