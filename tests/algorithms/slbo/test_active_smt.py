"""Active task selection: which tasks are skipped, what a rating is, and the second model that it needs."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from onebody.algorithms import presets
from onebody.algorithms.protocol import iterations_held
from onebody.algorithms.slbo import active_smt
from onebody.algorithms.slbo.slbo import imagined_return
from onebody.learning.dynamics import Dynamics, loss, new_dynamics
from onebody.learning.train_state import TrainState
from onebody.runs import evaluate
from onebody.tasks import registry
from onebody.worlds.imagination import Imagination
from onebody.worlds.simulator import Simulator

FAMILY = registry.make("point/goal")
ACTIVE = presets.preset("smt-active", "smoke")


def active(**changes):
    return active_smt.ActiveSMT(FAMILY, dataclasses.replace(ACTIVE, **changes), Simulator(FAMILY))


@pytest.mark.parametrize("rating", ["models", "real"])
def test_tasks_below_the_quantile_of_the_first_ratings_are_skipped(rating):
    algorithm = active(rating=rating, quantile=1.0)
    state = algorithm.init(jax.random.key(0))
    recorded = []
    for i in range(2):
        state, metrics = algorithm.step(state, jax.random.key(i))
        recorded.append(metrics)
    assert state.shared.data.size == algorithm.simulator.samples
    assert "task/rating" not in recorded[0] and int(state.n_rated) == 1
    assert float(state.ratings[0]) == pytest.approx(recorded[1]["task/rating"])
    known = dataclasses.replace(state, ratings=jnp.full(1, 1e6))
    unknown = dataclasses.replace(state, ratings=jnp.full(1, -1e6))
    before = algorithm.simulator.samples
    _, skipping = algorithm.step(known, jax.random.key(3))
    assert skipping["task/skipped"] == ACTIVE.tries - 1
    middle = algorithm.simulator.samples
    assert algorithm.step(unknown, jax.random.key(3))[1]["task/skipped"] == 0
    rated = (ACTIVE.real_episodes if rating == "real" else 0) * FAMILY.horizon
    stage = ACTIVE.smt.slbo.real_episodes * FAMILY.horizon
    assert middle - before == stage + ACTIVE.tries * rated
    assert algorithm.simulator.samples - middle == stage + rated


def test_of_tasks_that_are_all_known_the_highest_rating_is_taken(monkeypatch):
    algorithm, rated = active(tries=5), []
    state = algorithm.step(algorithm.init(jax.random.key(0)), jax.random.key(1))[0]
    state = dataclasses.replace(state, ratings=jnp.full(1, 1e6), n_rated=jnp.array(1))

    def rate(self, shared, second, agents, task, key):
        rated.append((float(task[0, 0]), agents))
        return shared, agents, rated[-1][0]

    monkeypatch.setattr(active_smt.ActiveSMT, "_rate", rate)
    metrics = algorithm.step(state, jax.random.key(2))[1]
    assert len(rated) == 5 and rated[-1][0] != max(task for task, _ in rated)
    assert metrics["task/1"] == pytest.approx(max(task for task, _ in rated)) == metrics["task/rating"]


def test_a_rating_is_positive_where_the_model_promises_too_much():
    """Of a model that believes that every step ends at the goal, where the return is 0."""
    algorithm = active(rating="real")
    state = algorithm.step(algorithm.init(jax.random.key(0)), jax.random.key(1))[0].shared
    goal = jnp.array([[0.5, -0.5]])
    agents = algorithm.smt.warm_up(state, goal, jax.random.key(2))[1]
    dreams = eqx.tree_at(lambda s: s.model.module, state, at_goal())
    world = Imagination(FAMILY, dreams.model.module, dreams.starts)
    assert float(imagined_return(world, agents.policy, goal, jax.random.key(3), 4)[0]) == pytest.approx(0.0, abs=1e-3)
    monitored = algorithm._rate(dreams, None, agents, goal, jax.random.key(3))
    real = evaluate.real_return(FAMILY, agents.policy, goal).mean()
    assert monitored[2] == pytest.approx(-real, abs=1.5) and monitored[2] > 5
    assert monitored[0].data.size - state.data.size == ACTIVE.real_episodes * FAMILY.horizon


def test_a_rating_by_two_models_is_how_far_apart_their_imagined_returns_are():
    """Beside a model that believes that every step ends at the goal, where the return is 0; and beside itself."""
    algorithm = active()
    state = algorithm.step(algorithm.init(jax.random.key(0)), jax.random.key(1))[0]
    goal, key = jnp.array([[0.5, -0.5]]), jax.random.key(3)
    shared, agents, _ = algorithm.smt.warm_up(state.shared, goal, jax.random.key(2))
    world = Imagination(FAMILY, shared.model.module, shared.starts)
    imagined = float(imagined_return(world, agents.policy, goal, key, ACTIVE.smt.slbo.imagined_episodes)[0])
    for model, expected in ((at_goal(), -imagined), (shared.model.module, 0.0)):
        second = TrainState(model, state.second_model.optimizer_state)
        assert algorithm._rate(shared, second, agents, goal, key)[2] == pytest.approx(expected, abs=1e-2)
    assert imagined < -5 and algorithm.simulator.samples == state.shared.data.size


def test_the_second_model_is_a_network_of_its_own_that_learns_as_much():
    algorithm = active()
    state = algorithm.init(jax.random.key(0))
    assert active(rating="real").init(jax.random.key(0)).second_model is None
    for i in range(3):
        first, second = state.shared.model, state.second_model
        for ours, other in zip(first.module.net.weights, second.module.net.weights, strict=True):
            assert not np.allclose(ours, other, rtol=0.1)
        counts = (optax.tree.get(each.optimizer_state, "count") for each in (first, second))
        assert next(counts) == next(counts)
        np.testing.assert_array_equal(first.module.difference.std, second.module.difference.std)
        data = state.shared.data
        state, metrics = algorithm.step(state, jax.random.key(i))
    assert metrics["task/rating"] > 0
    windows = data.windows(jax.random.key(5), 512, 2)
    net = algorithm.init(jax.random.key(0)).second_model.module.net
    untrained = eqx.tree_at(lambda model: model.net, first.module, net)
    ours, others, least = (float(loss(model, windows)) for model in (first.module, second.module, untrained))
    assert others == pytest.approx(ours, rel=0.05) and others != ours and max(ours, others) < 0.9 * least


class AtGoal(Dynamics):
    def predict(self, observation, action):
        return jnp.broadcast_to(jnp.array([0.5, -0.5]), observation.shape)


def at_goal():
    model = new_dynamics(jax.random.key(0), 2, 2, ACTIVE.smt.slbo.model)
    return AtGoal(model.net, model.observation, model.difference)


def test_there_is_room_for_every_rated_episode():
    """Two tries of two episodes per task are one stage of four more, for each task that there is room for."""
    capacity = {
        rating: active(rating=rating).init(jax.random.key(0)).shared.data.capacity for rating in ("real", "models")
    }
    assert capacity["real"] - capacity["models"] == iterations_held(3) * 4 * FAMILY.horizon
