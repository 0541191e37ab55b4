"""How much of an iteration of `paper` the simulator takes, in algorithms that learn from real samples alone."""

import time
from typing import Any

import jax
import numpy as np

from benchmarks.timing import report
from onebody.algorithms import presets
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator


def iteration(name: str, on: str, goal: float, repeats: int = 3) -> None:
    """All real steps of one and all that is learned from them, the first iteration (compilation) apart."""
    family = registry.make(on)
    algorithm = presets.algorithm(name)(family, presets.preset(name, "paper", family), Simulator(family))
    state, _ = algorithm.step(algorithm.init(jax.random.key(0)), jax.random.key(0))
    engine: Any = algorithm.simulator._engine
    step, inside = engine.step, [0.0]

    def timed(action: np.ndarray) -> np.ndarray:
        began = time.perf_counter()
        result = step(action)
        inside[0] += time.perf_counter() - began
        return result

    engine.step = timed
    shares, rates = [], []
    for i in range(repeats):
        inside[0], samples, began = 0.0, algorithm.simulator.samples, time.perf_counter()
        state, _ = algorithm.step(state, jax.random.key(i))
        taken = time.perf_counter() - began
        shares.append(inside[0] / taken)
        rates.append((algorithm.simulator.samples - samples) / taken)
    detail = f"share of the time inside the physics; {np.median(rates):,.0f} real steps/s over a whole iteration, {on}"
    report(f"{name}/iteration", float(np.median(shares)), goal, "higher", detail)


def main() -> None:
    iteration("maml", "smt/cheetah-vel", 0.7)
    iteration("ppo", "mbmpo/half-cheetah", 0.6)
    iteration("rl2", "pearl/cheetah-vel", 0.6)


if __name__ == "__main__":
    main()
