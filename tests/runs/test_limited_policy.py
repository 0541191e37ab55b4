"""A saved policy of a body with limits keeps them by itself, given the body's own observations."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import onebody
from onebody.core.errors import OnebodyError
from onebody.core.nets import Normalizer
from onebody.learning.policies import GaussianPolicy
from onebody.runs import policy_file
from onebody.runs.adapt import AdaptedPolicy
from onebody.tasks import registry
from onebody.tasks.limits import Limits
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

LIMITS = Limits(action_low=(-0.5, -1.0), action_rate=0.5, latency=2)
FAMILY = onebody.limited(registry.make("point/goal"), LIMITS, id="test/limited-policy")
TASKS = jnp.zeros((1, 2))


@pytest.fixture(scope="module")
def lived():
    """A policy whose actions jump, and what it does in the simulator [time, episode]."""
    policy = jax.jit(lambda key: GaussianPolicy(key, (8,), Normalizer(6), 2))(jax.random.key(0))
    policies = jax.tree.map(lambda x: 300 * x[None] + 0.1 if x.ndim > 1 else x[None], policy)
    transitions = rollout(Simulator(FAMILY), policies, TASKS, jax.random.key(0), episodes=3, deterministic=True)
    return policies, jax.tree.map(lambda x: np.asarray(x)[0], transitions)


def test_it_gives_the_commands_of_the_simulator(lived, tmp_path):
    policies, seen = lived
    act = policy_file.load(policy_file.save(policies, TASKS[0], tmp_path / "policy.npz", limited=FAMILY.limited))
    commands = np.stack([act(row) for row in seen.observation[..., :2]])
    np.testing.assert_array_equal(commands, seen.next_observation[..., 4:])
    steps = np.diff(commands, axis=0, prepend=np.zeros((1, 3, 2)))
    assert np.abs(steps).max() == 0.5 and np.abs(seen.action).max() > 1 and commands[..., 0].min() == -0.5
    act.reset()
    np.testing.assert_array_equal(act(seen.observation[0, :, :2]), commands[0])
    complete = np.stack([act(row) for row in seen.observation])  # with the commands, which it then need not remember
    np.testing.assert_array_equal(complete, commands)
    np.testing.assert_array_equal(act(seen.observation[1, :, :2]), commands[1])


def test_an_adapted_policy_begins_an_episode_too(lived):
    policies, seen = lived
    task, unknown = np.asarray(TASKS[0]), (0.0, None, 0.0, None, None, 0, 0, 0.0, "")
    act = AdaptedPolicy(task, *unknown, policies, limited=FAMILY.limited)
    for _ in range(2):
        act.reset()
        commands = [act(row) for row in seen.observation[:3, :, :2]]
        np.testing.assert_array_equal(commands, seen.next_observation[:3, :, 4:])


def test_what_is_wrong_is_said_and_leaves_its_memory(lived, tmp_path):
    policies, seen = lived
    act = policy_file.actor(policy_file.arrays(policies, TASKS[0], FAMILY.limited))
    first = act(seen.observation[0, 0, :2])
    with pytest.raises(OnebodyError, match=r"the one before, \(2,\),.* shape \(3, 2\): call reset\(\)"):
        act(seen.observation[1, :, :2])
    with pytest.raises(OnebodyError, match="must be finite numbers; number 1 is nan"):
        act([0.0, np.nan])
    with pytest.raises(OnebodyError, match=r"has shape \(2,\), or \(batch, 2\), not \(3,\)"):
        act(np.zeros(3))
    np.testing.assert_array_equal(act(seen.observation[1, 0, :2]), seen.next_observation[1, 0, 4:])
    assert not np.array_equal(first, seen.next_observation[1, 0, 4:])
    content = dict(np.load(act.save(tmp_path / "policy.npz")))
    del content["commands"]
    np.savez(tmp_path / "less.npz", **content)
    with pytest.raises(OnebodyError, match="it has other arrays"):
        policy_file.load(tmp_path / "less.npz")


def test_a_recurrent_policy_begins_again_where_an_episode_has_ended():
    shapes = {"inputs": (10, 15), "recurrent": (5, 15), "bias": (15,), "readout": (5, 2), "hidden": (5,)}
    shapes |= {"action": (2,), "reward": (), "ended": ()}
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    act = policy_file.actor(arrays | {"offset": np.float32([9.0, 9.0])} | FAMILY.limited.arrays())
    np.testing.assert_array_equal([act(np.zeros(2)), act(np.zeros(2), 0.0, False)], [[0.5, 0.5], [1.0, 1.0]])
    np.testing.assert_array_equal(act(np.zeros(2), 0.0, True), [0.5, 0.5])


def test_an_onnx_file_has_the_commands_as_its_state(lived, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    policies, seen = lived
    path = policy_file.save(policies, TASKS[0], tmp_path / "policy.onnx", limited=FAMILY.limited)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    state = np.tile(np.float32(json.loads(session.get_modelmeta().custom_metadata_map["commands"])), (3, 1))
    for observation, expected in zip(seen.observation[:, :, :2], seen.next_observation, strict=True):
        action, state = session.run(["action", "next_state"], {"observation": observation, "state": state})
        np.testing.assert_allclose(action, expected[..., 4:], atol=1e-5)
        np.testing.assert_allclose(state, expected[..., 2:], atol=1e-5)
