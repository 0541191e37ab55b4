"""No action outside the limits reaches a body, and both worlds obey the same limits."""

import dataclasses
import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import onebody
from onebody.algorithms.mb_mpo.early_stopping import EarlyStoppedEnsemble, EarlyStoppingConfig
from onebody.algorithms.omni import first_order
from onebody.core.errors import NotFinite, OnebodyError
from onebody.core.nets import Normalizer
from onebody.learning.dynamics import Dynamics, DynamicsConfig, disagreement, merge_statistics, new_dynamics
from onebody.learning.ensemble import Ensemble, EnsembleConfig
from onebody.learning.policies import ConditionedPolicy, UniformPolicy, for_each
from onebody.tasks import registry
from onebody.tasks.limited import limited
from onebody.tasks.limits import CLIPPED_SLOPE, LimitedBody, Limits, limited_command
from onebody.worlds import engines
from onebody.worlds.check import check
from onebody.worlds.imagination import Imagination
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator
from tests.worlds.carts import carts
from tests.worlds.customs import forgotten

POINT = registry.make("point/goal")
TASK = jnp.zeros((1, 2))


class Recording:
    """An engine of a body that stays where it is, and records the actions that it receives."""

    def __init__(self, size, n):
        self.size, self.received, self.ended = size, [], np.zeros(n, bool)

    def set_physics(self, fields): ...

    def reset(self, rows, draws):
        return np.zeros((len(self.ended), self.size), np.float32)

    def step(self, action):
        self.received.append(np.array(action))
        return np.full((len(self.ended), self.size), len(self.received), np.float32)


def received(limits, actions):
    """What the point robot's engine receives of actions [time, episode, action] in one episode of each."""
    body = LimitedBody(POINT.body, limits)
    inner = Recording(2, actions.shape[1])
    limiting = engines.LimitedEngine(body, inner, actions.shape[1])
    limiting.reset(np.arange(actions.shape[1]), [(np.random.default_rng(0), actions.shape[1])])
    for action in actions:
        limiting.step(np.clip(action, -1, 1))
    return body, np.stack(inner.received)


@st.composite
def any_limits(draw):
    low = draw(st.tuples(*2 * [st.floats(-1, 0.5)]))
    high = tuple(draw(st.floats(x + 0.1, 1)) for x in low)
    rate = draw(st.none() | st.floats(0.01, 3))
    smoothness, latency = draw(st.sampled_from([0.0, 0.1])), draw(st.integers(0, 4))
    return {"action_low": low, "action_high": high, "action_rate": rate, "latency": latency, "smoothness": smoothness}


@settings(max_examples=60, deadline=None)
@given(limits=any_limits(), seed=st.integers(0, 1000), size=st.sampled_from([0.5, 1.0, 1e30]))
def test_no_action_outside_the_limits_reaches_a_body_and_the_latency_is_exact(limits, seed, size):
    actions = (size * np.random.default_rng(seed).normal(size=(12, 3, 2))).astype(np.float32)
    actions[::3] = np.sign(actions[::3]) * np.inf
    limits = Limits(**limits)
    body, applied = received(limits, actions)
    assert (applied >= body.low).all() and (applied <= body.high).all()
    steps = np.diff(np.concatenate([np.broadcast_to(np.clip(0, body.low, body.high), (1, 3, 2)), applied]), axis=0)
    assert (np.abs(steps) <= body.rate + 1e-6).all()
    _, at_once = received(dataclasses.replace(limits, latency=0), actions)
    np.testing.assert_array_equal(applied[limits.latency :], at_once[: len(actions) - limits.latency])


def test_a_hostile_policy_cannot_pass_the_limits(monkeypatch):
    family = limited(POINT, Limits(-0.5, 0.75, 0.25, latency=1))
    simulator, robots = Simulator(family), []
    monkeypatch.setattr(engines, "ClosedFormEngine", lambda body, n: robots.append(Recording(2, n)) or robots[-1])
    age, observation = simulator.reset(TASK, 2, jax.random.split(jax.random.key(0), 1))
    for step in range(6):
        action = np.full((1, 2, 2), [1e38, -np.inf] if step % 2 else [-1e38, np.inf], np.float32)
        age, observation, _ = simulator.step(age, observation, action)
    applied = np.stack(robots[0].received)
    assert np.abs(applied).max() > 0.2 and np.abs(np.diff(applied, axis=0)).max() <= 0.25
    assert (applied >= -0.5).all() and (applied <= 0.75).all()
    with pytest.raises(NotFinite, match="action is not finite at step 7"):
        simulator.step(age, observation, np.full((1, 2, 2), np.nan, np.float32))
    assert len(robots[0].received) == 6 and simulator.samples == 12


def costly(observation, action, next_observation, task):
    return -jnp.sum((next_observation[-2:] - task) ** 2) - jnp.sum(action**2)


LIMITS = Limits(action_low=(-0.5, -1.0), action_rate=0.5, latency=2, smoothness=3.0, observation_high={"y (m)": 0.05})
"""with 4 commands in the observation"""
FAMILY = limited(dataclasses.replace(POINT, reward=costly), LIMITS, id="test/limited")


@pytest.fixture(scope="module")
def real():
    """Steps of random actions in the real world [time, episode], of the first axis of tasks."""
    transitions = rollout(Simulator(FAMILY), for_each(UniformPolicy(2), 1), TASK, jax.random.key(0), episodes=40)
    return jax.tree.map(lambda x: x[0], transitions)


def test_a_command_is_within_its_bounds_whatever_the_command_before_was():
    low, high, rate = (np.full(1, x, np.float32) for x in (0.5, 1.0, 0.1))
    assert limited_command(np.ones(1, np.float32), np.zeros(1, np.float32), low, high, rate) == 0.5


def test_the_models_do_not_disagree_about_commands():
    body = LimitedBody(registry.make("point/goal").body, onebody.Limits(latency=2))
    predicted = jnp.zeros((2, body.observation_size)).at[0, : body.n_sensed].set(2.0)
    statistics = Normalizer(body.observation_size)
    np.testing.assert_allclose(disagreement(predicted, statistics, body), 1.0, rtol=1e-6)


def test_rewards_and_ends_are_those_of_the_action_that_the_body_receives(real):
    assert FAMILY.body.labels[2:4] == ("command 1, 2 steps before", "command 2, 2 steps before")
    before, after = np.asarray(real.observation), np.asarray(real.next_observation)
    np.testing.assert_allclose(after[..., :2], before[..., :2] + 0.1 * before[..., 2:4], atol=1e-6)
    np.testing.assert_array_equal(after[..., 2:4], before[..., 4:])
    change = after[..., 4:] - before[..., 4:]
    cost = (after[..., :2] ** 2).sum(-1) + (before[..., 2:4] ** 2).sum(-1) + 3 * (change**2).sum(-1)
    np.testing.assert_allclose(real.reward, -cost, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(real.terminated, after[..., 1] > np.float32(0.05))
    assert np.abs(change).max() > 0.49 and real.terminated.any()
    begin = np.concatenate([np.ones((1, 40), bool), np.asarray(real.done)[:-1]])
    assert not before[begin][:, 2:].any() and before[~begin][:, 4:].any()


def slbo(real):
    model = new_dynamics(jax.random.key(0), 6, 2, DynamicsConfig((8,)), FAMILY.limited)
    net = jax.tree.map(lambda x: 1e5 * x, model.net)  # it begins near zero
    return merge_statistics(eqx.tree_at(lambda m: m.net, model, net), real)


def omni(real):
    return merge_statistics(Ensemble(jax.random.key(0), 6, 2, EnsembleConfig(2, (8,)), FAMILY.limited), real).member(1)


def mb_mpo(real):
    config = EarlyStoppingConfig(2, (8,), noise=5.0)
    ensemble = EarlyStoppedEnsemble(jax.random.key(0), 6, 2, config, FAMILY.limited)
    return jax.tree.map(lambda x: x[0], merge_statistics(ensemble, real).members())


@pytest.mark.parametrize("kind", [slbo, omni, mb_mpo])
def test_models_compute_the_commands_and_are_given_the_action_that_the_body_receives(real, kind):
    model = kind(real)
    predict = jax.jit(lambda observation, action: model(jax.random.key(0), observation, action))
    predicted = predict(real.observation, real.action)
    np.testing.assert_array_equal(predicted[..., 2:], real.next_observation[..., 2:])
    assert np.abs(predicted[..., :2] - real.next_observation[..., :2]).max() > 1e-3
    assert getattr(model, "mean", model).net.weights[0].shape[0] == 4
    later = predict(real.observation, real.action + 1.0)  # the latency is 2
    np.testing.assert_array_equal(predicted[..., :2], later[..., :2])
    sooner = predict(real.observation.at[..., 2].add(0.5), real.action)
    assert (predicted[..., :2] != sooner[..., :2]).any()


def test_both_worlds_give_the_same_commands_rewards_and_ends(real):
    world = Imagination(FAMILY, slbo(real), real.observation[0])
    state, _ = world.reset(TASK, 40, jax.random.split(jax.random.key(0), 1))
    observation, action = real.observation[None, 3], 5 * real.action[None, 3]
    _, _, imagined = jax.jit(lambda *inputs: world.step(*inputs))(state, observation, action)
    simulator = Simulator(FAMILY)
    simulator.reset(TASK, 40, jax.random.split(jax.random.key(0), 1))
    assert isinstance(simulator._engine, engines.LimitedEngine)
    simulator._engine.observation[:] = observation[0]
    _, lived = simulator.advance(np.zeros((1, 40), np.int32), np.asarray(observation), np.asarray(action))
    np.testing.assert_array_equal(imagined.next_observation[..., 2:], lived.next_observation[..., 2:])
    reward, terminated = FAMILY.outcome(observation, action, imagined.next_observation, TASK[:, None])
    np.testing.assert_array_equal(imagined.reward, reward)
    np.testing.assert_array_equal(imagined.terminated, terminated)
    of_same, _ = FAMILY.outcome(observation, action, jax.device_put(lived.next_observation), TASK[:, None])
    np.testing.assert_allclose(lived.reward, of_same, rtol=1e-6)


def test_gradients_flow_through_the_limits():
    body = limited(POINT, Limits(action_high=0.9, action_rate=0.5, latency=1)).limited

    def received(action):
        """What the body receives in the second step of two."""
        _, commands = body.command(jnp.zeros(4), action)
        return body.command(jnp.concatenate([jnp.zeros(2), commands]), action)[0].sum()

    np.testing.assert_array_equal(jax.grad(received)(jnp.array([0.25, 0.75])), [1.0, np.float32(CLIPPED_SLOPE)])
    np.testing.assert_array_equal(jax.grad(received)(jnp.array([0.25, 5.0])), [1.0, 0.0])
    second = lambda first: body.command(jnp.concatenate([jnp.zeros(2), first]), jnp.ones(2))[1].sum()  # noqa: E731
    np.testing.assert_array_equal(jax.grad(second)(jnp.array([0.0, 0.25])), [1.0, 1.0])


NOISY = Limits(observation_noise={"x (m)": 0.5}, dropped=0.4, latency=1)


def test_noise_and_dropped_observations_are_the_same_in_both_worlds():
    """The policy is given noisy, and sometimes old, observations; the worlds go on from the true ones."""
    family, episodes = limited(POINT, NOISY), 200
    simulator = Simulator(family)
    policies, key = for_each(UniformPolicy(2), 1), jax.random.key(0)

    class Exact(Dynamics):
        def predict(self, observation, action):
            moved = observation[..., :2] + 0.1 * observation[..., 2:]
            return jnp.concatenate([moved, jnp.clip(action, -1, 1)], axis=-1)

    exact = Exact(None, Normalizer(4), Normalizer(4), limited=family.limited)
    starts = jnp.zeros((1, 4))
    for world in (simulator, Imagination(family, exact, starts)):
        seen = jax.tree.map(lambda x: np.asarray(x)[0], rollout(world, policies, TASK, key, episodes=episodes))
        y = np.concatenate([seen.observation[:1], seen.next_observation])[..., 1]
        again = seen.next_observation[..., 0] == seen.observation[..., 0]
        assert again.mean() == pytest.approx(0.4, abs=0.03)
        np.testing.assert_array_equal(again, (seen.next_observation[..., :2] == seen.observation[..., :2]).all(-1))
        where = y[0] + 0.1 * np.cumsum(seen.observation[..., 3], axis=0)  # without noise
        np.testing.assert_allclose(y[1:][~again], where[~again], atol=1e-4)
        assert np.std(np.diff(seen.observation[..., 0], axis=0)[~again[:-1]]) == pytest.approx(0.7, abs=0.08)
        np.testing.assert_allclose(seen.reward, -np.linalg.norm(seen.next_observation[..., :2], axis=-1), atol=1e-5)
    again = rollout(simulator, policies, TASK, key, episodes=episodes)
    np.testing.assert_array_equal(
        again.observation, rollout(Simulator(family), policies, TASK, key, episodes=episodes).observation
    )


def test_the_windows_of_omni_have_the_same_noise():
    family = limited(POINT, NOISY)
    config = first_order.FirstOrderConfig(hidden=(4,), window=6)
    policy = ConditionedPolicy(jax.random.key(0), (4,), Normalizer(4), Normalizer(2), 2)
    seen = jax.jit(
        lambda: first_order.imagine(
            policy,
            lambda key, observation, action: observation + 1.0,
            family.outcome,
            jnp.zeros((300, 4)),
            jnp.zeros((300, 2)),
            jnp.zeros((6, 300, policy.noise_size)),
            jnp.zeros((0, 300, 4)),
            jax.random.key(0),
            config,
            family.limited,
        )
    )()
    again = seen.next_observation[..., 1] == seen.observation[..., 1]
    assert np.mean(again) == pytest.approx(0.4, abs=0.03)
    expected = np.broadcast_to(np.arange(1.0, 7)[:, None], again.shape)  # the model goes on from what it predicted
    np.testing.assert_array_equal(seen.next_observation[..., 1][~again], expected[~again])
    np.testing.assert_array_equal(seen.next_observation[..., 2:], np.broadcast_to(expected[..., None], (6, 300, 2)))
    assert np.std(seen.next_observation[..., 0] - expected, where=~again) == pytest.approx(0.5, abs=0.05)


WRONG = {
    "action_low must be below": {"action_low": 0.5, "action_high": 0.5},
    "within \\[-1, 1\\]": {"action_high": 1.5},
    "action_low is one number, or 2": {"action_low": (0.0, 0.0, 0.0)},
    "action_rate must be above 0": {"action_rate": 0.0},
    "latency must be 0": {"latency": -1},
    "dropped is a probability": {"dropped": 1.0},
    "smoothness must be 0": {"smoothness": -1.0},
    "'z \\(m\\)', no number of its observation; did you mean 'y": {"observation_low": {"z (m)": 0.0}},
    "names number 2 of 2": {"observation_noise": {2: 0.1}},
    "observation_noise must be 0": {"observation_noise": -0.1},
    "observation_low must be below": {"observation_low": {0: 1.0}, "observation_high": {0: 1.0}},
}


@pytest.mark.parametrize(("message", "wrong"), WRONG.items(), ids=WRONG)
def test_limits_that_do_not_fit_are_refused(message, wrong):
    with pytest.raises(OnebodyError, match=message):
        limited(POINT, Limits(**wrong))


def test_a_family_with_limits_is_checked_without_and_with_them():
    assert check(limited(POINT, NOISY)) == []
    with pytest.raises(OnebodyError, match="has limits already"):
        limited(FAMILY, NOISY)
    with pytest.raises(OnebodyError, match="terminal is true from the first step"):
        check(limited(POINT, Limits(observation_low={"x (m)": 5.0})))
    wrong = dataclasses.replace(POINT, reward=lambda o, a, n, t: n[2])
    with pytest.raises(OnebodyError, match="reads what is not there"):  # the commands are no part of it
        check(limited(wrong, NOISY))
    assert onebody.limited is limited and onebody.Limits is Limits
    shifted = limited(dataclasses.replace(POINT, test=registry.make("maml/point")), NOISY, id="mine/point")
    assert shifted.test is not None and shifted.test.limited is not None and shifted.test.id == "mine/point-test"


def test_registering_a_family_with_limits_keeps_them():
    """A Gymnasium environment may be a robot."""
    family, _ = carts()
    received = []

    class Recording(family.body.make):
        def reset(self, **options):
            self.commands = [np.zeros(1)]
            received.append(self.commands)
            return super().reset(**options)

        def step(self, action):
            self.commands.append(np.array(action) / 2)  # which has the range [-2, 2]
            return super().step(action)

    own = dataclasses.replace(family, body=dataclasses.replace(family.body, make=Recording))
    limits = Limits(action_low=-0.5, action_high=0.5, action_rate=0.25, latency=1)
    with forgotten():
        onebody.register(onebody.limited(own, limits, id="test/limited-cart"))
    assert sum(map(len, received)) > 50
    for episode in received:
        actions = np.stack(episode)
        assert actions.min() >= -0.5 and actions.max() <= 0.5 and np.abs(np.diff(actions, axis=0)).max(initial=0) < 0.26


def test_the_example_of_the_page_registers_a_family():
    page = (Path(__file__).parents[2] / "docs" / "custom_family.md").read_text()
    (text,) = re.findall(r"^```python\n(# limited_cheetah.*?)^```$", page, re.M | re.S)
    with forgotten():
        exec(text, {})
        family = registry.make("mine/limited-cheetah")
    assert family.body.observation_size == family.body.n_sensed + 6 and len(family.body.describe()) == 7
    assert "rooty (rad) is outside [-1.5, 1.5]" in family.differs and family.body.noise.sum() == np.float32(0.01)
