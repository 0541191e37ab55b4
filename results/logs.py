"""The logs of the studies logs-cheetah-vel and logs-ant-vel, made from a run of OMNI whose seed these do not use.

    python -m results.logs RUN --to FOLDER

`mixture.npz` holds the real samples of the run, and therefore those of all its policies, from the untrained to the last
one, in tasks drawn from p(ψ). `random.npz` holds episodes of uniformly random actions. `expert.npz` holds episodes of
the last policy for one task, with Gaussian noise added to its actions. All three have equally many transitions.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

import onebody
from onebody.runs.logged_export import export
from onebody.worlds.gym import VectorEnv

EXPERT_TASK = 1.0
"""velocity (m/s) of the expert"""
EXPERT_NOISE = 0.1
"""standard deviation of the noise on the expert's actions, which are in [-1, 1]"""
COPIES = 20
"""robots that are simulated at once"""


def make(run: Path, to: Path) -> None:
    """Write the three logs of a run into a folder."""
    to.mkdir(parents=True, exist_ok=True)
    rows = export(run, str(to / "mixture.npz"))
    loaded, rng = onebody.load(run), np.random.default_rng(0)
    expert, size = loaded.policy(EXPERT_TASK), loaded.algorithm.family.body.action_size
    envs = VectorEnv(loaded.algorithm.family, COPIES, EXPERT_TASK)

    def random(observation: np.ndarray) -> np.ndarray:
        return rng.uniform(-1, 1, (len(observation), size)).astype(np.float32)

    def noisy(observation: np.ndarray) -> np.ndarray:
        noise = EXPERT_NOISE * rng.standard_normal((len(observation), size))
        return np.clip(expert(observation) + noise, -1, 1).astype(np.float32)

    for name, act in (("random", random), ("expert", noisy)):
        np.savez(to / f"{name}.npz", **episodes(envs, rows // COPIES, act))


def episodes(envs: VectorEnv, steps: int, act: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    """Transitions of all copies by the names of a log's arrays, [row, ...], each copy's in consecutive rows."""
    observation, _ = envs.reset(seed=0)
    rows = []
    for _ in range(steps):
        action = act(observation)
        following, _, terminated, truncated, info = envs.step(action)
        ended = terminated | truncated
        last = following.copy()
        for i in np.flatnonzero(ended):
            last[i] = info["final_obs"][i]
        rows.append((observation, action, last, ended))
        observation = following
    names = ("observation", "action", "next_observation", "ends")
    columns = (np.stack(column, axis=1) for column in zip(*rows, strict=True))
    log = {name: each.reshape(-1, *each.shape[2:]) for name, each in zip(names, columns, strict=True)}
    log["ends"][steps - 1 :: steps] = True
    return log


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    given = parser.parse_args()
    make(given.run, given.to)
