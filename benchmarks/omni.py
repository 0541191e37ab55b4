"""Speed of OMNI's parts on the half-cheetah, with the sizes of its `laptop` preset."""

import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.products import Shape, backward, best_seconds, forward, through
from benchmarks.timing import report, seconds
from onebody.algorithms import presets
from onebody.algorithms.omni import omni, policy_optimization
from onebody.algorithms.omni.policy_optimization import EPISODES, REFRESH
from onebody.core.types import Key
from onebody.runs import policy_file
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

FAMILY = registry.make("smt/cheetah-vel")
CONFIG: omni.Config = presets.preset("omni", "laptop")
OBSERVATION, ACTION = FAMILY.body.observation_size, FAMILY.body.action_size
MODEL = (OBSERVATION + ACTION, *CONFIG.model.hidden, 2 * OBSERVATION)
MEAN = (*MODEL[:-1], OBSERVATION)
POLICY = (OBSERVATION + FAMILY.space.size, *CONFIG.policy.hidden, 2 * ACTION)
VALUE = (*POLICY[:-1], 1)
STEPS = 50


def fit_products() -> list[Shape]:
    """A gradient step of all members."""
    return (forward(CONFIG.model.batch, MODEL) + backward(CONFIG.model.batch, MODEL)) * CONFIG.model.members


def update_products() -> list[Shape]:
    """Windows through policy and model and back, the value at their ends; two values' targets and gradient; and the
    share of an update in following the policy."""
    config, n = CONFIG.policy, CONFIG.policy.batch
    window = forward(n, POLICY) + backward(n, POLICY, inputs=True) + forward(n, MEAN) + through(n, MEAN)
    ends = (forward(n, VALUE) + through(n, VALUE)) * 2
    rows = config.value_steps * n
    fit = (forward(config.window * n, VALUE) + forward(rows, VALUE) + backward(rows, VALUE)) * 2
    follow = (forward(EPISODES, POLICY) + forward(EPISODES, MEAN)) * (FAMILY.horizon // REFRESH)
    return window * config.window + ends + fit + follow


def fit(state: omni.State, key: Key, steps: int) -> Any:
    return omni.fit_model(state, key, steps, CONFIG.model)


def optimize(state: omni.State, key: Key, updates: int) -> Any:
    rates = jnp.ones(updates)
    world = state.model.module, state.starts, state.data
    return policy_optimization.optimize(state.agent, *world, None, rates, key, FAMILY, CONFIG.policy)


def learning(state: omni.State) -> None:
    """Each part beside its matrix products."""
    key = jax.random.key(0)
    parts = {"ensemble-fit": (fit, fit_products()), "policy-update": (optimize, update_products())}
    for name, (part, shapes) in parts.items():
        taken = seconds({name: lambda part=part: part(state, key, STEPS)}, 5)[name] / STEPS
        products = best_seconds(shapes)
        detail = f"{taken * 1e3:.2f} ms a step; its matrix products alone {products * 1e3:.2f} ms"
        report(f"omni/{name}", taken / products, 2.0, "lower", detail)


def four_seeds(state: omni.State) -> None:
    """What an iteration computes, of four seeds in one program, beside one seed."""
    keys = jax.random.split(jax.random.key(0), 4)
    four = jax.tree.map(lambda x: jnp.stack([x] * 4), state)

    def learn(state: omni.State, key: Key) -> Any:
        return optimize(fit(state, key, STEPS * 4 // 5)[0], key, STEPS)

    together = jax.jit(jax.vmap(learn))
    taken = seconds({"one": lambda: learn(state, keys[0]), "four": lambda: together(four, keys)}, 3)
    detail = f"{STEPS * 4 // 5} steps of the models and {STEPS} of the policy: one seed {taken['one']:.2f} s, "
    report("omni/four-seeds", taken["four"] / taken["one"], 3.0, "lower", detail + f"four {taken['four']:.2f} s")


def new_policy(state: omni.State) -> None:
    """From ψ to what acts, without a prediction of its return; then an action of the saved policy with NumPy alone."""
    policies = jax.tree.map(lambda x: x[None], state.agent.policy.module)
    tasks = iter(np.random.default_rng(0).uniform(0, 2, (1000, 1)).astype(np.float32))
    observation = np.zeros(OBSERVATION, np.float32)
    with tempfile.TemporaryDirectory() as folder:
        saved = policy_file.load(policy_file.save(policies, np.ones(1, np.float32), Path(folder) / "policy.npz"))

    def adapt() -> np.ndarray:
        return policy_file.actor(policy_file.arrays(policies, next(tasks)))(observation)

    def act() -> None:
        for _ in range(1000):
            saved(observation)

    taken = seconds({"adapt": adapt, "act": act}, 20)
    report("omni/zero-shot", taken["adapt"] / 10e-3, 1.0, "lower", f"{taken['adapt'] * 1e3:.2f} ms, of 10 ms")
    report("omni/action", taken["act"] / 0.1, 1.0, "lower", f"{taken['act']:.4f} ms an action, of 0.1 ms")


def main() -> None:
    algorithm = omni.OMNI(FAMILY, CONFIG, Simulator(FAMILY))
    state = algorithm.init(jax.random.key(0))
    state, _ = algorithm._collect(state, FAMILY.space.held_out(20), 1, jax.random.key(1))
    learning(state)
    four_seeds(state)
    new_policy(state)
