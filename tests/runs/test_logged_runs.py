"""Training runs that learn from logs, and logs that runs leave."""

import dataclasses
import json
import shutil
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest

import onebody
from onebody.algorithms import presets
from onebody.algorithms.omni import omni
from onebody.algorithms.protocol import LearnsFromLogs
from onebody.core.errors import OnebodyError
from onebody.learning.replay import Replay
from onebody.reports import charts
from onebody.runs import checkpoint, evaluate, folder, jobs, log, logged, logged_export, playable, studies
from onebody.runs.loaded import Run
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

POINT = registry.make("point/goal")
SMOKE = onebody.preset("omni", "smoke")
BOTH = dataclasses.replace(SMOKE, real_episodes=2, logged_transitions=10**6)


def train(out, data, **options):
    return onebody.train("omni", "point", **({"preset": "smoke", "out": out, "data": data, "quiet": True} | options))


def state(run, iteration=None):
    last = folder.last(run, folder.read_config(run))
    assert iteration is None or last.iteration == iteration
    return last.state


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """60 episodes of 10 random steps of the point robot, from starts near (0.2, 0)."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("logs") / "logs.npz"
    action = rng.uniform(-1, 1, (60, 10, 2))
    start = [0.2, 0.0] + 0.01 * rng.normal(size=(60, 1, 2))
    positions = start + 0.1 * np.concatenate([np.zeros((60, 1, 2)), action.cumsum(1)], axis=1)
    rows = {"observation": positions[:, :-1], "action": action, "next_observation": positions[:, 1:]}
    ends = np.tile(np.arange(10) == 9, 60)
    np.savez(path, **{name: each.reshape(-1, 2) for name, each in rows.items()}, ends=ends)
    return path


@pytest.fixture(scope="module")
def run(logs, tmp_path_factory):
    """A run that learns from the logs alone; its simulator is neither reset nor stepped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logged, "unusual", lambda *_: [])
        patch.setattr(Simulator, "reset", lambda *_: pytest.fail("the simulator was reset"))
        return train(tmp_path_factory.mktemp("run") / "run", logs)


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """A run with real samples."""
    return onebody.train("omni", "point", preset="smoke", out=tmp_path_factory.mktemp("real") / "run", quiet=True)


def test_training_takes_no_real_sample(run, logs):
    lines = log.read(run)
    assert [line["real/samples"] for line in lines] == [0, 0, 0]
    assert all(np.isfinite([line["imagined/return"], line["imagined/novelty"]]).all() for line in lines)
    assert not {"real/return", "model/validation_error"} & lines[-1].keys()
    last, given = state(run, 3), np.load(logs)
    assert int(last.data.size) == 600
    np.testing.assert_allclose(last.data.observation[:600], given["observation"], rtol=1e-6)
    np.testing.assert_allclose(last.model.module.observation.mean, given["observation"].mean(0), atol=1e-5)
    np.testing.assert_allclose(last.starts[:60], given["observation"][::10], rtol=1e-6)
    assert lines[-1]["model/loss"] < lines[0]["model/loss"]


@pytest.mark.parametrize("name", ["omni", "smt", "me-trpo", "mb-mpo"])
def test_the_protocol_is_followed_and_real_samples_or_logs_are_needed(name):
    kind, config = presets.algorithm(name), onebody.preset(name, "smoke")
    assert isinstance(kind(POINT, config, Simulator(POINT)), LearnsFromLogs)
    (setting,) = kind.logs_alone
    with pytest.raises(OnebodyError, match=f"{setting.replace('_', '-')} must be at least 1 where there are no logs"):
        dataclasses.replace(config, **kind.logs_alone)


@pytest.mark.parametrize("name", ["smt", "me-trpo", "mb-mpo"])
def test_other_algorithms_learn_from_logs_alone_and_resume_without_them(name, logs, tmp_path, monkeypatch):
    monkeypatch.setattr(logged, "unusual", lambda *_: [])
    monkeypatch.setattr(Simulator, "reset", lambda *_: pytest.fail("the simulator was reset"))
    copied = shutil.copy(logs, tmp_path / "logs.npz")
    run = onebody.train(name, "point", preset="smoke", out=tmp_path / "run", data=copied, quiet=True)
    lines = log.read(run)
    assert {line["real/samples"] for line in lines} == {0} and "real/return" not in lines[-1]
    assert np.isfinite([line["imagined/return"] for line in lines]).all()
    assert np.isfinite(lines[-1]["imagined/novelty"] if name != "smt" else 0.0)
    last, given = state(run), np.load(logs)
    learned, model = (last, last.model.module) if name == "smt" else (last.models, last.models.ensemble)
    assert int(learned.data.size) == 600
    np.testing.assert_allclose(learned.data.observation[:600], given["observation"], rtol=1e-6)
    np.testing.assert_allclose(model.observation.mean, given["observation"].mean(0), atol=1e-5)
    np.testing.assert_allclose(learned.starts[:60], given["observation"][::10], rtol=1e-6)
    whole = (newest(run) / checkpoint.STATE).read_bytes()
    shutil.rmtree(newest(run))
    copied.unlink()
    onebody.resume(run, quiet=True)
    assert (newest(run) / checkpoint.STATE).read_bytes() == whole


def test_the_record_says_what_was_learned_from_and_the_command_repeats_it(run, logs, tmp_path):
    record = folder.read_config(run)
    assert record["config"]["real_episodes"] == 0 and record["config"]["logged_transitions"] == 600
    (source,) = record["data"]
    assert (source["source"], source["transitions"]) == (str(logs), 600) and len(source["sha256"]) == 64
    assert folder.command(record).endswith(f"--seed 0 --data {logs} --config.logged-transitions 600")
    config = dataclasses.replace(SMOKE, real_episodes=0, logged_transitions=600)
    again = train(tmp_path / "again", [logs], config=config)
    assert (newest(again) / checkpoint.STATE).read_bytes() == (newest(run) / checkpoint.STATE).read_bytes()


def newest(run):
    return max((Path(run) / "checkpoints").iterdir())


def test_a_resumed_run_needs_no_logs(run, logs, tmp_path):
    """And the same command goes on with logs of the same content, wherever they are."""
    whole = (newest(run) / checkpoint.STATE).read_bytes()
    shutil.copy(logs, moved := tmp_path / "moved.npz")
    for i, go_on in enumerate((lambda out: onebody.resume(out, quiet=True), lambda out: train(out, moved))):
        stopped = shutil.copytree(run, tmp_path / f"stopped {i}")
        shutil.rmtree(newest(stopped))
        record = json.loads((stopped / "config.json").read_text())
        record["data"][0]["source"] = "elsewhere.npz"
        (stopped / "config.json").write_text(json.dumps(record))
        go_on(stopped)
        assert (newest(stopped) / checkpoint.STATE).read_bytes() == whole


def test_a_study_trains_on_logs(logs, tmp_path, monkeypatch):
    monkeypatch.setattr(logged, "unusual", lambda *_: [])
    text = """
    test = { tasks = 2, stages = 0 }
    [systems.omni]
    data = ["LOGS"]
    smoke = { preset = "smoke" }
    [studies.logs]
    title = "point robot"
    family = "point/goal"
    paper = "ours"
    seeds = 1
    """
    (tmp_path / "own.toml").write_text(text.replace("LOGS", str(logs)))
    (job,) = studies.jobs_of(studies.get(str(tmp_path / "own.toml")), tmp_path / "out", "smoke", 1)
    job = jobs.Job.from_json(json.loads(json.dumps(job.to_json())))
    assert jobs.do(job, quiet=True).status == "done"
    assert jobs.is_done(job)
    (source,) = folder.read_config(job.out)["data"]
    assert source["transitions"] == 600
    assert log.read(job.out)[-1]["real/samples"] == 0


def test_other_logs_are_another_run(run, logs, tmp_path):
    arrays = dict(np.load(logs))
    np.savez(tmp_path / "other.npz", **(arrays | {"action": arrays["action"] / 2}))
    with pytest.raises(OnebodyError, match=r"holds another run \(data is [0-9a-f]{12} there and [0-9a-f]{12} here\)"):
        train(run, tmp_path / "other.npz")
    with pytest.raises(OnebodyError, match=r"\(data is [0-9a-f]{12} there and none here\)"):
        onebody.train("omni", "point", preset="smoke", out=run, quiet=True)


def test_a_run_that_has_not_read_its_logs_is_started_again(run, tmp_path):
    stopped = shutil.copytree(run, tmp_path / "stopped")
    shutil.rmtree(stopped / "checkpoints")
    (stopped / "metrics.jsonl").unlink()
    with pytest.raises(OnebodyError, match=r"no checkpoint with its logs yet; start it with: onebody train .*--data"):
        onebody.resume(stopped, quiet=True)


def test_real_episodes_may_follow(logs, tmp_path):
    run = train(tmp_path / "run", logs, config=BOTH)
    assert [line["real/samples"] for line in log.read(run)] == [40, 80, 120]
    last = state(run, 3)
    assert int(last.data.size) == 720 and last.data.capacity >= 720 + 3 * 20 * 5
    np.testing.assert_allclose(last.data.observation[:600], np.load(logs)["observation"], rtol=1e-6)
    assert np.isfinite(log.read(run)[-1]["real/return"])


def test_the_first_checkpoint_holds_the_logs(logs, tmp_path):
    run = train(tmp_path / "run", logs, config=BOTH, samples=0)
    assert int(state(run, 0).data.size) == 600
    assert "the run is untrained" in onebody.adapt(run, (0.5, 0.5)).warning


def test_its_policies_are_adapted_tested_and_shown(run, tmp_path):
    loaded = Run(run)
    policy = onebody.adapt(run, (0.3, 0.1), stages=1)
    assert policy.adaptation_samples == SMOKE.refine_episodes * POINT.horizon and "untrained" not in policy.warning
    zero_shot = onebody.adapt(run, (0.3, 0.1), untrained=True)
    assert zero_shot.adaptation_samples == 0 and "untrained" not in zero_shot.warning
    assert zero_shot.about is not None and zero_shot.about.training_samples == 0
    assert zero_shot.predicted_interval is None
    assert np.isfinite([zero_shot.predicted_return, zero_shot.untrained_return]).all()
    result = evaluate.evaluate(run, onebody.MetaTest(tasks=2, stages=0))
    assert result["training_samples"] == 0 and np.isfinite(result["stages"][0]["returns"]).all()
    assert "trained on 0 real samples" in playable.OfRun(run).title
    assert loaded.policy((0.3, 0.1))(np.zeros(2, np.float32)).shape == (2,)


def test_its_learning_curve_is_over_iterations(run, collected):
    chart, other = (charts.learning_curve(log.read(each)) for each in (run, collected))
    assert (chart.x, other.x) == ("iteration", "real samples")
    assert list(chart.lines[1].x) == [1, 2, 3]


def test_what_cannot_learn_from_logs_says_so(logs, tmp_path):
    for name, options, said in (
        ("trpo", {}, "trpo cannot learn from logs; omni, smt, mb-mpo, me-trpo can"),
        ("omni", {"config": SMOKE}, "keeps no logged transitions: set logged_transitions"),
        ("omni", {"samples": 100}, "takes no real samples: leave --samples out"),
        ("omni", {"config": BOTH, "data": ()}, "logged_transitions needs logs to learn from"),
    ):
        with pytest.raises(OnebodyError, match=said):
            onebody.train(name, "point", **({"preset": "smoke", "data": [logs], "out": tmp_path / "run"} | options))
    with pytest.raises(OnebodyError, match="real-episodes must be at least 1 where there are no logs"):
        dataclasses.replace(SMOKE, real_episodes=0)
    assert not (tmp_path / "run").exists()


def test_how_much_is_kept_is_said(logs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(logged, "unusual", lambda *_: [])
    monkeypatch.setattr(omni.OMNI, "step", stop)
    config = dataclasses.replace(SMOKE, real_episodes=0, logged_transitions=105)
    with pytest.raises(OnebodyError, match="stopped before the first iteration"):
        train(run := tmp_path / "run", logs, config=config, quiet=False)
    assert "600 transitions are read from logs, of which a sample of 100 is kept" in capsys.readouterr().err
    assert int(state(run, 0).data.size) == 100


def stop(self, state, key):
    raise OnebodyError("stopped before the first iteration")


# ---------------------------------------------------------------- export


@pytest.mark.parametrize("name", ["log.npz", "log.parquet", "minari:point/exported-v0"])
def test_what_a_run_exports_is_its_replay_buffer(collected, tmp_path, monkeypatch, name):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    pytest.importorskip({"log.npz": "numpy", "log.parquet": "pyarrow"}.get(name, "minari"))
    to = name if ":" in name else str(tmp_path / name)
    assert logged_export.export(collected, to) == 240
    kept, data = logged.read([to], POINT, 10**6, 0).kept, state(collected).data
    np.testing.assert_array_equal(kept.observation, data.observation[:240])
    np.testing.assert_array_equal(kept.action, np.clip(data.action[:240], -1, 1))
    np.testing.assert_array_equal(kept.next_observation, data.next_observation[:240])
    np.testing.assert_array_equal(kept.ends, data.done[:240])
    with pytest.raises(OnebodyError, match="exist"):
        logged_export.export(collected, to)


def test_what_a_run_exports_trains_the_same_model(collected, tmp_path):
    """Normalisers, and the fit from the same first networks with the same key."""
    logged_export.export(collected, str(tmp_path / "log.npz"))
    logs = logged.read([str(tmp_path / "log.npz")], POINT, 10**6, 0)
    config = dataclasses.replace(SMOKE, real_episodes=0, logged_transitions=240)
    algorithm = omni.OMNI(POINT, config, Simulator(POINT))
    begun, real = logged.begin(algorithm, algorithm.init(jax.random.key(0)), logs), state(collected)
    of = lambda s: (s.model.module.observation, s.model.module.difference)  # noqa: E731
    for there, here in zip(jax.tree.leaves(of(real)), jax.tree.leaves(of(begun)), strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-6)
    same_networks = eqx.tree_at(lambda s: (*of(s), s.data), begun, (*of(real), real.data))
    fits = [omni.fit_model(each, jax.random.key(1), 100, config.model) for each in (begun, same_networks)]
    (here, loss), (there, other) = fits
    np.testing.assert_allclose(loss, other, rtol=1e-3)
    rows = real.data.observation[:100], real.data.action[:100]
    predicted = [each.model.module.predict(*rows) for each in (here, there)]
    np.testing.assert_allclose(*predicted, atol=1e-3)
    untrained = begun.model.module.predict(*rows)
    assert np.abs(untrained - predicted[0]).mean() > 10 * np.abs(predicted[0] - predicted[1]).mean()


def test_a_full_buffer_is_exported_from_its_oldest_row_on():
    data = Replay.empty(6, 2, 2)
    for i in range(4):
        row = np.full((1, 2, 1, 2), float(i), np.float32)
        flags = np.array([[[False], [True]]])
        data = data.add(omni.Transitions(*map(jax.device_put, (row, row, row[..., 0], row, flags, flags & False))))
    rows = logged_export.kept({"data": data})
    np.testing.assert_array_equal(rows.observation[:, 0], [1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(rows.action[:, 0], [1] * 6)  # clipped
    np.testing.assert_array_equal(rows.ends, [False, True] * 3)


def test_what_cannot_be_exported_says_so(collected, tmp_path):
    (tmp_path / "there.npz").touch()
    for to, said in (
        ("log.csv", "--to log.csv must end in .npz or .parquet"),
        (str(tmp_path / "there.npz"), "exists; choose another name"),
        (str(tmp_path / "none/log.npz"), "there is no folder"),
        (str(collected / "config.npz"), "a part of the run"),
    ):
        with pytest.raises(OnebodyError, match=said):
            logged_export.export(collected, to)
    searched = onebody.train("random-search", "point", preset="smoke", out=tmp_path / "search", quiet=True)
    with pytest.raises(OnebodyError, match="keeps no transitions"):
        logged_export.export(searched, str(tmp_path / "log.npz"))
    assert not (tmp_path / "log.npz").exists()
    pytest.importorskip("minari")
    with pytest.raises(OnebodyError, match="ends with its version, as in minari:robot/mine-v0"):
        logged_export.export(collected, "minari:name")
