import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms import active_smt, admrl
from onebody.algorithms.slbo import imagined_return
from onebody.core.errors import OnebodyError
from onebody.learning.dynamics import Dynamics
from onebody.runs import evaluate, presets
from onebody.tasks import registry
from onebody.tasks.space import Box, FiniteSet
from onebody.worlds.imagination import Imagination
from onebody.worlds.simulator import Simulator

FAMILY = registry.make("point/goal")
SMOKE = presets.preset("admrl", "smoke")


def make(family=FAMILY, **changes):
    return admrl.AdMRL(family, dataclasses.replace(SMOKE, **changes), Simulator(family))


@pytest.fixture(scope="module")
def two_steps():
    algorithm = make()
    first = algorithm.init(jax.random.key(0))
    second, _ = algorithm.step(first, jax.random.key(1))
    third, metrics = algorithm.step(second, jax.random.key(2))
    return algorithm, (first, second, third), metrics


def test_the_gradients_real_samples_are_counted_and_kept(two_steps):
    algorithm, (_, second, third), _ = two_steps
    per_task = (SMOKE.smt.slbo.real_episodes + 2 * SMOKE.real_episodes) * FAMILY.horizon
    assert algorithm.simulator.samples == 2 * per_task
    assert (int(second.shared.data.size), int(third.shared.data.size)) == (per_task, 2 * per_task)
    assert third.shared.data.capacity >= SMOKE.n_iterations * per_task


def test_the_task_goes_up_the_gradient_and_stays_in_the_space(two_steps):
    _, states, metrics = two_steps
    np.testing.assert_allclose(states[0].task, [[0.3, 0.3]], rtol=1e-6)
    assert (metrics["task/1"], metrics["task/2"]) == pytest.approx(states[1].task[0].tolist())
    assert metrics["gap/solved"] == 1 and metrics["gap/residual"] < 0.05 and metrics["gap/implicit"] > 0
    assert all(FAMILY.space.contains(state.task[0]) for state in states)
    moved = np.linalg.norm(states[2].task - states[1].task)
    assert 0 < moved <= metrics["gap/direct"] + metrics["gap/implicit"] + 1e-5


@pytest.mark.parametrize(
    ("residual", "wanted"), [(0.1, [0.5, 3.0]), (0.9, [0.3, 2.5])], ids=["both terms", "not solved: the direct one"]
)
def test_the_step_by_hand(two_steps, monkeypatch, residual, wanted):
    """From (0.2, 2) in [-1, 1] x [1, 3] (half: 1): direct (0.1, 0.5), implicit (0.2, 5), at a rate of 1, cut off at 3.
    A space of twice the length doubles a step twice: by its unit, and by the gradient in it."""
    _, (_, second, _), _ = two_steps
    family = dataclasses.replace(FAMILY, id="test/box", space=Box((-1.0, 1.0), (1.0, 3.0)))
    terms = jnp.array([0.1, 0.5]), jnp.array([0.2, 5.0]), jnp.array(residual)
    monkeypatch.setattr(admrl, "_gradient", lambda *_: terms)
    state = dataclasses.replace(second, task=jnp.array([[0.2, 2.0]]))
    after, metrics = make(family).step(state, jax.random.key(2))
    np.testing.assert_allclose(after.task[0], wanted, rtol=1e-5)
    assert metrics["gap/solved"] == (residual < 0.5) and metrics["gap/residual"] == pytest.approx(residual)
    wide = dataclasses.replace(family, space=Box((-2.0, -100.0), (2.0, 300.0)))
    after, _ = make(wide, rate=0.25).step(state, jax.random.key(2))
    assert float(after.task[0, 0]) == pytest.approx(0.2 + 0.25 * 4 * (wanted[0] - 0.2), rel=1e-5)


def test_conjugate_gradient_that_diverges_is_reported_and_the_step_is_made_of_the_direct_terms(two_steps):
    """Rewards so large that the square of their Hessian is beyond single precision."""
    _, (_, second, _), _ = two_steps
    large = dataclasses.replace(FAMILY, id="test/large", reward=lambda *seen: 1e12 * FAMILY.reward(*seen))
    after, metrics = make(large, rate=1e-12).step(second, jax.random.key(2))
    assert metrics["gap/residual"] == 1 and metrics["gap/solved"] == 0 and metrics["gap/implicit"] == 0
    assert metrics["gap/direct"] > 0 and (after.task != second.task).any()
    assert np.linalg.norm(after.task - second.task) <= 1e-12 * metrics["gap/direct"] * (1 + 1e-5)


def steady(agents, action):
    """The same policy, which always acts so, with little noise."""
    zeros = [jnp.zeros_like(weight) for weight in agents.policy.net.weights]
    biases = [*map(jnp.zeros_like, agents.policy.net.biases[:-1]), jnp.full_like(agents.policy.net.biases[-1], action)]
    where = lambda a: (a.policy.net.weights, a.policy.net.biases, a.policy.log_std)  # noqa: E731
    return eqx.tree_at(where, agents, (zeros, biases, jnp.full_like(agents.policy.log_std, -6.0)))


def test_the_task_flees_from_where_the_trained_policy_is_no_better_to_where_it_is(two_steps):
    """θ̂ stays at the origin, π* goes through the goal along the diagonal: the gap is wider for a goal further away.
    With the two exchanged it is the other way round."""
    algorithm, (_, second, _), _ = two_steps
    goal = jnp.array([[0.4, 0.4]])
    shared, agents = algorithm.smt.warm_up(second.shared, goal, jax.random.key(0))
    stays, goes = steady(agents, 0.0), steady(agents, 0.5)
    for warm, best, sign in ((stays, goes, 1.0), (goes, stays, -1.0)):
        _, task, metrics = algorithm._ascend(shared, shared, warm, best, goal, jax.random.key(1), untrained=True)
        assert (sign * (task - goal) > 0.01).all()
        assert sign * metrics["gap/return"] > 0.5


def test_a_side_of_length_nought_stays_where_it_is(two_steps):
    _, (_, second, _), _ = two_steps
    flat = dataclasses.replace(FAMILY, id="test/flat", space=Box((-1.0, 0.5), (1.0, 0.5)))
    after, _ = make(flat).step(dataclasses.replace(second, task=jnp.array([[0.1, 0.5]])), jax.random.key(2))
    assert float(after.task[0, 1]) == 0.5 and np.isfinite(after.task).all()


def test_an_untrained_policy_does_not_move_with_the_task():
    algorithm = make()
    _, metrics = algorithm.step(algorithm.init(jax.random.key(0)), jax.random.key(1))
    assert metrics["gap/solved"] == 0 and metrics["gap/direct"] > 0


@pytest.mark.parametrize("tasks", ["uniform", "gaussian"])
def test_other_choices_of_tasks_cost_no_samples(tasks):
    algorithm = make(tasks=tasks)
    state = algorithm.init(jax.random.key(0))
    after, metrics = algorithm.step(state, jax.random.key(1))
    assert algorithm.simulator.samples == SMOKE.smt.slbo.real_episodes * FAMILY.horizon
    assert not np.allclose(state.task, after.task) and "gap/return" not in metrics
    drawn = jnp.concatenate([algorithm._drawn(jax.random.key(i)) for i in range(200)])
    assert all(FAMILY.space.contains(task) for task in drawn)
    at_the_edge = np.mean(np.abs(drawn) > 1 - 1e-6)
    assert at_the_edge == pytest.approx(0.32 if tasks == "gaussian" else 0.0, abs=0.06)


def test_the_same_seed_gives_the_same_bytes(two_steps):
    algorithm, (_, second, third), _ = two_steps
    again, _ = algorithm.step(second, jax.random.key(2))
    for a, b in zip(jax.tree.leaves(third), jax.tree.leaves(again), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_adaptation_is_smts(two_steps):
    algorithm, states, _ = two_steps
    tasks, key = FAMILY.space.held_out(2), jax.random.key(0)
    before = algorithm.simulator.samples
    own, smts = next(algorithm.adapt(states[2], tasks, key)), next(algorithm.smt.adapt(states[2].shared, tasks, key))
    assert algorithm.simulator.samples == before
    np.testing.assert_array_equal(own.predicted_return, smts.predicted_return)


@pytest.mark.parametrize("tasks", ["adversarial", "gaussian"])
def test_a_space_without_gradients_is_refused(tasks):
    family = dataclasses.replace(FAMILY, id="test/finite", space=FiniteSet(((0.0, 0.0), (1.0, 1.0))))
    with pytest.raises(OnebodyError, match="AdMRL moves the task in a box: use mb-unif"):
        algorithm = make(family, tasks=tasks)
        algorithm.init(jax.random.key(0))
    make(family, tasks="uniform").init(jax.random.key(0))


def test_a_gradient_that_is_not_finite_is_refused():
    def root(observation, action, following, task):
        return jnp.sqrt(jnp.sum(0.0 * task))

    family = dataclasses.replace(FAMILY, id="test/root", reward=root)
    with pytest.raises(OnebodyError, match="in its task is not finite: use mb-unif"):
        make(family).init(jax.random.key(0))


def test_a_reward_without_a_gradient_in_the_task_is_refused():
    def steps(observation, action, following, task):
        return -jnp.sum(jnp.round(following - task))

    family = dataclasses.replace(FAMILY, id="test/steps", space=Box((-1.0, -1.0), (1.0, 1.0)), reward=steps)
    with pytest.raises(OnebodyError, match="test/steps has no gradient in its task at any of"):
        make(family).init(jax.random.key(0))


ACTIVE = presets.preset("smt-active", "smoke")


def active(**changes):
    return active_smt.ActiveSMT(FAMILY, dataclasses.replace(ACTIVE, **changes), Simulator(FAMILY))


@pytest.mark.parametrize("rating", ["models", "real"])
def test_tasks_below_the_quantile_of_the_first_ratings_are_skipped(rating):
    algorithm = active(rating=rating, quantile=1.0)
    state = algorithm.init(jax.random.key(0))
    seen = []
    for i in range(2):
        state, metrics = algorithm.step(state, jax.random.key(i))
        seen.append(metrics)
    assert state.shared.data.size == algorithm.simulator.samples
    assert "task/rating" not in seen[0] and int(state.rated) == 1
    assert float(state.ratings[0]) == pytest.approx(seen[1]["task/rating"])
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
    state = dataclasses.replace(state, ratings=jnp.full(1, 1e6), rated=jnp.array(1))

    def rate(self, shared, agents, task, key):
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
    dreams = eqx.tree_at(lambda s: s.model, state, AtGoal(jax.random.key(0), 2, 2, ACTIVE.smt.slbo.model))
    world = Imagination(FAMILY, dreams.model, dreams.starts)
    assert float(imagined_return(world, agents.policy, goal, jax.random.key(3), 4)[0]) == pytest.approx(0.0, abs=1e-3)
    monitored = algorithm._rate(dreams, agents, goal, jax.random.key(3))
    real = evaluate.real_return(FAMILY, agents.policy, goal).mean()
    assert monitored[2] == pytest.approx(-real, abs=1.5) and monitored[2] > 5
    assert monitored[0].data.size - state.data.size == ACTIVE.real_episodes * FAMILY.horizon


class AtGoal(Dynamics):
    def __call__(self, observation, action):
        return jnp.broadcast_to(jnp.array([0.5, -0.5]), observation.shape)


def test_there_is_room_for_every_rated_episode():
    """Two tries of two episodes a task are one stage of four more, for each of three tasks."""
    capacity = {
        rating: active(rating=rating).init(jax.random.key(0)).shared.data.capacity for rating in ("real", "models")
    }
    assert capacity["real"] - capacity["models"] == 3 * 4 * FAMILY.horizon


def test_a_name_that_says_which_tasks_takes_no_others():
    with pytest.raises(OnebodyError, match="mb-unif has tasks uniform, not adversarial: use admrl"):
        presets.check("mb-unif", SMOKE)
    presets.check("admrl", dataclasses.replace(SMOKE, tasks="gaussian"))
