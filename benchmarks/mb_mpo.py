"""Speed of MB-MPO's meta-step and of planning, with the paper's sizes on the half-cheetah."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.products import Shape, backward, best_seconds, forward
from benchmarks.timing import report, seconds
from onebody.algorithms import presets
from onebody.algorithms.maml.maml import CURVATURE
from onebody.algorithms.mb_mpo import mb_mpc, mb_mpo
from onebody.algorithms.mb_mpo.models import collect, fit
from onebody.learning.policies import for_each
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

FAMILY = registry.make("mbmpo/half-cheetah")
PAPER: mb_mpo.Config = dataclasses.replace(presets.preset("mb-mpo", "paper"), n_meta=1)
OBSERVATION, ACTION = FAMILY.body.observation_size, FAMILY.body.action_size
POLICY = (OBSERVATION, *PAPER.hidden, ACTION)
MODEL = (OBSERVATION + ACTION, *PAPER.model.hidden, OBSERVATION)


def products() -> list[Shape]:
    """Imagined episodes before and after the inner step; the inner step; the outer gradient, back through the inner
    step's forward and backward passes; products of the Fisher matrix on some rows; a step tried."""
    members, slots = PAPER.model.members, PAPER.meta_batch * PAPER.episodes
    imagined = forward(slots // members, MODEL) * members + forward(PAPER.episodes, POLICY) * PAPER.meta_batch
    rows = PAPER.episodes * FAMILY.horizon
    once = (forward(rows, POLICY) + backward(rows, POLICY)) * PAPER.meta_batch
    few = CURVATURE // PAPER.meta_batch
    some = (forward(few, POLICY) + backward(few, POLICY)) * PAPER.meta_batch
    tried = once + forward(rows, POLICY) * PAPER.meta_batch
    return imagined * FAMILY.horizon * 2 + once + once * 4 + some * 4 * PAPER.trpo.cg_iterations + tried


def meta_step(single: mb_mpo.State, half: mb_mpo.State) -> None:
    """With models in single and in half precision, beside products in single precision."""

    def step(state: mb_mpo.State) -> Any:
        return mb_mpo.meta_steps(state, jax.random.key(0), FAMILY, PAPER)[0].policy

    taken = seconds({"mb-mpo/meta-step": lambda: step(single), "mb-mpo/meta-step-bfloat16": lambda: step(half)}, 3)
    alone = best_seconds(products())
    rows = PAPER.meta_batch * PAPER.episodes * FAMILY.horizon
    for name, each in taken.items():
        detail = f"{each:.2f} s for {2 * rows:,} imagined steps and the update; matrix products alone {alone:.2f} s"
        report(name, each / alone, 1.6, "lower", detail)


def planning(state: mb_mpo.State, name: str, environments: int = 20) -> None:
    config: mb_mpc.Config = presets.preset("mb-mpc", "paper")
    planner = mb_mpc.Planner(state.models.members, FAMILY, config.plan)
    observation, noise = state.models.starts[:environments], jnp.zeros((environments, 1))
    act = jax.jit(lambda memory: planner(observation, jnp.zeros(0), memory, noise)[0])
    memory = planner.memory((environments,))
    taken = seconds({"plan": lambda: act(memory)}, 9)["plan"]
    steps = config.plan.steps * config.plan.candidates * environments
    report(name, taken / 60e-3, 1.0, "lower", f"{taken * 1e3:.0f} ms for {steps:,} predictions, of 60 ms")


def fitted(**model: Any) -> mb_mpo.State:
    """A state with models of some data."""
    config = dataclasses.replace(PAPER, model=dataclasses.replace(PAPER.model, **model))
    algorithm = mb_mpo.MBMPO(FAMILY, config, Simulator(FAMILY))
    state = algorithm.init(jax.random.key(0))
    explorers = for_each(state.policy, config.real_episodes)
    models, _ = collect(state.models, algorithm.simulator, explorers, jax.random.key(1))
    models, _ = fit(models, jax.random.key(2), dataclasses.replace(config.model, epochs=2))
    return mb_mpo.State(state.policy, state.adapted, models)


def main() -> None:
    single, half = fitted(), fitted(precision="bfloat16")
    meta_step(single, half)
    planning(single, "mb-mpc/plan")
    planning(half, "mb-mpc/plan-bfloat16")
    planning(fitted(precision="bfloat16", hidden=(256, 256)), "mb-mpc/plan-bfloat16-laptop")


if __name__ == "__main__":
    main()
