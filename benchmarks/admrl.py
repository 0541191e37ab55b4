"""What a step of AdMRL's task costs beside a stage of SLBO, with the paper's sizes on the hopper."""

import dataclasses

import jax

from benchmarks.timing import report, seconds
from onebody.algorithms import presets
from onebody.algorithms.slbo import admrl, slbo
from onebody.tasks import registry
from onebody.worlds.imagination import Imagination
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

INNER = 2
"""iterations of virtual training that are timed, of the many of a stage"""


def main() -> None:
    family, config = registry.make("admrl/hopper-2d"), presets.preset("admrl", "paper")
    stage = config.smt.slbo
    algorithm = admrl.AdMRL(
        family, dataclasses.replace(config, smt=dataclasses.replace(config.smt, n_tasks=1)), Simulator(family)
    )
    state = algorithm.init(jax.random.key(0))
    agents = slbo.new_agents(
        jax.random.key(1), 1, state.shared.model.module.observation, family.body.action_size, stage
    )
    transitions = rollout(
        algorithm.simulator, agents.policy, state.task, jax.random.key(2), episodes=stage.real_episodes
    )
    shared, agents, _ = slbo.add_data(state.shared, agents, transitions)
    world, key = Imagination(family, shared.model.module, shared.starts), jax.random.key(3)
    config = dataclasses.replace(config, implicit=dataclasses.replace(config.implicit, tolerance=1e-30))

    def ascend() -> object:
        """With all iterations of conjugate gradient; without the real episodes, which are samples, not compute."""
        result = admrl._gradient(world, state.task, agents, transitions, transitions, key, config)
        return result, slbo.add_data(shared, agents, transitions)

    def virtual_training() -> object:
        return slbo.virtual_training(shared, agents, state.task, INNER, key, family, stage)[1]

    taken = seconds({"ascend": ascend, "virtual_training": virtual_training}, 3)
    whole = taken["virtual_training"] / INNER * stage.n_inner
    detail = f"{taken['ascend']:.2f} s beside {whole:.1f} s, {stage.n_inner} times an iteration of virtual training"
    report("admrl/step", taken["ascend"] / whole, 0.25, "lower", detail)
