"""PPO: advantages of scaled rewards, a value that moves little at a time, a single task is learned."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms import presets
from onebody.algorithms.model_free import ppo
from onebody.core import random
from onebody.core.types import Transitions
from onebody.runs import evaluate
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

POINT = registry.make("mbmpo/point")
SMOKE = presets.preset("ppo", "smoke")


def new(family=POINT, **change):
    algorithm = ppo.PPO(family, dataclasses.replace(SMOKE, **change), Simulator(family))
    return algorithm, algorithm.init(jax.random.key(0))


def four_steps():
    """One slot of four steps `[task, time, episode]`; the second step ends an episode, the last one is cut."""
    column = lambda *x: np.reshape(x, (1, 4, 1))  # noqa: E731
    observation = random.normal(jax.random.key(1), (1, 4, 1, 2))
    ends = column(False, True, False, False), column(False, False, False, True)
    return Transitions(observation, observation, column(*np.float32([1, 2, 3, 4])), observation, *ends)


def updated(state, config, monkeypatch):
    """The state after an update that learns nothing, and what each minimisation was to learn from which rows."""
    recorded = []
    monkeypatch.setattr(
        ppo, "minimize", lambda learned, loss, batch, *_: (recorded.append((learned.module, batch)), (learned, {}))[1]
    )
    update = jax.jit(lambda *given: (ppo.update.__wrapped__(*given, config)[0], recorded))
    return update(state, four_steps(), np.zeros((1, 4), np.int32))


@jax.jit
def log_prob(policy, rows):
    return policy.distribution(rows.observation).log_prob(rows.action)


def test_advantages_of_four_steps_by_hand(monkeypatch):
    """V = 2 everywhere, γ = λ = ½. Returns so far are 1, 2.5, 3, 5.5, of mean 3; their deviation divides rewards."""
    algorithm, state = new(discount=0.5, trace=0.5)
    where = lambda s: s.learned.module.value.net  # noqa: E731
    silent = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), where(state))
    silent = eqx.tree_at(lambda net: net.biases[-1], silent, np.full(1, 2.0, np.float32))
    state = eqx.tree_at(where, state, silent)
    _, ((_, rows),) = updated(state, algorithm.config, monkeypatch)
    deviation = ((4 + 0.25 + 0 + 6.25) / 4) ** 0.5
    first, second, third, fourth = (r / deviation - gap for r, gap in ((1, 1), (2, 2), (3, 1), (4, 1)))
    expected = [first + second / 4, second, third + fourth / 4, fourth]
    np.testing.assert_allclose(rows.advantage, expected, rtol=1e-5)
    np.testing.assert_allclose(rows.value, 2.0)
    np.testing.assert_allclose(rows.log_prob, log_prob(state.policy, rows))


def test_a_value_that_moved_beyond_the_clip_range_has_the_larger_error():
    now, before, expected = np.float32([[2.5, 0.0, 1.1], [1.0] * 3, [3.0] * 3])
    result = float(jax.jit(ppo.clipped_error, static_argnums=3)(now, before, expected, 0.2))
    assert result == pytest.approx(((3 - 1.2) ** 2 + 3**2 + (3 - 1.1) ** 2) / 3)


def test_the_first_batch_is_learned_from_in_its_own_statistics(monkeypatch):
    """So that what was learned from it stays as it is; the likelihood ratio is of the policy that collected it."""
    algorithm, state = new()
    then, ((learned, rows),) = updated(state, algorithm.config, monkeypatch)
    policy, value = learned.policy, learned.value
    mean = np.asarray(four_steps().observation).mean((0, 1, 2))
    np.testing.assert_allclose(policy.observation.mean, mean, rtol=1e-5)
    assert [float(each.observation.count) for each in (policy, value, then.policy)] == [4] * 3
    np.testing.assert_allclose(rows.log_prob, log_prob(state.policy, rows), rtol=1e-5)


def test_new_statistics_change_no_action_and_no_value():
    algorithm, state = new(learning_rate=1e-12)
    first, _ = algorithm.step(state, jax.random.key(1))
    then, _ = algorithm.step(first, jax.random.key(2))
    some = 3 * np.asarray(random.normal(jax.random.key(3), (5, 2)))
    assert (np.asarray(then.policy.observation.std) != np.asarray(first.policy.observation.std)).all()
    both = jax.jit(lambda state, x: (state.policy.distribution(x).mean, state.learned.module.value(x)))
    (action, after), (old_action, before) = (both(each, some) for each in (then, first))
    np.testing.assert_allclose(action, old_action, atol=1e-6)
    np.testing.assert_allclose(after, before, atol=1e-5)


LEARNS = {"episodes": 20, "n_epochs": 10, "learning_rate": 1e-2}


def reached(family, policies, tasks):
    return float(evaluate.real_return(family, policies, tasks).mean())


def test_the_way_home_is_learned():
    algorithm, state = new(**LEARNS)
    reached_now = lambda: reached(POINT, jax.tree.map(lambda x: x[None], state.policy), jnp.zeros((1, 0)))  # noqa: E731
    before = reached_now()
    for i in range(25):
        state, _ = algorithm.step(state, jax.random.key(i))
    assert reached_now() > -14.0 and before < -30.0, (before, reached_now())
    assert algorithm.simulator.samples == 25 * 20 * POINT.horizon


def test_adaptation_goes_on_with_the_task_alone():
    family = registry.make("point/goal")
    algorithm, state = new(family, **LEARNS, refine_episodes=20)
    tasks = jnp.array([[0.7, 0.0], [-0.5, 0.6]])
    stages, used = zip(*evaluate.stages_of(algorithm, state, tasks, 8, seed=3), strict=True)
    first, last = (reached(family, stage.policies, tasks) for stage in (stages[0], stages[-1]))
    assert used == tuple(400 * i for i in range(9))
    assert last > first + 3.0, (first, last)
