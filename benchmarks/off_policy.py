"""Gradient steps of SAC and DDPG on the half-cheetah, with the sizes of `paper` (DDPG's are those of MB-MPO's
comparison) and, DDPG, of Lillicrap et al. 2016, beside their matrix products."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from benchmarks.products import Shape, backward, best_seconds, forward, through
from benchmarks.timing import report, seconds
from onebody.algorithms import presets
from onebody.algorithms.model_free import ddpg, sac
from onebody.core import random
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

FAMILY = registry.make("mbmpo/half-cheetah")
OBSERVATION, ACTION = FAMILY.body.observation_size, FAMILY.body.action_size
STEPS = 100


def sac_products(config: sac.Config) -> list[Shape]:
    """Actions of the next states and their values; both critics; the policy, and its critics back to its actions."""
    n, critic = config.batch, (OBSERVATION + ACTION, *config.hidden, 1)
    actor = (OBSERVATION, *config.hidden, 2 * ACTION)
    evaluated = (forward(n, critic) + through(n, critic)) * 2
    learned = (forward(n, critic) * 2 + backward(n, critic)) * 2
    return forward(n, actor) * 2 + backward(n, actor) + evaluated + learned


def ddpg_products(config: ddpg.Config) -> list[Shape]:
    """The same with one critic."""
    n, critic = config.batch, (OBSERVATION + ACTION, *config.critic_hidden, 1)
    actor = (OBSERVATION, *config.hidden, ACTION)
    evaluated = forward(n, critic) + through(n, critic)
    return forward(n, actor) * 2 + backward(n, actor) + evaluated + forward(n, critic) * 2 + backward(n, critic)


def gradient_step(label: str, algorithm: Any, products: list[Shape], learn: Callable[[Any, Any, Any], Any]) -> None:
    """Of a state whose replay holds numbers.

    Args:
        learn: learner, newest rows and replay -> what `STEPS` gradient steps make of the learner.
    """
    state = algorithm.init(jax.random.key(0))
    drawn = jax.tree.map(lambda x: random.normal(jax.random.key(1), x.shape), state.replay.rows)
    visits = algorithm.config.n_iterations
    replay = dataclasses.replace(state.replay, rows=drawn, n_visits=state.replay.n_visits + visits)
    newest = jax.tree.map(lambda x: x[None, : replay.length], drawn)
    taken = seconds({label: lambda: learn(state.learner, newest, replay)}, 5)[label] / STEPS
    alone = best_seconds(products)
    detail = f"{taken * 1e3:.3f} ms, drawn from replay; its matrix products alone {alone * 1e3:.3f} ms"
    report(f"{label}/gradient-step", taken / alone, 1.6, "lower", detail)


def main() -> None:
    key = jax.random.key(0)
    config = dataclasses.replace(presets.preset("sac", "paper"), n_iterations=10, n_gradient=STEPS)
    algorithm = sac.SAC(FAMILY, config, Simulator(FAMILY))
    gradient_step("sac", algorithm, sac_products(config), lambda *of: sac.gradient_steps(of[0], of[2], key, config)[0])
    for label, sizes in {"ddpg": {}, "ddpg-400-300": {"hidden": (400, 300), "critic_hidden": (400, 300)}}.items():
        small = dataclasses.replace(presets.preset("ddpg", "paper"), n_iterations=10, episodes=2, n_gradient=STEPS // 2)
        own = dataclasses.replace(small, **sizes)
        algorithm = ddpg.DDPG(FAMILY, own, Simulator(FAMILY))
        gradient_step(label, algorithm, ddpg_products(own), lambda *of, own=own: ddpg.gradient_steps(*of, key, own)[0])


if __name__ == "__main__":
    main()
