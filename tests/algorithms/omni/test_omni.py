import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms import presets
from onebody.algorithms.omni import first_order, omni, policy_optimization, prediction
from onebody.algorithms.omni.first_order import FirstOrderConfig
from onebody.core import random
from onebody.core.errors import OnebodyError
from onebody.learning.ensemble import EnsembleConfig
from onebody.learning.policies import ConditionedPolicy, for_each
from onebody.runs import evaluate
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator, Unsimulated

FAMILY = registry.make("point/goal")
SMOKE = presets.preset("omni", "smoke")
distribution = jax.jit(ConditionedPolicy.distribution)
LEARNER = omni.Config(
    n_iterations=3,
    real_episodes=10,
    refine_episodes=10,
    n_model=150,
    n_updates=150,
    n_refine=policy_optimization.REFRESH,
    n_refine_model=150,
    model=EnsembleConfig(members=3, hidden=(32, 32), batch=64),
    policy=FirstOrderConfig(hidden=(32, 32), batch=48, window=8, learning_rate=2e-3),
)
"""Adaptation has the batches of training, and refinement those of adaptation: they share programs"""


def make(config=SMOKE, family=FAMILY):
    return omni.OMNI(family, config, Simulator(family))


@pytest.fixture(scope="module")
def training():
    """The algorithm, and its states and metrics from the untrained one to the last."""
    algorithm = make(LEARNER)
    states, metrics = [algorithm.init(jax.random.key(0))], [{}]
    for i in range(LEARNER.n_iterations):
        state, of_step = algorithm.step(states[-1], jax.random.key(i + 1))
        states.append(state)
        metrics.append(of_step)
    assert algorithm.simulator.samples == LEARNER.n_iterations * LEARNER.real_episodes * FAMILY.horizon
    return algorithm, states, metrics


@pytest.fixture
def learned(training):
    """The last state, and the algorithm without a real sample."""
    _, (*_, state), _ = training
    return make(LEARNER), state


def test_one_policy_goes_to_every_goal_without_a_sample_of_it(learned):
    """Floors: standing still has -16.4 over these goals, going straight there -2.6; SMT's test asks for -7."""
    algorithm, state = learned
    tasks = FAMILY.space.held_out(10)
    adapted = next(algorithm.adapt(state, tasks, jax.random.key(0)))
    untrained = next(algorithm.adapt(algorithm.init(jax.random.key(0)), tasks, jax.random.key(0)))
    reached = evaluate.real_return(FAMILY, adapted.policies, tasks).mean()
    assert evaluate.real_return(FAMILY, untrained.policies, tasks).mean() < -11
    assert reached > -4.0
    assert algorithm.simulator.samples == 0
    np.testing.assert_allclose(adapted.predicted_return.mean(), reached, atol=1.0)


def test_each_episode_has_a_task_of_its_own(training):
    _, (_, state, *_), (_, metrics, *_) = training
    assert int(state.data.size) == LEARNER.real_episodes * FAMILY.horizon
    assert set(metrics) >= {"real/return", "imagined/objective", "model/loss", "model/validation_error"}
    assert np.isfinite(list(metrics.values())).all()


def test_half_of_the_episodes_are_of_the_deterministic_policy_that_is_promised(training):
    """Their actions are the policy's means; only their errors of prediction are remembered."""
    algorithm, (state, *_), _ = training
    tasks = FAMILY.space.sample(jax.random.key(3), 10)
    after, metrics = algorithm._collect(state, tasks, jax.random.key(1))
    data = np.asarray(after.data.observation), np.asarray(after.data.action)
    rows, actions = (x[: 10 * FAMILY.horizon].reshape(10, FAMILY.horizon, -1) for x in data)
    means = np.tanh(distribution(state.agent.policy.module, rows, np.asarray(tasks)[:, None]).mean)
    away = np.abs(actions - means).max(axis=(1, 2))
    np.testing.assert_allclose(away[::2], 0, atol=1e-5)
    assert (away[1::2] > 0.3).all()
    errors = np.asarray(after.errors)
    assert (errors[:-5] == 0).all() and (errors[-5:] != 0).all() and len(errors) == 20
    own = errors[-5:].mean()
    error = metrics["real/deterministic_return"] - metrics["imagined/deterministic_return"]
    np.testing.assert_allclose(own, error, atol=1e-4)


def test_the_deterministic_share_counts_episodes_and_leaves_one_at_least():
    share = lambda x, n: dataclasses.replace(SMOKE, deterministic_share=x).deterministic(n).sum()  # noqa: E731
    assert [share(x, 10) for x in (0.2, 0.5, 0.7, 1.0)] == [2, 5, 7, 10]
    assert share(0.29, 100) == 29 and share(0.58, 50) == 29 and share(0.1, 1) == share(0.1, 4) == 1
    for wrong in (0.0, -1.0, 1.5):
        with pytest.raises(OnebodyError, match="deterministic-share"):
            dataclasses.replace(SMOKE, deterministic_share=wrong)


def test_new_statistics_change_neither_actions_nor_values(learned):
    _, state = learned
    agent, tasks = state.agent, FAMILY.space.sample(jax.random.key(2), 30)
    noise = random.normal(jax.random.key(3), (30, FAMILY.body.observation_size))

    @jax.jit
    def renewed_with(agent, noise):
        observation = agent.policy.module.observation.inverse(0.5 + 1.5 * noise)
        moved = agent.policy.module.observation.update(observation)
        return observation, moved, first_order.renormalize(agent, moved)

    observation, moved, renewed = renewed_with(agent, noise)
    np.testing.assert_array_equal(renewed.policy.module.observation.mean, moved.mean)
    for old, new in ((agent.values.module, renewed.values.module), (agent.targets, renewed.targets)):
        old, new = (eqx.filter_jit(each)(observation, tasks) for each in (old, new))
        np.testing.assert_allclose(old, new, rtol=1e-4, atol=1e-4)
    old, new = (distribution(each.policy.module, observation, tasks) for each in (agent, renewed))
    np.testing.assert_allclose(old.mean, new.mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(old.log_std, new.log_std, rtol=1e-4, atol=1e-4)


def test_samples_of_adaptation_do_not_push_out_those_of_training(learned):
    algorithm, state = learned
    learner = algorithm._stage(state, FAMILY.space.held_out(1), jax.random.key(0))
    n = int(state.data.size)
    assert int(learner.data.size) == n + LEARNER.refine_episodes * FAMILY.horizon
    after, before = (np.asarray(each.data.observation)[:n] for each in (learner, state))
    np.testing.assert_array_equal(after, before)


def test_terminations_are_imagined_too():
    """The hopper falls: windows end, and every number stays finite."""
    family = registry.make("mbmpo/hopper")
    algorithm = make(SMOKE, family)
    state, metrics = algorithm.step(algorithm.init(jax.random.key(0)), jax.random.key(1))
    state, metrics = algorithm.step(state, jax.random.key(2))
    assert np.isfinite(list(metrics.values())).all()


def test_refinement_and_stages_go_on_from_the_conditioned_policy(learned):
    """Neither touches the state; a stage costs samples, a refinement none."""
    algorithm, state = learned
    before, samples = jax.tree.leaves(state), algorithm.simulator.samples
    task = FAMILY.space.held_out(1)
    first, second = (a for _, a in zip(range(2), algorithm.refine(state, task[0], jax.random.key(0))))
    assert algorithm.simulator.samples == samples
    assert not np.array_equal(first.policies.net.weights[0], second.policies.net.weights[0])
    stages, used = zip(*evaluate.stages_of(algorithm, state, task, 2, seed=0), strict=True)
    assert used == tuple(n * LEARNER.refine_episodes * FAMILY.horizon for n in range(3))
    assert stages[2].predicted_interval.shape == (1, 2) and stages[2].policies.net.biases[0].shape[0] == 1
    for old, new in zip(before, jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_refined_policy_is_the_best_predicted_so_far(monkeypatch, learned):
    """Optimisation that helps, harms, helps and harms; the policies' first weight says which they are."""
    (algorithm, state), returns, numbers = learned, iter([1.0, 3.0, 2.0, 4.0, 0.0]), itertools.count(1.0)
    first_weight = lambda policy: policy.net.weights[0].ravel()[0]  # noqa: E731
    adapted = omni.OMNI._adapted

    def optimize(self, state, *_):
        number, where = next(numbers), lambda s: s.agent.policy.module.net.weights[0]
        return eqx.tree_at(where, state, jnp.full_like(where(state), number)), {}

    def told(self, *arguments):
        return adapted(self, *arguments)._replace(predicted_return=jnp.array([next(returns)]))

    monkeypatch.setattr(omni.OMNI, "_optimize", optimize)
    monkeypatch.setattr(omni.OMNI, "_adapted", told)
    refined = algorithm.refine(state, jnp.array([0.9, -0.9]), jax.random.key(0))
    result = [adapted for _, adapted in zip(range(5), refined)]
    assert [float(each.predicted_return[0]) for each in result] == [1.0, 3.0, 3.0, 4.0, 4.0]
    assert [float(first_weight(each.policies)) for each in result[1:]] == [1.0, 1.0, 3.0, 3.0]


@pytest.mark.parametrize("collect", ["disagreement", "worst"])
def test_tasks_to_collect_can_be_chosen(collect, learned):
    """Of five times as many draws, those where the members disagree most, or those of the lowest predicted returns."""
    algorithm, (_, state) = make(dataclasses.replace(LEARNER, collect=collect)), learned
    chosen = algorithm._choose_tasks(state, jax.random.key(2))
    task_key, predict_key, _ = jax.random.split(jax.random.key(2), 3)
    drawn = FAMILY.space.sample(task_key, omni.CANDIDATES * LEARNER.real_episodes)
    expected, novelty = algorithm._expected(state, drawn, predict_key)
    target = np.asarray({"disagreement": novelty, "worst": -expected}[collect])
    taken = np.array([task in chosen.tolist() for task in drawn.tolist()])
    assert taken.sum() == len(chosen) == LEARNER.real_episodes
    assert target[taken].min() >= target[~taken].max()


def test_tasks_go_up_the_gap_inside_the_models(monkeypatch, learned):
    """A known gap: what optimisation adds at ψ is ψ₁. The widest of the draws go further up, and stay inside."""
    algorithm, (_, state), refined = make(dataclasses.replace(LEARNER, collect="gap")), learned, []

    def expected(self, agent, tasks, key):
        return jnp.where(agent is state, 0.0, tasks[:, 0]), None

    def optimize(self, state, tasks, rates, key):
        refined.append((tasks, len(rates)))
        return eqx.tree_at(lambda s: s.errors, state, state.errors + 1), {}

    monkeypatch.setattr(omni.OMNI, "_expected", expected)
    monkeypatch.setattr(omni.OMNI, "_optimize", optimize)
    chosen = np.sort(algorithm._choose_tasks(state, jax.random.key(2))[:, 0])
    drawn = FAMILY.space.sample(jax.random.split(jax.random.key(2), 3)[0], omni.CANDIDATES * LEARNER.real_episodes)
    ((tasks, updates),) = refined
    np.testing.assert_array_equal(tasks, drawn)
    assert updates == algorithm.refine_updates
    widest = np.sort(drawn[:, 0])[-LEARNER.real_episodes :]
    assert len(chosen) == LEARNER.real_episodes and (chosen >= widest - 1e-6).all() and chosen.mean() > widest.mean()
    assert chosen.max() <= FAMILY.space.high[0] and algorithm.simulator.samples == 0


def test_an_interval_takes_in_the_members_and_past_errors():
    """Members at 8 and 12: 2 deviations are 4; of errors from -12 to -2 the 5% quantile is -11.5."""
    returns, errors = np.float32([[8.0, 10.0], [12.0, 10.0]]), np.linspace(-12, -2, 41, dtype=np.float32)
    interval = jax.jit(prediction.interval)
    np.testing.assert_allclose(interval(returns, errors), [[10 - np.hypot(11.5, 4), 14], [-1.5, 10]], atol=1e-4)
    np.testing.assert_allclose(interval(returns, np.full(5, 1e-6, np.float32)), [[6, 14], [10, 10]], atol=1e-4)


def test_an_interrupted_episode_calibrates_no_interval(monkeypatch, training):
    """As one that an emergency stop of a robot cut short, whose return is not that of a whole episode."""
    algorithm, (state, *_), _ = training
    rollout = omni.rollout

    def cut(*arguments, **options):
        transitions = rollout(*arguments, **options)
        return transitions._replace(truncated=transitions.truncated.at[0, 1].set(True))

    monkeypatch.setattr(omni, "rollout", cut)
    after, _ = algorithm._collect(state, FAMILY.space.held_out(10), jax.random.key(1))
    assert (np.asarray(after.errors) != 0).sum() == 4


def test_an_exact_prediction_is_an_error_of_its_own(training):
    """As where every reward is 0: its interval is [0, 0], once there are five of them."""
    algorithm, (state, *_), _ = training
    tasks = FAMILY.space.held_out(10)
    policies = for_each(state.agent.policy.module, len(tasks))
    transitions = omni.rollout(algorithm.simulator, policies, tasks, jax.random.key(1), episodes=1)
    after, _ = omni.add_data(state, transitions, jnp.zeros(5))
    errors = np.asarray(after.errors)
    assert (errors[:-5] == 0).all() and (errors[-5:] != 0).all()
    interval = prediction.interval(np.zeros((2, 1), np.float32), np.repeat(errors[-1:], 5))
    np.testing.assert_allclose(interval, [[0, 0]], atol=1e-20)


@pytest.mark.parametrize("episodes", [1, 2])
def test_few_real_episodes_per_iteration_calibrate_an_interval_in_time(episodes):
    algorithm = omni.OMNI(FAMILY, dataclasses.replace(SMOKE, real_episodes=episodes), Unsimulated(FAMILY))
    state = eqx.filter_eval_shape(algorithm.init, jax.random.key(0))
    assert len(state.errors) >= prediction.FEWEST_ERRORS


def test_an_interval_needs_errors_of_real_episodes():
    returns, errors = np.float32([[8.0, 10.0], [12.0, 10.0]]), np.zeros(8, np.float32)
    errors[:4] = -1.0
    assert np.isnan(prediction.interval(returns, errors)).all()
    errors[4] = -1.0
    np.testing.assert_allclose(prediction.interval(returns, errors)[1], [9.0, 10.0], atol=1e-4)


def test_past_errors_are_remembered_until_the_reward_is_another(training):
    algorithm, (*_, state), (*_, metrics) = training
    newest = np.asarray(state.errors)[-LEARNER.real_episodes // 2 :]
    error = metrics["real/deterministic_return"] - metrics["imagined/deterministic_return"]
    np.testing.assert_allclose(newest.mean(), error, atol=1e-3)
    asked, forgotten = algorithm.rewarded(state, FAMILY)
    assert (newest != 0).all() and not np.any(forgotten.errors) and asked.simulator.samples == 0


def test_the_promise_is_kept_and_warns_of_the_unknown(learned):
    algorithm, state = learned
    tasks = jnp.concatenate([FAMILY.space.held_out(9), jnp.array([[30.0, 30.0]])])
    adapted = next(algorithm.adapt(state, tasks, jax.random.key(0)))
    low, high = np.asarray(adapted.predicted_interval).T
    reached = evaluate.real_return(FAMILY, adapted.policies, tasks).mean(1)
    assert ((low <= reached) & (reached <= high))[:9].sum() >= 8
    novelty = np.asarray(adapted.novelty)
    assert np.median(novelty[:9]) < 2.0 < novelty[9]


def test_models_are_told_the_task_where_dynamics_vary_with_it():
    family = registry.make("pearl/hopper-params")
    state = eqx.filter_eval_shape(omni.OMNI(family, SMOKE, Unsimulated(family)).init, jax.random.key(0))
    assert state.data.action.shape[1] == family.body.action_size + family.space.size == 3 + 37
    tasks = family.space.sample(jax.random.key(1), 8)
    scaled = np.asarray(family.model_action(jnp.zeros((8, 3)), tasks))[:, 3:]
    assert np.abs(scaled).max() <= 1 + 1e-6 and np.ptp(scaled) > 1.5
    shifted = dataclasses.replace(FAMILY, id="shifted", test=dataclasses.replace(FAMILY, physics=lambda task: {}))
    with pytest.raises(OnebodyError, match="vary with the task and those of shifted do not"):
        omni.OMNI(shifted, SMOKE, Simulator(FAMILY)).init(jax.random.key(0))
