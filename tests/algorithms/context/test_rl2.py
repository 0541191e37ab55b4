"""RL²: a memory that goes on over the episodes of a trial, and no further; a task that only such a memory can solve."""

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onebody.algorithms import presets
from onebody.algorithms.context import rl2
from onebody.core import random
from onebody.core.types import Transitions
from onebody.runs import evaluate
from onebody.tasks import registry
from onebody.tasks.body import ClosedFormBody
from onebody.tasks.family import TaskFamily
from onebody.tasks.space import FiniteSet
from onebody.worlds.simulator import Simulator

SMOKE = presets.preset("rl2", "smoke")
ROD = ClosedFormBody(
    "bead on a rod",
    lambda observation, action: observation + 0.25 * action,
    ("x (m)",),
    action_size=1,
    start=lambda rng, n: np.zeros((n, 1)),
    dt=0.1,
)
ARMS = TaskFamily(
    "test/two-armed",
    ROD,
    FiniteSet(((-1.0,), (1.0,))),
    lambda observation, action, next_observation, task: jnp.where(
        jnp.abs(next_observation[0]) > 0.45, jnp.sign(next_observation[0]) * task[0], 0.0
    ),
    terminal=lambda next_observation, task: jnp.abs(next_observation[0]) > 0.45,
    horizon=12,
)
"""Both ends of a rod end the episode; one of them, of which nothing tells before, pays 1, the other -1. Over both tasks
the mean is 0 for whoever forgets with the episode."""


def new(family=ARMS, **change):
    algorithm = rl2.RL2(family, dataclasses.replace(SMOKE, **change), Simulator(family))
    return algorithm, algorithm.init(jax.random.key(0))


def without_noise(state):
    return eqx.tree_at(lambda s: s.module.log_std, state, jnp.full_like(state.module.log_std, -30.0))


@pytest.mark.parametrize("family", [ARMS, registry.make("point/goal")], ids=lambda family: family.id)
def test_the_memory_goes_on_over_episodes_and_is_fresh_in_each_trial(monkeypatch, family):
    """Actions without noise are those of the network, stepped over each whole trial from a fresh state on."""
    algorithm, state = new(family)
    lively = lambda net: (200 * net.readout, net.offset + 0.3)  # noqa: E731
    state = without_noise(eqx.tree_at(lambda s: (s.module.readout, s.module.offset), state, lively(state.module)))
    taken = []

    @jax.jit
    def stepped(net, observation, last, hidden):
        saw = net.inputs_of(observation, *last)
        hidden = net.step(saw, hidden)
        return saw, hidden, net.distribution(hidden).mean

    monkeypatch.setattr(rl2, "update", lambda state, slots, *_: (taken.append(slots), (state, {}))[1])
    for i in range(2):
        state, _ = algorithm.step(state, jax.random.key(i))
    for slots in taken:
        trials = jax.tree.map(np.asarray, jax.jit(rl2.concatenated)(slots))
        (n, steps), done = trials.reward.shape, trials.terminated | trials.truncated
        assert (n, steps) == (4, 2 * family.horizon) and done[:, [family.horizon - 1, -1]].all()
        hidden, last = (
            np.zeros((n, 16), np.float32),
            [np.zeros_like(x[:, 0]) for x in (trials.action, trials.reward, done)],
        )
        inputs = np.asarray(jax.jit(rl2.inputs_of)(state.module, trials))
        for t in range(steps):
            saw, hidden, mean = stepped(state.module, trials.observation[:, t], last, hidden)
            np.testing.assert_array_equal(inputs[:, t], saw)
            np.testing.assert_allclose(trials.action[:, t], mean, atol=1e-3)
            last = [x[:, t] for x in (trials.action, trials.reward, done)]
        assert trials.action.std() > 0.1 and int(done.sum()) >= (4 * n if family is ARMS else 2 * n)


def test_the_first_trials_are_learned_from_in_their_own_statistics(monkeypatch):
    """So that what was learned from them stays as it is; the likelihood ratio is of the policy that collected them."""
    algorithm, state = new(registry.make("point/goal"), normalize=True)
    recorded = []
    monkeypatch.setattr(
        rl2, "minimize", lambda net, loss, trials, *_: (recorded.append((net.module, trials)), (net, {}))[1]
    )
    slots, _ = algorithm._slot(state.module, algorithm._fresh(3), jnp.zeros((3, 2)), jax.random.key(1))
    update = jax.jit(lambda *given: (rl2.update.__wrapped__(*given, algorithm.config)[0], *recorded))
    then, (net, trials) = update(state, slots, np.zeros((1, 3), np.int32))
    mean = np.asarray(slots.observation).reshape(-1, 2).mean(0)
    np.testing.assert_allclose(net.observation.mean, mean, rtol=1e-4, atol=1e-6)
    assert float(then.module.observation.count) == slots.reward.size
    inputs = jax.jit(lambda net: rl2.inputs_of(net, rl2.concatenated(slots)))
    old = jax.jit(rl2.log_prob)(state.module, inputs(state.module), trials.action)
    np.testing.assert_allclose(trials.log_prob, old, rtol=1e-5)
    np.testing.assert_allclose(trials.inputs, inputs(net), rtol=1e-5)


def test_new_statistics_change_no_action():
    algorithm, state = new(registry.make("point/goal"), normalize=True, learning_rate=1e-12)
    first, _ = algorithm.step(state, jax.random.key(1))
    then, _ = algorithm.step(first, jax.random.key(2))
    ones = np.ones((7, 5, 2), np.float32)
    raw = random.normal(jax.random.key(3), (7, 5, 2)), ones, ones[..., 0], ones[..., 0] > 0
    assert (np.asarray(then.module.observation.std) != np.asarray(first.module.observation.std)).all()
    means = jax.jit(lambda net, *raw: net.trial(net.inputs_of(*raw)).mean)
    now, before = (means(state.module, *raw) for state in (then, first))
    np.testing.assert_allclose(now, before, atol=1e-6)


def test_returns_end_with_the_episode_or_go_on_over_the_trial():
    """Rewards of noise: what the first slot's last action is worth depends on the second slot's rewards, or not."""
    reward = np.asarray(random.normal(jax.random.key(0), (400, 15, 2)))
    zeros = np.zeros((*reward.shape, 1), np.float32)
    never, end = np.zeros(reward.shape, bool), np.arange(15)[:, None] == 14
    slots = Transitions(zeros, zeros, reward, zeros, never, never | end)

    def correlation(across):
        config = dataclasses.replace(SMOKE, across_episodes=across)
        result = np.asarray(jax.jit(rl2.advantages, static_argnums=1)(slots, config))
        assert result.shape == (400, 30)
        return np.corrcoef(result[:, 14], reward[:, :5, 1].sum(axis=1))[0, 1]

    assert abs(correlation(False)) < 0.15 < 0.3 < correlation(True)


def test_what_only_a_memory_over_episodes_can_solve_is_learned():
    algorithm, state = new(meta_batch=40, n_epochs=5, learning_rate=1e-2)
    for i in range(25):
        state, metrics = algorithm.step(state, jax.random.key(i))
    tasks = ARMS.space.held_out(2)
    stages = itertools.islice(algorithm.adapt(state, tasks, jax.random.key(5)), 3)
    reached = [float(evaluate.real_return(ARMS, stage.policies, tasks).mean()) for stage in stages]
    assert abs(reached[0]) < 0.1 and min(reached[1:]) > 0.9, (reached, metrics)


def test_a_stage_is_a_slot_more_of_each_task():
    algorithm, state = new()
    state, tasks = without_noise(state), ARMS.space.held_out(2)
    before = algorithm.simulator.samples
    stages, used = zip(*evaluate.stages_of(algorithm, state, tasks, 2, seed=0), strict=True)
    assert used == (0, 12, 24) and algorithm.simulator.samples == before + 48
    starts = [stage.policies.start for stage in stages]
    assert not any(np.asarray(x).any() for x in starts[0])
    assert starts[1].ended.all() and starts[2].ended.all()  # a slot's end is an episode's
    assert (starts[2].hidden != starts[1].hidden).any()
