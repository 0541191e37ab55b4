"""What every algorithm promises (`algorithms/protocol.py`), for each of them: `smoke`, on a point robot."""

import dataclasses
import itertools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms import presets
from onebody.core.errors import OnebodyError
from onebody.runs import checkpoint, evaluate, policy_file
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator, Unsimulated

META = ("maml", "promp", "pearl", "maesn", "rl2")
"""Algorithms that need hidden tasks, those of pearl/point; the others have point/goal"""
ALGORITHMS = [name for name in presets.names() if name not in ("mb-unif", "mb-gauss")]  # AdMRL with other tasks
TASKS = jnp.array([[0.6, -0.3], [-0.5, 0.7]])
CHANGES = {
    **{name: {"meta_batch": len(TASKS)} for name in ("maml", "promp", "maesn", "rl2")},
    **{name: {"episodes": 1, "refine_episodes": 1} for name in ("trpo", "ppo", "acktr")},
    "mb-mpo": {"meta_batch": len(TASKS), "real_episodes": len(TASKS), "refine_episodes": 1},
    "ddpg": {"learning_rate": 1e-2},
    "sac": {"learning_rate": 1e-2},
}
"""Of `smoke`: adaptation has batches, and so programs, of training; and rates with which a stage of DDPG and SAC
changes actions"""


class Trained(NamedTuple):
    """An algorithm after one and after two iterations."""

    name: str
    algorithm: Any
    once: Any
    twice: Any


def made(name):
    family = registry.make("pearl/point" if name in META else "point/goal")
    config = dataclasses.replace(presets.preset(name, "smoke", family), **CHANGES.get(name, {}))
    return presets.algorithm(name)(family, config, Simulator(family))


def key(iteration):
    return jax.random.fold_in(jax.random.key(7), iteration)


@pytest.fixture(scope="module", params=ALGORITHMS)
def trained(request):
    algorithm = made(request.param)
    once, _ = algorithm.step(algorithm.init(key(0)), key(1))
    twice, metrics = algorithm.step(once, key(2))
    assert all(isinstance(value, float) and np.isfinite(value) for value in metrics.values())
    return Trained(request.param, algorithm, once, twice)


def arrays(state):
    """Every array as bytes; keys of randomness as their numbers."""

    def one(x):
        return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    return [np.asarray(one(x)).tobytes() for x in jax.tree.leaves(state) if hasattr(x, "dtype")]


def stages(trained, tasks, last=1):
    """Stages of adaptation after two iterations, and the real samples per task of each."""
    adapted, used = zip(*evaluate.stages_of(trained.algorithm, trained.twice, tasks, last, seed=3), strict=True)
    return adapted, used


class Adaptation(NamedTuple):
    """Two stages beyond the first, for all TASKS."""

    stages: Any
    used: Any
    """real samples per task, as the protocol of tests counts them"""
    taken: int
    """real samples of all tasks, as the simulator counts them"""
    before: list[bytes]
    """the state that it began with"""


@pytest.fixture(scope="module")
def adapted(trained):
    before, samples = arrays(trained.twice), trained.algorithm.simulator.samples
    result, used = stages(trained, TASKS, 2)
    return Adaptation(result, used, trained.algorithm.simulator.samples - samples, before)


@jax.jit
def actions(adapted, task, observation):
    """Actions of the policy of the first task, without noise."""
    policy = jax.tree.map(lambda x: x[0], adapted.policies)
    memory = policy.memory((len(observation),))
    return policy(observation, task, memory, jnp.zeros((len(observation), policy.noise_size)))[0]


OBSERVATION = np.float32([[0.1, 0.2], [-0.7, 0.4], [0.0, -1.0]])


def test_the_same_seed_gives_the_same_bytes(trained):
    again = made(trained.name)
    state, _ = again.step(again.init(key(0)), key(1))
    assert arrays(state) == arrays(trained.once)
    assert again.simulator.samples > 0


def test_a_resumed_run_gives_the_same_bytes(trained, tmp_path):
    """A state that was written to disk and read again goes on as the one that was not."""
    checkpoint.save(tmp_path, 1, trained.once, {})
    read = checkpoint.latest(tmp_path, made(trained.name).init(key(0)), pytest.fail).state
    state, _ = trained.algorithm.step(read, key(2))
    assert arrays(state) == arrays(trained.twice)


def test_a_state_is_read_without_computing_a_new_one(trained, tmp_path):
    """`init` can be traced, which is faster, for the structure that a state is read in."""
    if trained.name == "admrl":
        pytest.skip("AdMRL checks numbers in init: is there a gradient of the reward in the task")
    checkpoint.save(tmp_path, 1, trained.once, {})
    algorithm = made(trained.name)
    algorithm = dataclasses.replace(algorithm, simulator=Unsimulated(algorithm.family))
    read = checkpoint.latest(tmp_path, eqx.filter_eval_shape(algorithm.init, key(0)), pytest.fail).state
    assert arrays(read) == arrays(trained.once)
    assert jax.tree.structure(read) == jax.tree.structure(trained.once)
    assert algorithm.simulator.samples == 0


def test_adaptation_counts_real_samples_and_leaves_the_state_as_it_was(trained, adapted):
    used = adapted.used
    assert arrays(trained.twice) == adapted.before
    assert used[0] == 0 and used[2] == 2 * used[1] and adapted.taken == len(TASKS) * used[2]
    assert used[1] % trained.algorithm.family.horizon == 0


def test_a_task_adapts_as_it_would_alone(trained, adapted):
    alone, _ = stages(trained, TASKS[:1])
    for stage in range(2):
        one, other = (actions(each[stage], TASKS[0], OBSERVATION) for each in (adapted.stages, alone))
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_only_known_tasks_are_seen_before_a_real_sample(trained):
    """Stage 0 for one task and for another: alike where the task is hidden; where it is known, actions or what is
    predicted of them are different."""
    one, other = (stages(trained, task[None], 0)[0][0] for task in TASKS)
    acted = [actions(each, task, OBSERVATION) for each, task in zip((one, other), TASKS, strict=True)]
    differ = [np.abs(np.subtract(*acted)).max() > 1e-6]
    if one.predicted_return is not None:
        differ.append(bool(np.abs(np.subtract(one.predicted_return, other.predicted_return)).max() > 1e-3))
    assert any(differ) == trained.algorithm.task_is_known


def test_a_saved_policy_acts_the_same_in_numpy(trained, adapted, tmp_path):
    stage, path = adapted.stages[1], tmp_path / "policy.npz"
    policy = stage.policies
    if trained.name in ("mb-mpc", "omni-hidden"):
        with pytest.raises(OnebodyError, match="has no file"):
            policy_file.save(policy, np.asarray(TASKS[0]), path)
        return
    act = policy_file.load(policy_file.save(policy, np.asarray(TASKS[0]), path))
    expected = np.clip(actions(stage, TASKS[0], OBSERVATION), -1, 1)
    np.testing.assert_allclose(act(OBSERVATION[0]), expected[0], atol=1e-4)


def test_a_longer_training_has_arrays_of_the_same_shapes(trained):
    """And of the same types, before and after an iteration, so that it uses the same compiled programs."""
    algorithm = made(trained.name)
    longer = dataclasses.replace(algorithm, config=_longer(algorithm.config))
    assert longer.config.n_iterations == algorithm.config.n_iterations + 1
    leaves = [jax.tree.leaves(each) for each in (longer.init(key(0)), trained.once)]
    shapes = [[(x.shape, x.dtype, x.weak_type) for x in each] for each in leaves]
    assert shapes[0] == shapes[1]


def _longer(config):
    """The configuration, with one more iteration."""
    for inner in ("smt", "omni"):
        if hasattr(config, inner):
            return dataclasses.replace(config, **{inner: _longer(getattr(config, inner))})
    fields = {each.name for each in dataclasses.fields(config)}
    field = next(name for name in ("n_iterations", "n_outer", "n_tasks") if name in fields)
    return dataclasses.replace(config, **{field: getattr(config, field) + 1})


def test_stages_go_on_for_as_long_as_they_are_asked_for(trained):
    adapted = trained.algorithm.adapt(trained.twice, TASKS, jax.random.key(1))
    assert len(list(itertools.islice(adapted, 3))) == 3
