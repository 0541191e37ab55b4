"""python -m results.fetch-reach.success RUN…: distances (m) to the goal at the end of episodes, in RUN/distances.json.

Two episodes of each held-out goal: of the run's deterministic policy, of its untrained policy, and of random actions.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np

from onebody.learning.policies import UniformPolicy, for_each
from onebody.runs import folder
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

TASKS, EPISODES = 40, 2


def distances(run: Path) -> dict[str, list[list[float]]]:
    """Distances at the end of episodes, each [task, episode]."""
    record = folder.read_config(run)
    algorithm = folder.build(record)
    untrained = folder.initial_state(record, algorithm)
    trained = folder.last(run, record).state
    family, tasks = algorithm.family, algorithm.family.space.held_out(TASKS)
    policies = {
        "trained": for_each(trained.agent.policy.module, len(tasks)),
        "untrained": for_each(untrained.agent.policy.module, len(tasks)),
        "random actions": for_each(UniformPolicy(family.body.action_size), len(tasks)),
    }
    world, result = Simulator(family), {}
    for name, each in policies.items():
        acts = name != "random actions"
        rows = rollout(world, each, tasks, jax.random.key(7), episodes=EPISODES, deterministic=acts)
        last = np.asarray(rows.next_observation)[:, -1, :, :3]
        result[name] = np.linalg.norm(last - np.asarray(tasks)[:, None], axis=-1).round(4).tolist()
    return result


if __name__ == "__main__":
    for each in map(Path, sys.argv[1:]):
        result = distances(each)
        (each / "distances.json").write_text(json.dumps(result))
        print(each.name, {name: f"{np.mean(np.array(x) < 0.05):.3f}" for name, x in result.items()})
