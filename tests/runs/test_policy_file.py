import dataclasses
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import onebody
from onebody.algorithms.context.recurrent import Memory, RecurrentNet, RecurrentPolicy
from onebody.core.errors import OnebodyError
from onebody.core.nets import MLP, Normalizer, fan_in, normed_tanh
from onebody.learning.policies import ConditionedPolicy, DeterministicPolicy, GaussianPolicy
from onebody.runs import playable, policy_file
from onebody.tasks import registry
from onebody.tasks.body import GymnasiumBody
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

OBSERVATION = np.random.default_rng(0).normal(2.0, 3.0, size=(20, 4)).astype(np.float32)
seen = jax.jit(lambda rows: Normalizer(rows.shape[1]).update(rows))
SEEN = seen(OBSERVATION)


@jax.jit
def gaussian(key):
    policy = GaussianPolicy(key, (32, 32), SEEN, 3)
    return large(policy), jnp.zeros(0)


@jax.jit
def scaled(key):
    return large(GaussianPolicy(key, (32, 32), SEEN, 3, "relu", 0.1)), jnp.zeros(0)


@jax.jit
def conditioned(key):
    policy = ConditionedPolicy(key, (16, 24), SEEN, Normalizer(2).update(jnp.array([[1.0, 2.0], [3.0, -1.0]])), 3)
    return large(policy), jnp.array([0.5, -1.5])


@jax.jit
def deterministic(key):
    net = MLP(key, (4, 16, 24, 3), normed_tanh, [fan_in(0.3)] * 3)
    return large(DeterministicPolicy(net, SEEN)), jnp.zeros(0)


def large(policy):
    """With biases and with actions at their limits."""
    return jax.tree.map(lambda x: 100 * x + 0.1 if x.shape[-1:] in ((3,), (6,)) else x + 0.1, policy)


def own_actions(policy, task):
    silence = np.zeros((20, policy.noise_size), np.float32)
    return np.clip(eqx.filter_jit(policy)(OBSERVATION, task, (), silence)[0], -1, 1)


@pytest.fixture(params=[gaussian, scaled, conditioned, deterministic])
def policy_and_task(request):
    return request.param(jax.random.key(0))


def saved(policy, task, path):
    return policy_file.save(jax.tree.map(lambda x: jax.device_put(np.asarray(x)[None]), policy), task, path)


def test_a_saved_policy_acts_as_the_policy(policy_and_task, tmp_path):
    act, own = policy_file.load(saved(*policy_and_task, tmp_path / "policy.npz")), own_actions(*policy_and_task)
    assert np.abs(own).max() > 0.9 and own.std() > 0.2
    np.testing.assert_allclose(act(OBSERVATION), own, atol=1e-5)
    np.testing.assert_allclose(act(OBSERVATION[3]), own[3], atol=1e-5)


def test_a_saved_policy_ignores_what_never_varied(tmp_path):
    constant = seen(np.where(np.arange(4) == 3, np.float32(1.0), OBSERVATION))
    policy, _ = gaussian(jax.random.key(0))
    policy = eqx.tree_at(lambda p: p.observation, policy, constant)
    act = policy_file.load(saved(policy, jnp.zeros(0), tmp_path / "policy.npz"))
    np.testing.assert_allclose(act(OBSERVATION), own_actions(policy, jnp.zeros(0)), atol=1e-5)
    np.testing.assert_array_equal(act(OBSERVATION), act(OBSERVATION * [1, 1, 1, 1000]))
    onnx = pytest.importorskip("onnxruntime")
    path = saved(policy, jnp.zeros(0), tmp_path / "policy.onnx")
    (actions,) = onnx.InferenceSession(str(path)).run(None, {"observation": OBSERVATION})
    np.testing.assert_allclose(actions, act(OBSERVATION), atol=1e-5)


def test_an_onnx_file_acts_as_the_policy(policy_and_task, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    path = saved(*policy_and_task, tmp_path / "policy.onnx")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for rows in (slice(0, 20), slice(3, 4)):
        (action,) = session.run(["action"], {"observation": OBSERVATION[rows]})
        np.testing.assert_allclose(action, own_actions(*policy_and_task)[rows], atol=1e-5)


PAGE = Path(__file__).parents[2] / "docs" / "robots.md"
LINES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
"""programs of the page that load a policy without onebody: from .npz, from .onnx"""


@pytest.mark.parametrize("suffix", [".npz", ".onnx"])
def test_the_lines_of_the_page_act_as_the_policy(suffix, policy_and_task, adapted, tmp_path, monkeypatch):
    if suffix == ".onnx":
        pytest.importorskip("onnxruntime")
    policies = jax.tree.map(lambda x: jax.device_put(np.asarray(x)[None]), policy_and_task[0])
    path = policy_file.save(policies, policy_and_task[1], tmp_path / f"policy{suffix}", adapted.about)
    (program,) = (lines for lines in LINES if path.name in lines)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(program, names)
    expected = own_actions(*policy_and_task)
    np.testing.assert_allclose(names["act"](OBSERVATION), expected, atol=1e-5)
    np.testing.assert_allclose(names["act"](OBSERVATION[3]), expected[3], atol=1e-5)
    labels = names["labels"] if suffix == ".onnx" else names["about"]["observation_labels"]
    assert labels == list(adapted.about.observation_labels) and "onebody" not in program


def test_without_its_package_an_onnx_file_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(OnebodyError, match=r"onebody\[onnx\]"):
        saved(*gaussian(jax.random.key(0)), tmp_path / "policy.onnx")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return onebody.train("smt", "point", preset="smoke", samples=80, out=out, quiet=True)


@pytest.fixture(scope="module")
def adapted(run):
    return onebody.adapt(run, [0.5, -0.5])


def test_what_is_saved_needs_numpy_alone(adapted, tmp_path):
    path = adapted.save(tmp_path / "policy.npz")
    np.testing.assert_array_equal(adapted(np.zeros(2)), onebody.load_policy(path)(np.zeros(2)))
    code = f"""
import sys, onebody
policy = onebody.load_policy({str(path)!r})
policy([0.0, 0.0])
print(policy)
sys.exit('jax' in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.returncode == 0 and said.stdout == f"{adapted.about}\n"


def test_a_file_says_what_its_policy_is_for(adapted, tmp_path):
    about = onebody.load_policy(adapted.save(tmp_path / "policy.npz")).about
    assert about == adapted.about
    assert (about.algorithm, about.family, about.family_version, about.task) == ("smt", "point/goal", 1, (0.5, -0.5))
    assert about.observation_labels == ("x (m)", "y (m)") and about.task_labels == registry.make("point").task_names
    assert (about.action_labels, about.action_low, about.action_high) == (("action 1", "action 2"), (-1, -1), (1, 1))
    assert (about.dt, about.training_samples, about.adaptation_samples) == (0.1, 80, 0)
    assert about.predicted_return == pytest.approx(adapted.predicted_return) and about.reward == ""
    assert about.predicted_interval is None and about.novelty is None and about.onebody == onebody.__version__
    lines = str(about).splitlines()
    assert lines[0] == "policy of smt for point/goal, version 1" and 6 < len(lines) < 13
    assert "  real samples  80 of training, 0 of this task" in lines


def test_an_onnx_file_says_the_same(adapted, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(adapted.save(tmp_path / "policy.onnx"), providers=["CPUExecutionProvider"])
    said, about = session.get_modelmeta().custom_metadata_map, dataclasses.asdict(adapted.about)
    assert said.keys() == about.keys()
    for name, value in about.items():
        expected = list(value) if isinstance(value, tuple) else value
        assert (said[name] if isinstance(value, str) else json.loads(said[name])) == expected


def test_a_later_format_is_refused_and_a_file_without_a_description_is_read(adapted, tmp_path):
    path = adapted.save(tmp_path / "policy.npz")
    content = dict(np.load(path))
    about = json.loads(str(content.pop("about")))
    np.savez(tmp_path / "old.npz", **content)
    old = policy_file.load(tmp_path / "old.npz")
    assert old.about is None and "2 numbers" in str(old)
    np.testing.assert_array_equal(old(np.ones(2)), adapted(np.ones(2)))
    np.savez(tmp_path / "new.npz", about=json.dumps(about | {"format": 3, "onebody": "9.9"}), more=np.ones(1))
    with pytest.raises(
        OnebodyError, match=r"new\.npz has format 3, of onebody 9\.9, and this onebody reads .* up to 2"
    ):
        policy_file.load(tmp_path / "new.npz")
    del about["task"]
    np.savez(tmp_path / "less.npz", about=json.dumps(about), **content)
    with pytest.raises(OnebodyError, match=r"less\.npz is not a saved policy: .*task"):
        policy_file.load(tmp_path / "less.npz")


def test_a_run_that_is_loaded_once_gives_the_policies_of_adapt(run, adapted):
    loaded = onebody.load(run)
    policy = loaded.policy([0.5, -0.5])
    np.testing.assert_array_equal(policy(np.ones((3, 2))), adapted(np.ones((3, 2))))
    assert policy.about == adapted.about
    assert loaded.policy([1.0, 0.5]).about.task == (1.0, 0.5)
    with pytest.raises(OnebodyError, match="a task is needed"):
        loaded.policy()
    with pytest.raises(OnebodyError, match="is outside"):
        loaded.policy([2.0, 0.5])
    assert loaded.policy([2.0, 0.5], extrapolate=True).about.task == (2.0, 0.5)


def test_a_policy_for_a_hidden_task_needs_real_samples(tmp_path):
    run = onebody.train("random-search", "point", preset="smoke", samples=0, out=tmp_path / "run", quiet=True)
    with pytest.raises(OnebodyError, match=r"random-search is not told the task.*onebody\.adapt"):
        onebody.load(run).policy([0.5, 0.5])
    with pytest.raises(OnebodyError, match="not a run folder"):
        onebody.load(tmp_path)


def test_an_action_says_what_it_is_scaled_to():
    cheetah = registry.make("cheetah-vel").body.action_ranges
    assert cheetah[0] == ("bthigh (N m)", -120.0, 120.0) and len(cheetah) == 6
    servo = """
      <mujoco>
        <worldbody>
          <body><joint name="slider" type="slide"/><geom size="1"/></body>
          <body><joint name="hinge"/><geom size="1"/></body>
        </worldbody>
        <actuator>
          <motor joint="slider" gear="3" ctrlrange="-2 1"/>
          <position joint="hinge" ctrlrange="-0.5 0.5"/>
          <position joint="hinge" ctrlrange="0 1" name="other"/>
        </actuator>
      </mujoco>
    """
    ranges = onebody.MujocoBody("servo", servo, 1).action_ranges
    assert ranges == (("slider (N)", -6.0, 3.0), ("hinge", -0.5, 0.5), ("other", 0.0, 1.0))
    labels, bounds = ("cos", "sin", "rate"), ((-2.0,), (2.0,))
    pendulum = GymnasiumBody("pendulum", lambda: gymnasium.make("Pendulum-v1"), labels, *bounds, 0.05)
    assert pendulum.action_ranges == (("action 1", -2.0, 2.0),)


def test_another_name_is_refused(policy_and_task, tmp_path):
    with pytest.raises(OnebodyError, match=r"\.npz or \.onnx"):
        saved(*policy_and_task, tmp_path / "policy.pkl")


def test_a_file_that_is_no_policy_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"nothing")
    np.savez(tmp_path / "b.npz", x=np.zeros(1))
    (tmp_path / "d.npz").write_bytes(b"")
    np.save(tmp_path / "e.npy", np.zeros(1))
    with pytest.raises(OnebodyError, match=r"there is no file .*c\.npz; to write one: onebody adapt RUN"):
        policy_file.load(tmp_path / "c.npz")
    for name in ("a.npz", "b.npz", "d.npz", "e.npy"):
        with pytest.raises(OnebodyError, match="is not a saved policy"):
            policy_file.load(tmp_path / name)
    with pytest.raises(
        OnebodyError, match=r"it has one for any task, which opens with: onebody play .*cheetah-vel\.npz"
    ):
        policy_file.load(playable.BUNDLED)


@pytest.fixture(scope="module")
def remembered():
    """A policy that has a memory of its own, and what it does in episodes one after the other."""
    net = jax.jit(lambda key: RecurrentNet(key, 2, 2, 5))(jax.random.key(0))
    normalizer = seen(np.float32([[0.1, -0.3], [0.4, 0.5]]))
    net = eqx.tree_at(
        lambda n: (n.readout, n.offset, n.observation), net, (150 * net.readout, net.offset + 0.1, normalizer)
    )
    start = Memory(jnp.full(5, 0.3), jnp.array([0.5, -2.0]), jnp.array(1.5), jnp.array(True))
    policies = jax.tree.map(lambda x: x[None], RecurrentPolicy(net, start))
    family, key = registry.make("point/goal"), jax.random.key(0)
    transitions = rollout(Simulator(family), policies, jnp.ones((1, 2)), key, episodes=3, steps=50, deterministic=True)
    return policies, jax.tree.map(lambda x: np.asarray(x)[0], transitions)


def test_a_saved_policy_with_memory_acts_as_the_policy(remembered, tmp_path):
    policies, transitions = remembered
    act = policy_file.load(policy_file.save(policies, jnp.zeros(2), tmp_path / "policy.npz"))
    done, expected = transitions.terminated | transitions.truncated, np.clip(transitions.action, -1, 1)
    actions = [act(transitions.observation[0])]
    actions += [act(*row) for row in zip(transitions.observation[1:], transitions.reward[:-1], done[:-1], strict=True)]
    np.testing.assert_allclose(actions, expected, atol=1e-4)
    assert done[:-1].any() and expected.std() > 0.1 and (np.abs(expected) == 1).any()
    alone = policy_file.load(tmp_path / "policy.npz")
    np.testing.assert_allclose(alone(transitions.observation[0, 0]), expected[0, 0], atol=1e-5)
    np.testing.assert_allclose(
        alone(transitions.observation[1, 0], transitions.reward[0, 0]), expected[1, 0], atol=1e-4
    )


def test_a_policy_with_memory_wants_the_reward_and_has_no_onnx_file(remembered, tmp_path):
    act = policy_file.actor(policy_file.arrays(remembered[0], jnp.zeros(2)))
    act(np.zeros(2))
    with pytest.raises(OnebodyError, match=r"policy\(observation, reward, ended\)"):
        act(np.zeros(2))
    with pytest.raises(OnebodyError, match=r"can only be saved as \.npz"):
        policy_file.save(remembered[0], jnp.zeros(2), tmp_path / "policy.onnx")
    assert not list(tmp_path.iterdir())


WRONG = {
    "a number": lambda n: 0.5,
    "nothing": lambda n: None,
    "(1,)": lambda n: [0.5],
    "(n, 1)": lambda n: np.zeros((n, 1)),
    "(5, 1)": lambda n: np.zeros((5, 1)),
    "one too many": lambda n: np.zeros(n + 1),
    "NaN": lambda n: np.full(n, np.nan),
    "infinite": lambda n: np.full(n, np.inf),
    "a text": lambda n: "x",
    "rows of several lengths": lambda n: [[0.0] * n, [0.0]],
    "texts of numbers": lambda n: ["0.5"] * n,
    "numbers and nothing": lambda n: [0.5] * (n - 1) + [None],
    "complex": lambda n: np.zeros(n, complex),
    "beyond float32": lambda n: np.full(n, 1e300),
}


@pytest.mark.parametrize("observation", WRONG.values(), ids=WRONG)
def test_an_observation_of_another_kind_gives_no_action(remembered, observation, tmp_path):
    path, (policies, _) = saved(*gaussian(jax.random.key(0)), tmp_path / "policy.npz"), remembered
    memory = policy_file.save(policies, jnp.zeros(2), tmp_path / "memory.npz")
    for act, size in ((policy_file.load(path), 4), (policy_file.load(memory), 2)):
        with pytest.raises(OnebodyError, match="an observation of this policy") as caught:
            act(observation(size))
        assert "\n" not in str(caught.value)
        assert act(np.zeros((7, size))).shape[0] == 7


def test_what_is_wrong_with_an_observation_is_named(adapted, tmp_path):
    act = policy_file.load(adapted.save(tmp_path / "policy.npz"))
    with pytest.raises(OnebodyError, match=r"has shape \(2,\), or \(batch, 2\), not \(5, 1\)"):
        act(np.zeros((5, 1)))
    with pytest.raises(OnebodyError, match=r"must be finite numbers; number 1 \(y \(m\)\) is inf"):
        act([[0.0, 0.0], [0.0, np.inf]])
    with pytest.raises(OnebodyError, match=r"is an array of numbers, not a NoneType"):
        act(None)


def test_an_action_that_is_not_finite_is_never_given(remembered, tmp_path):
    """Finite numbers can be so large that a sum of them is none; and a file can be damaged."""
    numbers = {"weight0": [[9.0], [-9.0]], "bias0": [0.0], "observation_mean": [0.0] * 2, "observation_std": [1.0] * 2}
    arrays = {name: np.array(x, np.float32) for name, x in numbers.items()}
    act = policy_file.actor(arrays | {"activation": np.array("tanh"), "limit": np.array("tanh")})
    assert act(np.full(2, 1e37)) == 0
    with pytest.raises(OnebodyError, match="the action is not finite"):
        act(np.full(2, 3e38))
    damaged = policy_file.arrays(remembered[0], jnp.zeros(2)) | {"offset": np.array([0.0, np.nan], np.float32)}
    with pytest.raises(OnebodyError, match="the action is not finite"):
        policy_file.actor(damaged)(np.zeros(2))
    np.savez(tmp_path / "damaged.npz", **damaged)
    with pytest.raises(OnebodyError, match=r"damaged\.npz is not a saved policy: it has numbers that are NaN"):
        policy_file.load(tmp_path / "damaged.npz")


def test_a_policy_with_memory_acts_on_one_batch(remembered, tmp_path):
    act = policy_file.load(policy_file.save(remembered[0], jnp.zeros(2), tmp_path / "memory.npz"))
    act(np.zeros((3, 2)))
    with pytest.raises(OnebodyError, match=r"has the shape of its first one, \(3, 2\).* shape \(2,\)"):
        act(np.zeros(2), 0.0)
    with pytest.raises(OnebodyError, match=r"`ended` of this policy has shape \(3,\).*not \(2,\)"):
        act(np.zeros((3, 2)), np.zeros(3), np.zeros(2, bool))
    with pytest.raises(OnebodyError, match=r"a reward of this policy is an array of numbers, not a str"):
        act(np.zeros((3, 2)), "x")
    assert act(np.zeros((3, 2)), 1.0, False).shape == (3, 2)


def test_a_reward_that_is_not_finite_gives_no_action(remembered, tmp_path):
    act = policy_file.load(policy_file.save(remembered[0], jnp.zeros(2), tmp_path / "memory.npz"))
    act(np.zeros(2))
    with pytest.raises(OnebodyError, match="a reward of this policy must be finite"):
        act(np.zeros(2), np.nan, False)
