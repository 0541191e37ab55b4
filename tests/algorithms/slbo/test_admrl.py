import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms import presets
from onebody.algorithms.slbo import admrl
from onebody.algorithms.slbo.slbo import ADAPTATION_STAGES
from onebody.algorithms.slbo.smt import SMT
from onebody.core.errors import OnebodyError
from onebody.learning.policies import GaussianPolicy
from onebody.tasks import registry
from onebody.tasks.space import Box, FiniteSet
from onebody.worlds.imagination import Imagination
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

FAMILY = registry.make("point/goal")
SMOKE = presets.preset("admrl", "smoke")


distributions = jax.jit(jax.vmap(GaussianPolicy.distribution))


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
    per_task = (SMOKE.smt.slbo.real_episodes + SMOKE.real_episodes) * FAMILY.horizon
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


GOAL = jnp.array([[0.4, 0.4]])


@pytest.fixture(scope="module")
def warmed_up(two_steps):
    """What is learned, a policy for GOAL, and real episodes of it."""
    algorithm, (_, second, _), _ = two_steps
    shared, agents, _ = algorithm.smt.warm_up(second.shared, GOAL, jax.random.key(0))
    n = SMOKE.smt.slbo.real_episodes
    return shared, agents, rollout(Simulator(FAMILY), agents.policy, GOAL, jax.random.key(1), episodes=n)


def within(space):
    return dataclasses.replace(FAMILY, id="test/box", space=space)


def ascend(algorithm, warmed_up, task):
    """One step of the task, as if its trained policy had the same episodes as the one that is warmed up."""
    shared, agents, episodes = warmed_up
    world = Imagination(algorithm.family, shared.model.module, shared.starts)
    return algorithm._ascend(world, task, agents, episodes, episodes, jax.random.key(2), untrained=False)


@pytest.mark.parametrize(
    ("residual", "expected"), [(0.1, [0.5, 3.0]), (0.9, [0.3, 2.5])], ids=["both terms", "not solved: the direct one"]
)
def test_the_step_by_hand(warmed_up, monkeypatch, residual, expected):
    """From (0.2, 2) in [-1, 1] x [1, 3] (half: 1): direct (0.1, 0.5), implicit (0.2, 5), at a rate of 1, cut off at 3.
    A space of twice the length doubles a step twice: by its unit, and by the gradient in it."""
    terms = jnp.array([0.1, 0.5]), jnp.array([0.2, 5.0]), jnp.array(residual)
    monkeypatch.setattr(admrl, "_gradient", lambda *_: terms)
    algorithm = make(within(Box((-1.0, 1.0), (1.0, 3.0))))
    task, metrics = ascend(algorithm, warmed_up, jnp.array([[0.2, 2.0]]))
    np.testing.assert_allclose(task[0], expected, rtol=1e-5)
    assert metrics["gap/solved"] == (residual < 0.5) and metrics["gap/residual"] == pytest.approx(residual)
    algorithm = make(within(Box((-2.0, -100.0), (2.0, 300.0))), rate=0.25)
    task, _ = ascend(algorithm, warmed_up, jnp.array([[0.2, 2.0]]))
    assert float(task[0, 0]) == pytest.approx(0.2 + 0.25 * 4 * (expected[0] - 0.2), rel=1e-5)


def test_conjugate_gradient_that_diverges_is_reported_and_the_step_is_made_of_the_direct_terms(warmed_up):
    """Rewards so large that the square of their Hessian is beyond single precision."""
    large = dataclasses.replace(FAMILY, id="test/large", reward=lambda *inputs: 1e12 * FAMILY.reward(*inputs))
    shared, agents, episodes = warmed_up
    best = episodes._replace(next_observation=episodes.next_observation + 0.5)
    world = Imagination(large, shared.model.module, shared.starts)
    task, metrics = make(large, rate=1e-12)._ascend(world, GOAL, agents, episodes, best, jax.random.key(2), False)
    assert metrics["gap/residual"] == 1 and metrics["gap/solved"] == 0 and metrics["gap/implicit"] == 0
    assert metrics["gap/direct"] > 0 and (task != GOAL).any()
    assert np.linalg.norm(task - GOAL) <= 1e-12 * metrics["gap/direct"] * (1 + 1e-5)


def steady(agents, action):
    """The same policy, which always acts so, with little noise."""
    zeros = [jnp.zeros_like(weight) for weight in agents.policy.net.weights]
    biases = [*map(jnp.zeros_like, agents.policy.net.biases[:-1]), jnp.full_like(agents.policy.net.biases[-1], action)]
    where = lambda a: (a.policy.net.weights, a.policy.net.biases, a.policy.log_std)  # noqa: E731
    return eqx.tree_at(where, agents, (zeros, biases, jnp.full_like(agents.policy.log_std, -6.0)))


def test_the_task_flees_from_where_the_trained_policy_is_no_better_to_where_it_is(two_steps, warmed_up):
    """θ̂ stays at the origin, π* goes through the goal along the diagonal: the gap is wider for a goal further away.
    With the two exchanged it is the other way round."""
    algorithm, goal, key = two_steps[0], GOAL, jax.random.key(1)
    shared, agents, _ = warmed_up
    world, policies = (
        Imagination(FAMILY, shared.model.module, shared.starts),
        (steady(agents, 0.0), steady(agents, 0.5)),
    )
    transitions = [rollout(Simulator(FAMILY), agents.policy, goal, key, episodes=4) for agents in policies]
    for warm, best, sign in ((0, 1, 1.0), (1, 0, -1.0)):
        task, metrics = algorithm._ascend(
            world, goal, policies[warm], transitions[warm], transitions[best], key, untrained=True
        )
        assert (sign * (task - goal) > 0.01).all()
        assert sign * metrics["gap/return"] > 0.5


def test_the_first_stages_episodes_are_those_of_the_warmed_up_policy(two_steps, monkeypatch):
    """They have its own noise alone, and π* has the same, from the same places; so their noise can be compared."""
    algorithm, (_, second, _), _ = two_steps
    agents, given = {}, {}

    def slbo(self, shared, warm, task, key, first):
        done = original(self, shared, warm, task, key, first)
        agents.update(warm=warm, best=done[1])
        return done

    def gradient(world, task, warm, of_warm, of_best, key, imagined_episodes, config):
        given.update(warm=of_warm, best=of_best)
        return jnp.zeros(2), jnp.zeros(2), jnp.array(0.0)

    original = SMT.slbo
    monkeypatch.setattr(SMT, "slbo", slbo)
    monkeypatch.setattr(admrl, "_gradient", gradient)
    after, _ = algorithm.step(second, jax.random.key(2))
    noise = {}
    for name, transitions in given.items():
        mean, log_std = distributions(agents[name].policy, transitions.observation)
        noise[name] = (transitions.action - mean) / jnp.exp(log_std)[:, None, None]
    np.testing.assert_allclose(noise["warm"], noise["best"], atol=2e-3)
    np.testing.assert_array_equal(given["warm"].observation[:, 0], given["best"].observation[:, 0])
    assert not np.allclose(given["warm"].action, given["best"].action, atol=1e-2)
    n, begin = SMOKE.smt.slbo.real_episodes * FAMILY.horizon, int(second.shared.data.size)
    for name, rows in (("warm", slice(begin, begin + n)), ("best", slice(begin + n, begin + 2 * n))):
        in_rows = jnp.swapaxes(given[name].action[0], 0, 1).reshape(-1, 2)
        np.testing.assert_array_equal(after.shared.data.action[rows], in_rows)


def test_a_shared_first_task_has_more_stages_and_the_next_one_is_the_centre():
    kinds, after = ("adversarial", "uniform", "gaussian"), {}
    episodes = SMOKE.smt.slbo.real_episodes * FAMILY.horizon
    for tasks in kinds:
        algorithm = make(tasks=tasks, n_first=3)
        state = algorithm.init(jax.random.key(0))
        np.testing.assert_allclose(state.task, [[0.3, 0.3]], rtol=1e-6)
        after[tasks], metrics = algorithm.step(state, jax.random.key(1))
        np.testing.assert_array_equal(after[tasks].task, [[0.0, 0.0]])
        assert algorithm.simulator.samples == after[tasks].shared.data.size == 3 * episodes
        assert not any(name.startswith("gap/") for name in metrics)
        stages = 3 + (SMOKE.n_iterations - 1) * (1 + (tasks == "adversarial"))
        assert after[tasks].shared.data.capacity >= (stages + ADAPTATION_STAGES) * episodes
    for tasks in kinds[1:]:
        for ours, other in zip(*(jax.tree.leaves(after[kind].shared.model) for kind in (kinds[0], tasks)), strict=True):
            np.testing.assert_array_equal(ours, other)
    _, metrics = make(n_first=3).step(after["adversarial"], jax.random.key(2))
    assert "gap/return" in metrics


def effort(config, horizon=200):
    """Of a training task: real samples of the stages and of the gradient, TRPO steps and Adam steps of warm-up and of
    the stages, imagined samples of a TRPO step."""
    smt, slbo = config.smt, config.smt.slbo
    iterations = smt.n_warmup, smt.n_slbo * slbo.n_inner
    return {
        "real": (smt.n_slbo * slbo.real_episodes * horizon, config.real_episodes * horizon),
        "policy": tuple(n * slbo.n_policy for n in iterations),
        "model": tuple(n * slbo.n_model for n in iterations),
        "imagined": slbo.imagined_episodes * horizon,
    }


@pytest.mark.parametrize("name", ["admrl", "mb-unif", "mb-gauss"])
def test_the_presets_have_the_released_effort_and_its_proportions(name):
    """The released code takes 20,000 samples for a gradient; 10,000 are those of the first stage here."""
    paper, laptop = (presets.preset(name, preset) for preset in ("paper", "laptop"))
    assert effort(paper) == {
        "real": (30_000, 10_000),
        "policy": (800, 1200),
        "model": (4000, 6000),
        "imagined": 10_000,
    }
    assert (paper.smt.n_slbo, paper.smt.n_tasks, paper.smt.slbo.model.hidden) == (3, 100, (1000, 1000))
    smaller = effort(laptop)
    assert smaller["real"] == (3600, 1200) and laptop.smt.n_slbo == 3
    for part in ("policy", "model"):
        assert smaller[part][0] / smaller[part][1] == pytest.approx(2 / 3)


def test_only_paper_presets_of_slbos_family_accept_steps_beyond_the_trust_region():
    stages = {
        "slbo": lambda config: config.stage,
        "smt": lambda config: config.slbo,
        "smt-active": lambda config: config.smt.slbo,
        "admrl": lambda config: config.smt.slbo,
    }
    for name, stage_of in stages.items():
        slack = {preset: stage_of(presets.preset(name, preset)).trpo.slack for preset in ("paper", "laptop", "smoke")}
        assert slack == {"paper": 1.5, "laptop": 1.0, "smoke": 1.0}
    for name in ("maml", "mb-mpo", "me-trpo", "trpo", "oracle"):
        assert presets.preset(name, "paper").trpo.slack == 1.0


def test_a_side_of_length_nought_stays_where_it_is(warmed_up, monkeypatch):
    monkeypatch.setattr(admrl, "_gradient", lambda *_: (jnp.ones(2), jnp.ones(2), jnp.zeros(())))
    task, _ = ascend(make(within(Box((-1.0, 0.5), (1.0, 0.5)))), warmed_up, jnp.array([[0.1, 0.5]]))
    assert float(task[0, 1]) == 0.5 and task[0, 0] > 0.1 and np.isfinite(task).all()


def test_an_untrained_policy_does_not_move_with_the_task():
    algorithm = make()
    _, metrics = algorithm.step(algorithm.init(jax.random.key(0)), jax.random.key(1))
    assert metrics["gap/solved"] == 0 and metrics["gap/direct"] > 0


@pytest.mark.parametrize("tasks", ["uniform", "gaussian"])
def test_other_choices_of_tasks_cost_no_samples(tasks):
    algorithm = make(tasks=tasks)
    state = algorithm.init(jax.random.key(0))
    np.testing.assert_allclose(state.task, [[0.3, 0.3]], rtol=1e-6)
    after, metrics = algorithm.step(state, jax.random.key(1))
    assert algorithm.simulator.samples == SMOKE.smt.slbo.real_episodes * FAMILY.horizon
    assert not np.allclose(state.task, after.task) and "gap/return" not in metrics
    drawn = jnp.concatenate([algorithm._drawn(jax.random.key(i)) for i in range(200)])
    assert all(FAMILY.space.contains(task) for task in drawn)
    at_the_edge = np.mean(np.abs(drawn) > 1 - 1e-6)
    assert at_the_edge == pytest.approx(0.32 if tasks == "gaussian" else 0.0, abs=0.06)


def test_adaptation_is_smts(two_steps):
    algorithm, states, _ = two_steps
    tasks, key = FAMILY.space.held_out(1), jax.random.key(0)
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
    drawn = make(family, tasks="uniform").init(jax.random.key(0)).task
    assert family.space.contains(drawn[0])


def test_a_gradient_that_is_not_finite_is_refused():
    def root(observation, action, next_observation, task):
        return jnp.sqrt(jnp.sum(0.0 * task))

    family = dataclasses.replace(FAMILY, id="test/root", reward=root)
    with pytest.raises(OnebodyError, match="in its task is not finite: use mb-unif"):
        make(family).init(jax.random.key(0))


def test_a_reward_without_a_gradient_in_the_task_is_refused():
    def steps(observation, action, next_observation, task):
        return -jnp.sum(jnp.round(next_observation - task))

    family = dataclasses.replace(FAMILY, id="test/steps", space=Box((-1.0, -1.0), (1.0, 1.0)), reward=steps)
    with pytest.raises(OnebodyError, match="test/steps has no gradient in its task at any of"):
        make(family).init(jax.random.key(0))


def test_a_name_that_says_which_tasks_takes_no_others():
    with pytest.raises(OnebodyError, match="mb-unif has tasks uniform, not adversarial: use admrl"):
        presets.check("mb-unif", SMOKE)
    presets.check("admrl", dataclasses.replace(SMOKE, tasks="gaussian"))
