import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms import presets
from onebody.algorithms.omni import omni, policy_optimization
from onebody.algorithms.omni.first_order import FirstOrderConfig, Windows
from onebody.core.errors import OnebodyError
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

FAMILY = registry.make("point/goal")
CONFIG = presets.preset("omni", "smoke")


@pytest.fixture(scope="module")
def state():
    algorithm = omni.OMNI(FAMILY, CONFIG, Simulator(FAMILY))
    return algorithm.step(algorithm.init(jax.random.key(0)), jax.random.key(1))[0]


def optimize(state, rates, tasks=None):
    world = state.model.module, state.starts, state.data
    return policy_optimization.optimize(state.agent, *world, tasks, rates, jax.random.key(2), FAMILY, CONFIG.policy)


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


UPDATES = policy_optimization.REFRESH + 20
"""a whole round, and some"""


def test_there_is_an_update_for_each_rate(state):
    """With rates of zero but for one update, policy and values move if that one comes, be it the first or the last."""
    before = state.agent
    still, metrics = optimize(state, jnp.zeros(UPDATES))
    assert same(still.policy.module, before.policy.module) and same(still.values.module, before.values.module)
    count = lambda agent: int(agent.values.optimizer_state[1][0].count)  # noqa: E731
    assert count(still) - count(before) == UPDATES
    assert np.isfinite(list(metrics.values())).all()
    for one in (0, UPDATES - 1):
        moved, _ = optimize(state, jax.device_put(np.float32(np.arange(UPDATES) == one)))
        assert not same(moved.policy.module, before.policy.module)
        assert not same(moved.values.module, before.values.module)


def test_states_after_the_end_of_an_episode_are_never_drawn():
    """Episode i of 25 runs for i + 1 of 20 steps; its states say which it is, and its task, too."""
    alive = np.arange(20)[:, None] <= np.arange(25)
    place = np.float32(np.stack(np.meshgrid(np.arange(20), np.arange(25), indexing="ij"), axis=-1))
    zero = np.zeros((20, 25), np.float32)
    windows = Windows(place, place, zero, zero, np.float32(alive), zero, zero)
    draws = jax.jit(lambda *given: policy_optimization.Visited.along(*given).draw(jax.random.key(0), 20_000))
    drawn, tasks = (np.asarray(x).astype(int) for x in draws(windows, np.arange(25, dtype=np.float32)[:, None]))
    assert alive[drawn[:, 0], drawn[:, 1]].all() and (tasks[:, 0] == drawn[:, 1]).all()
    share = np.bincount(drawn[:, 0] * 25 + drawn[:, 1], minlength=500)[alive.reshape(-1)] * alive.sum() / 20_000
    assert share.min() > 0.5 and share.max() < 1.6


def test_optimization_for_one_task_does_not_begin_at_the_data(state):
    """Where other tasks led says little about where this one will."""
    spoiled = eqx.tree_at(lambda s: s.data.observation, state, jnp.full_like(state.data.observation, jnp.nan))
    rates = jnp.ones(CONFIG.n_updates)
    finite = [
        all(np.isfinite(x).all() for x in jax.tree.leaves(eqx.filter(optimize(spoiled, rates, tasks)[0], eqx.is_array)))
        for tasks in (jnp.array([[0.5, 0.5]]), None)
    ]
    assert finite == [True, False]


def test_shares_of_windows_beyond_one_are_refused():
    with pytest.raises(OnebodyError, match="not be more than 1 together"):
        FirstOrderConfig(from_start=0.6, from_data=0.6)
    with pytest.raises(OnebodyError, match="value_steps 3"):
        FirstOrderConfig(window=2)
