"""SAC: the temperature finds its entropy, terminal states are not bootstrapped, a single task is learned."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms import presets
from onebody.algorithms.model_free import sac
from onebody.core import random
from onebody.learning.off_policy import averaged, value
from onebody.learning.sac import LatentPolicy, policy_network
from onebody.learning.task_replay import Rows, TaskReplay
from onebody.runs import evaluate
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

SMOKE = presets.preset("sac", "smoke")
POINT = registry.make("point/goal")


def new(**change):
    algorithm = sac.SAC(POINT, dataclasses.replace(SMOKE, **change), Simulator(POINT))
    return algorithm, algorithm.init(jax.random.key(0))


def test_log_density_of_an_action_is_that_of_the_change_of_variables():

    @jax.jit
    def densities():
        policy = LatentPolicy(policy_network(jax.random.key(0), 1, 1, (8,)), jnp.zeros(0))
        observation, noise = jnp.ones((1, 1)), jnp.array([[0.3]])
        _, log_prob, before = policy.sample(observation, noise)
        edges = jnp.linspace(-0.9999, 0.9999, 200_001)
        density = jnp.exp(before.log_prob(jnp.arctanh(edges)[:, None])) / (1 - edges**2)
        action = jnp.tanh(before.sample(noise))
        at = jnp.exp(before.log_prob(jnp.arctanh(action))) / (1 - action[..., 0] ** 2)
        return jnp.trapezoid(density, edges), jnp.exp(log_prob)[0], at[0]

    whole, result, expected = map(float, densities())
    assert whole == pytest.approx(1.0, abs=1e-3)
    assert result == pytest.approx(expected, rel=1e-4)


def test_the_temperature_brings_the_entropy_to_its_target():
    algorithm, state = new(n_gradient=2000, learning_rate=1e-2, discount=0.0)
    state, metrics = algorithm.step(state, jax.random.key(1))
    assert metrics["policy/entropy"] == pytest.approx(-2.0, abs=0.7)


def test_terminal_states_have_no_value_and_others_their_discounted_one():
    algorithm, state = new(n_gradient=1500, learning_rate=3e-3, discount=0.5, batch=64)
    rng = np.random.default_rng(0)
    n = state.replay.initial
    draw = lambda size: np.float32(rng.uniform(-1, 1, (1, n, size)))  # noqa: E731
    ended = np.float32(rng.integers(0, 2, (1, n)))
    first = draw(2)
    first[..., 0] = 2 * ended - 1  # the first number of an observation tells whether it is the end
    ones = np.ones((1, n), np.float32)
    rows = Rows(first, draw(2), ones, ones, first * np.float32([-1.0, 1.0]), ended)
    replay = jax.jit(TaskReplay.begin)(state.replay, rows)
    learner, _ = sac.gradient_steps(state.learner, replay, jax.random.key(2), algorithm.config)
    result = np.asarray(jax.jit(value)(learner.critics.module[0], rows.observation, rows.action))
    assert result[ended == 1].mean() == pytest.approx(1.0, abs=0.1)
    assert result[ended == 0].mean() > 1.25  # 1 + 0.5 × (1 + entropy)


def test_targets_follow_slowly():
    _, state = new()
    critics = state.learner.critics.module
    moved = jax.jit(averaged, static_argnums=2)(critics, jax.tree.map(lambda x: np.asarray(x) + 1, critics), 0.25)
    np.testing.assert_allclose(np.subtract(moved[0].biases[0], critics[0].biases[0]), 0.25, rtol=1e-5)


def adapted(monkeypatch, stages):
    """The replay of each stage of adaptation, and the rows that each brought."""
    algorithm, state = new()
    replays, rows = [], []
    improve, episodes = sac.gradient_steps, algorithm._episodes
    monkeypatch.setattr(sac, "gradient_steps", lambda *inputs: (replays.append(inputs[1]), improve(*inputs))[1])
    monkeypatch.setattr(
        sac.SAC, "_episodes", lambda self, *inputs: (rows.append(result := episodes(*inputs)), result)[1]
    )
    for _ in itertools.islice(algorithm.adapt(state, jnp.array([[0.7, 0.0]]), jax.random.key(0)), stages + 1):
        pass
    return replays, [result for result, _ in rows]


def test_adaptation_draws_from_all_that_its_stages_brought(monkeypatch):
    replays, rows = adapted(monkeypatch, 3)
    together = jax.tree.map(lambda *x: np.concatenate(x, axis=1)[0], *rows)
    n, key = len(together.reward), jax.random.key(5)
    at = (np.asarray(random.uniform(key, (1, 50))) * np.float32(n)).astype(int)
    drawn = jax.jit(TaskReplay.draw, static_argnums=3)(replays[-1], key, np.zeros(1, np.int32), 50)
    for result, expected in zip(drawn, together, strict=True):
        np.testing.assert_array_equal(result, expected[at])


def test_adaptation_forgets_the_oldest_stages_where_there_is_no_more_room(monkeypatch):
    monkeypatch.setattr(sac, "KEPT_STAGES", 2)
    replays, rows = adapted(monkeypatch, 4)
    expected = np.concatenate([np.asarray(rows[i].observation)[0] for i in (2, 3)])
    np.testing.assert_array_equal(replays[-1].rows.observation, expected)
    assert replays[-1].n_visits[0] == 2


def test_stages_after_the_first_compile_nothing(caplog):
    algorithm, state = new()
    stages = algorithm.adapt(state, POINT.space.held_out(2), jax.random.key(7))
    with jax.log_compiles():
        next(stages), next(stages)
        assert "Compiling" in caplog.text
        caplog.clear()
        next(stages), next(stages)
    assert "Compiling" not in caplog.text


def test_a_single_task_is_learned_from_its_own_samples():
    algorithm, state = new(episodes=10, n_gradient=400, hidden=(64, 64), batch=128, learning_rate=3e-3, discount=0.8)
    tasks = jnp.array([[0.7, 0.0], [-0.5, 0.6]])
    stages, used = zip(*evaluate.stages_of(algorithm, state, tasks, 4, seed=3), strict=True)
    reached = [float(evaluate.real_return(POINT, stage.policies, tasks).mean()) for stage in stages]
    assert used == (0, 200, 400, 600, 800)
    assert reached[-1] > -6.0 and reached[-1] > reached[0] + 5.0, reached
