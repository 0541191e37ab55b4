"""Speed and memory of PEARL with the released sizes for the half-cheetah's velocities: 100 tasks, 16 × 256 rows."""

import dataclasses
import resource
import subprocess
import sys
from typing import Literal

import jax
import jax.numpy as jnp

from benchmarks.products import Shape, backward, best_seconds, forward, through
from benchmarks.timing import report, seconds
from onebody.algorithms import presets
from onebody.algorithms.context import pearl
from onebody.core import random
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

FAMILY = registry.make("pearl/cheetah-vel")
PAPER: pearl.Config = presets.preset("pearl", "released")
OBSERVATION, ACTION = FAMILY.body.observation_size, FAMILY.body.action_size
STEPS = 10


def products() -> list[Shape]:
    """A gradient step: encoder; both critics, also back to z; target value; policy; both critics of its actions, back
    to these; value."""
    rows, context_rows = PAPER.meta_batch * PAPER.batch, PAPER.meta_batch * PAPER.context_rows
    encoder = (OBSERVATION + ACTION + 1, *PAPER.encoder, 2 * PAPER.latent)
    critic = (OBSERVATION + ACTION + PAPER.latent, *PAPER.hidden, 1)
    evaluated = (OBSERVATION + PAPER.latent, *PAPER.hidden, 1)
    actor = (*evaluated[:-1], 2 * ACTION)
    inferred = forward(context_rows, encoder) + backward(context_rows, encoder)
    learned = (forward(rows, critic) + backward(rows, critic, inputs=True)) * 2
    acted = forward(rows, actor) + backward(rows, actor) + (forward(rows, critic) + through(rows, critic)) * 2
    return inferred + learned + acted + forward(rows, evaluated) * 2 + backward(rows, evaluated)


def full(n_iterations: int, precision: Literal["float32", "bfloat16"] = "float32") -> tuple[pearl.PEARL, pearl.State]:
    """A state whose replay holds numbers for the beginning and all visits of so many iterations."""
    config = dataclasses.replace(PAPER, n_iterations=n_iterations, n_gradient=STEPS, precision=precision)
    algorithm = pearl.PEARL(FAMILY, config, Simulator(FAMILY))
    state = algorithm.init(jax.random.key(0))
    drawn = jax.tree.map(lambda x: random.normal(jax.random.key(1), x.shape), state.replay.rows)
    replay = dataclasses.replace(state.replay, rows=drawn._replace(terminated=jnp.zeros_like(drawn.terminated)))
    return algorithm, dataclasses.replace(state, replay=replay)


def gradient_step() -> None:
    """Beside its matrix products alone, which are in single precision."""
    single, half = (full(5, precision) for precision in ("float32", "bfloat16"))

    def learn(made: tuple[pearl.PEARL, pearl.State]) -> object:
        algorithm, state = made
        return pearl.gradient_steps(state.learner, state.replay, jax.random.key(0), algorithm.config, False)[0]

    taken = seconds({"single": lambda: learn(single), "half": lambda: learn(half)}, 5)
    alone = best_seconds(products())
    for name, precision in (("pearl/gradient-step", "single"), ("pearl/gradient-step-bfloat16", "half")):
        each = taken[precision] / STEPS
        detail = f"{each * 1e3:.0f} ms, drawn from replay; its single-precision products alone {alone * 1e3:.0f} ms"
        report(name, each / alone, 1.6, "lower", detail)


def memory() -> None:
    """A process that holds the replay of a whole training, fills an iteration's rows in, and learns."""
    code = (
        "import jax; from benchmarks import pearl; "
        "from onebody.algorithms.context.pearl import gradient_steps, _visited; "
        f"a, s = pearl.full({PAPER.n_iterations}); "
        "rows, _ = a._visit(s.learner, s.tasks[:5], jax.random.key(0)); "
        "r = _visited(s.replay, jax.numpy.arange(5), rows); "
        "jax.block_until_ready(gradient_steps(s.learner, r, jax.random.key(0), a.config, False))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    gibibytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    rows = len(full(1)[1].tasks) * PAPER.initial_episodes * FAMILY.horizon
    rows += PAPER.n_iterations * PAPER.visited * 5 * FAMILY.horizon
    report("pearl/memory", gibibytes / 4, 1.0, "lower", f"{gibibytes:.2f} GiB at the most, of 4 GiB, {rows:,} rows")


def main() -> None:
    memory()
    gradient_step()


if __name__ == "__main__":
    main()
