"""Gradient steps of SAC and DDPG with the paper's sizes on the half-cheetah, beside their matrix products."""

import dataclasses
from typing import Any

import jax

from benchmarks.products import Shape, backward, best_seconds, forward, through
from benchmarks.timing import report, seconds
from onebody.algorithms import ddpg, sac_baseline
from onebody.core import random
from onebody.runs import presets
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

FAMILY = registry.make("mbmpo/half-cheetah")
OBSERVATION, ACTION = FAMILY.body.observation_size, FAMILY.body.action_size
STEPS = 100


def sac_products(config: sac_baseline.Config) -> list[Shape]:
    """Actions of the next states and their values; both critics; the policy, and its critics back to its actions."""
    n, critic = config.batch, (OBSERVATION + ACTION, *config.hidden, 1)
    actor = (OBSERVATION, *config.hidden, 2 * ACTION)
    judged = (forward(n, critic) + through(n, critic)) * 2
    learned = (forward(n, critic) * 2 + backward(n, critic)) * 2
    return forward(n, actor) * 2 + backward(n, actor) + judged + learned


def ddpg_products(config: ddpg.Config) -> list[Shape]:
    """The same with one critic."""
    n, critic = config.batch, (OBSERVATION + ACTION, *config.critic_hidden, 1)
    actor = (OBSERVATION, *config.hidden, ACTION)
    judged = forward(n, critic) + through(n, critic)
    return forward(n, actor) * 2 + backward(n, actor) + judged + forward(n, critic) * 2 + backward(n, critic)


def gradient_steps(name: str, module: Any, kind: Any, products: list[Shape], **change: Any) -> None:
    """Of a state whose replay holds numbers for a training of 100,000 samples."""
    config = dataclasses.replace(presets.preset(name, "paper"), n_iterations=10, **change)
    algorithm = kind(FAMILY, config, Simulator(FAMILY))
    state = algorithm.init(jax.random.key(0))
    drawn = jax.tree.map(lambda x: random.normal(jax.random.key(1), x.shape), state.replay.rows)
    replay = dataclasses.replace(state.replay, rows=drawn, n_visits=state.replay.n_visits + 10)
    newest = () if name == "sac" else (jax.tree.map(lambda x: x[None, : replay.length], drawn),)
    step = lambda: module.improve(state.learner, *newest, replay, jax.random.key(0), config)[0]  # noqa: E731
    taken = seconds({name: step}, 5)[name] / STEPS
    alone = best_seconds(products)
    detail = f"{taken * 1e3:.3f} ms, drawn from replay; its matrix products alone {alone * 1e3:.3f} ms"
    report(f"{name}/gradient-step", taken / alone, 1.6, "lower", detail)


def main() -> None:
    sac, small = presets.preset("sac", "paper"), presets.preset("ddpg", "paper")
    gradient_steps("sac", sac_baseline, sac_baseline.SAC, sac_products(sac), n_gradient=STEPS)
    gradient_steps("ddpg", ddpg, ddpg.DDPG, ddpg_products(small), episodes=2, n_gradient=STEPS // 2)


if __name__ == "__main__":
    main()
