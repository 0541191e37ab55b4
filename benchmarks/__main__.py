"""`make bench`: one JSON object a line. A ratio compares two things timed in turn in this very run."""

import dataclasses
import functools
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from mujoco.batch import Batch

from benchmarks import admrl, first_minute, mb_mpo, off_policy, omni, pearl, physics_share, side_by_side
from benchmarks.products import Shape, backward, best_seconds, forward
from benchmarks.timing import report, seconds
from onebody.algorithms.slbo import slbo, smt
from onebody.learning.actor_critic import ActorCritic
from onebody.runs import checkpoint
from onebody.tasks import registry
from onebody.tasks.family import never
from onebody.worlds.imagination import Imagination
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

FAMILY = registry.make("smt/cheetah-vel")
PAPER = slbo.StageConfig()
TASK = jnp.ones((1, 1))
OBSERVATION, ACTION = FAMILY.body.observation_size, FAMILY.body.action_size
POLICY = (OBSERVATION, *PAPER.hidden, ACTION)
MODEL = (OBSERVATION + ACTION, *PAPER.model.hidden, OBSERVATION)
VALUE = (OBSERVATION, *PAPER.value.hidden, 1)
ROWS = PAPER.imagined_episodes * FAMILY.horizon


def rollout_products() -> list[Shape]:
    step = forward(PAPER.imagined_episodes, POLICY) + forward(PAPER.imagined_episodes, MODEL)
    return step * FAMILY.horizon


def policy_products() -> list[Shape]:
    """One TRPO step: the gradient, ten products of the Gauss-Newton matrix, one length, one step tried."""
    there, back = forward(ROWS, POLICY), backward(ROWS, POLICY)
    return there * 3 + back + (there + back) * (PAPER.trpo.cg_iterations + 1)


def value_products() -> list[Shape]:
    """V of all states and next states, then the epochs of the fit."""
    batch, steps = PAPER.value.batch, PAPER.value.epochs * (ROWS // PAPER.value.batch)
    return forward(ROWS, VALUE) * 2 + (forward(batch, VALUE) + backward(batch, VALUE)) * steps


def model_products() -> list[Shape]:
    """One gradient step on a window of two: the second prediction starts from the first, whose gradient it passes."""
    batch = PAPER.model.batch
    return forward(batch, MODEL) * 2 + backward(batch, MODEL) + backward(batch, MODEL, inputs=True)


def imagined_rollout(shared: slbo.Shared, agents: ActorCritic) -> None:
    imagine = jax.jit(
        lambda model, policy, key: rollout(
            Imagination(FAMILY, model, shared.starts), policy, TASK, key, episodes=PAPER.imagined_episodes
        )
    )
    taken = seconds({"rollout": lambda: imagine(shared.model.module, agents.policy, jax.random.key(0))}, 15)["rollout"]
    products = best_seconds(rollout_products())
    detail = f"{ROWS / taken:,.0f} transitions/s; matrix products {products * 1e3:.1f} ms of {taken * 1e3:.1f} ms"
    report("imagination/20x200", products / taken, 0.7, "higher", detail)


def virtual_training(shared: slbo.Shared, agents: ActorCritic) -> None:
    def iteration() -> ActorCritic:
        return slbo.virtual_training(shared, agents, TASK, 1, jax.random.key(0), FAMILY, PAPER)[1]

    taken = seconds({"iteration": iteration}, 3)["iteration"]
    inner = (rollout_products() + policy_products() + value_products()) * PAPER.n_policy
    products = best_seconds(inner + model_products() * PAPER.n_model)
    detail = f"{taken:.2f} s an iteration of 100 + 40 steps; matrix products alone {products:.2f} s"
    report("virtual-training/iteration", taken / products, 1.6, "lower", detail)


def act(world: Simulator, tasks: jax.Array, keys: jax.Array, actions: np.ndarray) -> None:
    """Given actions [time, task, episode, action] in a simulator, as `rollout` does it."""

    def step(carry: tuple[np.ndarray, np.ndarray], action: np.ndarray) -> tuple[Any, Any]:
        age, observation, row = world.step(*carry, action)
        return (age, observation), row

    world.scan(step, world.reset(tasks, actions.shape[2], keys), actions)


def simulator(name: str, goal: float, n: int = 64, steps: int = 200) -> None:
    """Observations, rewards and ends of episodes beside the bare physics of the same trajectories."""
    family = registry.make(name)
    body = family.body
    falls = family.terminal
    if falls is not never:  # asked for, but without effect: an episode that began anew would have other physics
        falls = lambda observation, task: family.terminal(observation, task) & (observation[0] > 1e9)  # noqa: E731
    ours = Simulator(dataclasses.replace(family, horizon=10**6, terminal=falls))
    shape = (n, 1) if family.physics else (1, n)  # a task each, where dynamics vary
    tasks, keys = family.space.sample(jax.random.key(0), shape[0]), jax.random.split(jax.random.key(0), shape[0])
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, *shape, body.action_size)).astype(np.float32)
    ours.reset(tasks, shape[1], keys)
    qpos, qvel = ours._engine.qpos.copy(), ours._engine.qvel.copy()
    bare = Batch(body.model, n, 0)
    low, high = body.model.actuator_ctrlrange.T

    def run_bare() -> None:
        bare.reset()
        bare.bind("qpos")[:], bare.bind("qvel")[:] = qpos, qvel
        for action in actions:
            bare.bind("ctrl")[:] = (low + high) / 2 + (high - low) / 2 * action.reshape(n, -1)
            bare.step(nstep=body.frame_skip)

    taken = seconds({"ours": lambda: act(ours, tasks, keys, actions), "bare": run_bare}, 5)
    rate = {which: n * steps / value for which, value in taken.items()}
    detail = f"ours {rate['ours']:,.0f}, bare {rate['bare']:,.0f} steps/s, {n} at once, frame skip {body.frame_skip}"
    report(f"simulator/{name}", rate["ours"] / rate["bare"], goal, "higher", detail)


def gymnasium_beside_ours(folder: str, n: int = 64, steps: int = 200) -> None:
    family = dataclasses.replace(registry.make("pearl/cheetah-vel"), horizon=10**6)
    ours, tasks, keys = Simulator(family), jnp.ones((1, 1)), jax.random.split(jax.random.key(0), 1)
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 1, n, ACTION)).astype(np.float32)
    make = [functools.partial(gymnasium.make, "HalfCheetah-v5", xml_file=_quiet_xml(folder))] * n
    sync = gymnasium.vector.SyncVectorEnv(make)
    parallel = gymnasium.vector.AsyncVectorEnv(make, context="spawn")  # JAX does not survive a fork

    def run_vector(env: gymnasium.vector.VectorEnv) -> None:
        env.reset(seed=0)
        for action in actions:
            env.step(action[0])

    taken = seconds({"ours": lambda: act(ours, tasks, keys, actions), "sync": lambda: run_vector(sync)}, 5)
    taken |= seconds({"async": lambda: run_vector(parallel)}, 1)
    sync.close()
    parallel.close()
    rate = {name: n * steps / value for name, value in taken.items()}
    detail = ", ".join(f"{name} {value:,.0f}" for name, value in rate.items()) + " steps/s, half-cheetah, 64 at once"
    report("simulator/gymnasium", rate["ours"] / max(rate["sync"], rate["async"]), 2.2, "higher", detail)


def _quiet_xml(folder: str) -> str:
    """Gymnasium's half-cheetah without the deprecated attribute that each load warns of."""
    path = Path(gymnasium.__path__[0]) / "envs/mujoco/assets/half_cheetah.xml"
    quiet = Path(folder) / path.name
    quiet.write_text(path.read_text().replace('settotalmass="14"', ""))
    return str(quiet)


def memory_of_a_paper_run() -> None:
    """All sizes are the paper's and nothing grows later; only the numbers of iterations are cut."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--samples", "8000", "--quiet", "--config.n-warmup", "1", "--config.slbo.n-inner", "1"]
        command = ["train", "smt", FAMILY.id, "--preset", "paper", "--out", str(Path(folder) / "run"), *options]
        main = "import sys; from onebody.cli import main; sys.exit(main())"
        subprocess.run([sys.executable, "-c", main, *command], check=True, stdout=subprocess.DEVNULL)
    gibibytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    report("memory/paper-run", gibibytes / 2, 1.0, "lower", f"{gibibytes:.2f} GiB at the most, of 2 GiB")


def time_per_task(tasks: int = 24) -> None:
    """A task and its checkpoint, early against late in one run with the paper's sizes and few iterations."""
    config = smt.Config(n_warmup=1, slbo=dataclasses.replace(PAPER, n_inner=1, n_policy=5))
    algorithm = smt.SMT(FAMILY, config, Simulator(FAMILY))
    state, taken = algorithm.init(jax.random.key(0)), []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(tasks):
            began = time.perf_counter()
            state, _ = algorithm.step(state, jax.random.key(i))
            checkpoint.save(Path(folder), i, state, {})
            taken.append(time.perf_counter() - began)
    early, late = np.median(taken[2:10]), np.median(taken[-8:])
    detail = f"median {early:.2f} s over tasks 3-10, {late:.2f} s over tasks {tasks - 7}-{tasks}"
    report("smt/time-per-task", float(late / early), 1.15, "lower", detail)


def main() -> None:
    memory_of_a_paper_run()  # first: later children are larger
    first_minute.main()
    side_by_side.main()
    shared = slbo.new_shared(Simulator(FAMILY), PAPER, 10, jax.random.key(0))
    agents = slbo.new_agents(jax.random.key(1), 1, shared.model.module.observation, ACTION, PAPER)
    transitions = rollout(Simulator(FAMILY), agents.policy, TASK, jax.random.key(2), episodes=PAPER.real_episodes)
    shared, agents, _ = slbo.add_data(shared, agents, transitions)
    imagined_rollout(shared, agents)
    virtual_training(shared, agents)
    omni.main()
    physics_share.main()
    pearl.main()
    admrl.main()
    mb_mpo.main()
    off_policy.main()
    with tempfile.TemporaryDirectory() as folder:
        gymnasium_beside_ours(folder)
    for name in ("pearl/cheetah-vel", "pearl/ant-dir", "pearl/humanoid-dir", "smt/ant-vel", "smt/humanoid-vel"):
        simulator(name, 0.85)
    for name in ("pearl/walker-params", "pearl/hopper-params"):
        simulator(name, 0.7)
    time_per_task()


if __name__ == "__main__":
    main()
