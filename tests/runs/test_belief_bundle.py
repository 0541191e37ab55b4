"""An exported policy of PEARL infers its task as the algorithm does, in a memory of its own."""

import functools
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exports import Untrained, checked, module_of, parity_of

import onebody
from onebody.algorithms import presets
from onebody.algorithms.context import pearl
from onebody.cli import main
from onebody.core import random
from onebody.core.errors import OnebodyError
from onebody.learning.task_replay import Rows
from onebody.runs.checkpoint import Checkpoint
from onebody.tasks import registry
from onebody.tasks.limits import Limits
from onebody.worlds.simulator import Simulator

SMOKE = presets.preset("pearl", "smoke")
FAMILIES = {
    "point": lambda: registry.make("pearl/point"),
    "limited": lambda: onebody.limited(
        registry.make("pearl/point"), Limits(action_high=0.75, action_rate=0.5, latency=2), id="test/limited-belief"
    ),
    "varying dynamics": lambda: registry.make("pearl/hopper-params"),
}


@jax.jit
def informed(state):
    """An untrained state in which beliefs and actions depend on what is observed; variances are from 1e-7 to 6."""
    learner, latent = state.learner, SMOKE.latent
    encoder, net = learner.encoder, learner.policy.module
    scale = jnp.concatenate([jnp.full(latent, 1000.0), jnp.full(latent, 100.0)])
    raw = jnp.linspace(-20.0, 5.0, latent)
    last = scale * encoder.weights[-1], encoder.biases[-1].at[latent:].set(raw)
    encoder = eqx.tree_at(lambda n: (n.weights[-1], n.biases[-1]), encoder, last)
    net = eqx.tree_at(lambda n: n.weights[-1], net, 4000 * net.weights[-1])
    where = lambda s: (s.learner.encoder_and_critics.module.encoder, s.learner.policy.module)  # noqa: E731
    return eqx.tree_at(where, state, (encoder, net))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run that has finished no iteration."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return onebody.train("pearl", "pearl/point", preset="smoke", samples=0, out=out, quiet=True)


@pytest.fixture(scope="module")
def export_of(trained, tmp_path_factory):
    """The name of a family -> the run, and the folder that its policy is exported to."""

    @functools.cache
    def export(name):
        folder, family = tmp_path_factory.mktemp("to") / "robot", FAMILIES[name]()
        run = Untrained(trained, jnp.zeros(0))
        run.algorithm = pearl.PEARL(family, SMOKE, Simulator(family))
        state = informed(run.algorithm.init(jax.random.key(3)))
        run.__dict__["checkpoint"] = Checkpoint(3, state, {"samples": 80}, run.path)
        run.export(folder)
        return run, folder

    return export


@pytest.fixture(scope="module", params=FAMILIES)
def exported(request, export_of):
    return request.param, *export_of(request.param)


@pytest.fixture
def on_point(export_of):
    run, folder = export_of("point")
    return run, module_of(folder / "policy.py").Policy(folder)


def in_onnx(folder):
    """Inputs by name -> outputs by name, in ONNX Runtime."""
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(folder / "policy.onnx", providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def belief_of(act):
    """Mean and standard deviation."""
    return np.split(np.ravel(act._state)[: 2 * SMOKE.latent], 2)


@pytest.mark.parametrize("runtime", ["numpy", "onnx"])
def test_it_adapts_as_the_algorithm_does(on_point, export_of, runtime, monkeypatch):
    """In the very episodes of `PEARL.adapt`, told the same noise: all actions are the same, and the beliefs after each
    episode."""
    run, act = on_point
    if runtime == "onnx":
        monkeypatch.setattr(act, "run", in_onnx(export_of("point")[1]))
    episodes, collect, key, seen = [], pearl.rollout, jax.random.key(7), 4

    def recorded(*args, **kwargs):
        episodes.append(collect(*args, **kwargs))
        return episodes[-1]

    monkeypatch.setattr(pearl, "rollout", recorded)
    stages = run.algorithm.adapt(run.checkpoint.state, jnp.array([[0.6, -0.8]]), key)
    beliefs = [next(stages).belief for _ in range(seen + 1)]
    reward, ended, found, expected = None, False, [], []
    for stage, transitions in enumerate(episodes):
        observations, actions, rewards = (np.asarray(x)[0, :, 0] for x in transitions[:3])
        z_key, explore_key, _ = jax.random.split(jax.random.fold_in(key, stage), 3)
        drawn = random.normal(explore_key if stage < SMOKE.exploration_episodes else z_key, (1, SMOKE.latent))[0]
        for t, (observation, action) in enumerate(zip(observations, actions, strict=True)):
            found.append(act(observation, reward=reward, ended=ended, noise=np.asarray(drawn) if t == 0 else None))
            expected.append(action)
            if stage and t == 0:
                np.testing.assert_allclose(found[-1], expected[-1], atol=1e-5)
                mean, std = belief_of(act)
                np.testing.assert_allclose(mean, beliefs[stage].mean[0], atol=1e-5)
                np.testing.assert_allclose(std, np.exp(beliefs[stage].log_std[0]), rtol=1e-4)
            reward, ended = rewards[t], t == len(observations) - 1
    np.testing.assert_allclose(found, expected, atol=1e-5)
    first_actions = np.array(found)[:: len(observations)]
    assert first_actions.std(0).min() > 0.1 and np.std(found) > 0.1
    assert np.abs(beliefs[2].mean - beliefs[3].mean).max() > 0.01


def test_after_some_steps_the_belief_is_the_algorithms_posterior(exported):
    """Of transitions that are made up, with an end of an episode after the fifth."""
    name, run, folder = exported
    act, body = module_of(folder / "policy.py").Policy(folder), run.algorithm.family.body
    rng, n = np.random.default_rng(0), len(act.contract["observation"])
    sensed, rewards = rng.normal(0, 1, (9, n)).astype(np.float32), rng.normal(0, 1, 9).astype(np.float32)
    ended, states, commands = np.arange(9) == 4, [], []
    for t, row in enumerate(sensed):
        given = {"reward": rewards[t - 1], "ended": ended[t - 1]} if t else {}
        commands.append(act(row, **given))
        states.append(np.ravel(act._state))
    sizes = np.cumsum([5, 5, 5, body.observation_size, body.action_size, 1])
    mean, std, z, observation, action, episodes, kept = np.split(np.array(states), sizes, axis=1)
    np.testing.assert_array_equal(observation[:, :n], sensed)
    if limits := run.algorithm.family.limited:
        before = np.concatenate([limits.rest[None], kept[:-1]])
        before[5] = limits.rest
        np.testing.assert_array_equal(observation[:, n:], before)
        np.testing.assert_array_equal(kept[:, -body.action_size :], commands)
    else:
        np.testing.assert_array_equal(action, commands)

    used = [t for t in range(8) if not (name == "varying dynamics" and ended[t])]
    rows = Rows(observation[:-1], action[:-1], rewards[:-1], rewards[:-1], observation[1:], np.zeros(8, np.float32))
    inputs = pearl.context(jax.tree.map(lambda x: x[used][None], rows), run.algorithm._dynamics_vary)
    expected = pearl._posterior(run.checkpoint.state.learner.encoder, inputs)
    np.testing.assert_allclose(mean[-1], expected.mean[0], atol=1e-5)
    np.testing.assert_allclose(std[-1], np.exp(expected.log_std[0]), rtol=1e-4)
    assert (z[:5] == z[0]).all() and (z[5:] == z[5]).all() and (z[4] != z[5]).all()
    np.testing.assert_array_equal(episodes[:, 0], [1] * 5 + [2] * 4)


def test_numpy_and_onnx_agree_with_jax_on_the_parity_set(exported):
    _, run, folder = exported
    inputs, outputs = parity_of(folder)
    assert inputs.keys() == {"observation", "state", "reward", "ended", "noise"}
    np.testing.assert_array_equal(inputs["state"][1:], outputs["next_state"][:-1])
    assert SMOKE.exploration_episodes + 5 < inputs["ended"].sum() < len(inputs["ended"]) / 2
    for each in (module_of(folder / "policy.py").Policy(folder).run, in_onnx(folder)):
        found = each(inputs)
        for name, expected in outputs.items():
            np.testing.assert_allclose(found[name], expected, atol=1e-5)
    assert outputs["action"].std() > 0.1
    if limits := run.algorithm.family.limited:
        assert (outputs["action"] >= limits.low).all() and (outputs["action"] <= limits.high).all()
    done = checked(folder)
    assert done.returncode == 0 and done.stderr == "", done.stdout


def test_the_contract_states_the_belief(exported):
    _, run, folder = exported
    said, body = json.loads((folder / "contract.json").read_text()), run.algorithm.family.body
    memory, limits = said["memory"], run.algorithm.family.limited
    assert memory["belief"] == {"size": 5, "exploration_episodes": 2} and memory["reward"] == 0.0
    rest = [] if limits is None else limits.rest.tolist()
    assert memory["state"] == [0.0] * (3 * 5 + body.observation_size + body.action_size + 1) + rest
    assert said["task"]["default"] is None and said["parity"]["tolerance"] < 1e-4
    text = (folder / "README.md").read_text()
    assert f"`ended` after {run.algorithm.family.horizon} steps" in text
    assert "in the first 2 episodes from N(0, I)" in text
    assert "action = policy(observation, reward=reward, ended=ended)" in text


def test_it_draws_z_at_the_start_of_an_episode_alone(on_point):
    _, act = on_point
    row = np.zeros(2)
    fixed = act(row, noise=np.ones(5))
    assert (act(row, reward=0.0) == fixed).all() and (act(row, reward=0.0, noise=np.zeros(5)) == fixed).all()
    drawn = [act(row, reward=0.0, ended=True) for _ in range(4)]
    assert len({tuple(each) for each in drawn}) == 4
    act.reset()
    np.testing.assert_array_equal(act(row, noise=np.ones(5)), fixed)
    with pytest.raises(ValueError, match="needs the last reward"):
        act(row)
    with pytest.raises(ValueError, match="noise has 3 numbers, and this policy needs 5"):
        act(row, reward=0.0, noise=np.ones(3))


def test_what_it_does_not_take_is_refused(trained, export_of, tmp_path, capsys):
    assert main(["export", str(trained), "--task", "0.6,0.8", "--to", str(tmp_path / "robot")]) == 2
    said = capsys.readouterr().err
    assert "pearl is not told the task: leave it out, or adapt to it with real samples (--stages 2)" in said
    with pytest.raises(OnebodyError, match=r"it has a belief about its task: policy\.py beside it loads it"):
        onebody.load_policy(export_of("point")[1] / "policy.npz")


def test_a_belief_that_needs_the_reward_function_is_refused(tmp_path):
    path = onebody.train("omni-hidden", "point", preset="smoke", samples=0, out=tmp_path / "run", quiet=True)
    for task, stages in ((None, 0), ((0.5, 0.5), 0), ((0.5, 0.5), 1)):
        with pytest.raises(OnebodyError, match=r"reward function, which is a program; export a run of omni"):
            onebody.load(path).export(tmp_path / "robot", task, stages=stages)
    assert [each.name for each in tmp_path.iterdir()] == ["run"]


def test_after_real_samples_of_a_task_the_policy_is_for_it_alone(export_of, tmp_path):
    run, _ = export_of("point")
    contract = run.export(tmp_path / "robot", (0.6, -0.8), stages=1)
    assert contract["memory"] is None and contract["run"]["adaptation_samples"] == run.algorithm.family.horizon
    act = module_of(tmp_path / "robot" / "policy.py").Policy(tmp_path / "robot")
    with pytest.raises(ValueError, match="takes no noise"):
        act(np.zeros(2), noise=np.zeros(5))
    assert onebody.load_policy(tmp_path / "robot" / "policy.npz").observation_size == 2
