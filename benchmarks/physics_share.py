"""How much of a meta-iteration of MAML the simulator takes, with the paper's sizes on the half-cheetah."""

import time
from typing import Any

import jax
import numpy as np

from benchmarks.timing import report
from onebody.algorithms.maml import MAML
from onebody.runs import presets
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

FAMILY = registry.make("smt/cheetah-vel")


def main(repeats: int = 3) -> None:
    """320,000 real steps and all that is learned from them, the first iteration (compilation) apart."""
    algorithm = MAML(FAMILY, presets.preset("maml", "paper"), Simulator(FAMILY))
    policy, _ = algorithm.step(algorithm.init(jax.random.key(0)), jax.random.key(0))
    engine: Any = algorithm.simulator._engine
    step, inside = engine.step, [0.0]

    def timed(action: np.ndarray) -> np.ndarray:
        began = time.perf_counter()
        found = step(action)
        inside[0] += time.perf_counter() - began
        return found

    engine.step = timed
    shares, rates = [], []
    for i in range(repeats):
        inside[0], samples, began = 0.0, algorithm.simulator.samples, time.perf_counter()
        policy, _ = algorithm.step(policy, jax.random.key(i))
        taken = time.perf_counter() - began
        shares.append(inside[0] / taken)
        rates.append((algorithm.simulator.samples - samples) / taken)
    detail = f"share of the time inside the physics; {np.median(rates):,.0f} real steps/s over a whole iteration"
    report("maml/iteration", float(np.median(shares)), 0.7, "higher", detail)


if __name__ == "__main__":
    main()
