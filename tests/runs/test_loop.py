import dataclasses
import json
import math
import shlex
import shutil

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import onebody
from onebody.algorithms import presets
from onebody.algorithms.mb_mpo.early_stopping import EarlyStoppingConfig
from onebody.algorithms.slbo import smt
from onebody.cli import commands, options
from onebody.core.errors import NotFinite, OnebodyError
from onebody.learning.trpo import TRPOConfig
from onebody.runs import configs, evaluate, folder, log, loop


def test_samples_end_training_at_the_first_iteration_that_reaches_them(tmp_path, capsys):
    run = onebody.train("smt", "point", preset="smoke", samples=81, out=tmp_path / "run", quiet=True)
    assert [line["real/samples"] for line in log.read(run)] == [80, 160]
    onebody.train("smt", "point", preset="smoke", out=run, quiet=True)
    assert [line["real/samples"] for line in log.read(run)] == [80, 160, 240]
    assert "ended at" not in capsys.readouterr().err


def test_progress_counts_to_the_samples_that_end_the_training(tmp_path, capsys):
    onebody.train("smt", "point", preset="smoke", samples=81, out=tmp_path / "run")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("iteration")]
    assert lines[0] == "iteration 1/3 · compiling"
    assert lines[1].startswith("iteration 1/3 · 80/81 samples · return -")
    assert lines[-1].startswith("iteration 2/3 · 160/81 samples · return -") and lines[-1].endswith(", 0:00:00 left")


def test_the_iteration_that_will_end_a_training():
    assert loop._last(0, 25, 0, math.inf) == loop._last(3, 25, 3_000, math.inf) == loop._last(3, 25, 0, 10) == 25
    assert loop._last(1, 25, 1_000, 20_000) == 20 == loop._last(2, 25, 2_001, 20_000)
    assert loop._last(4, 25, 20_100, 20_000) == 4
    assert loop._last(5, 25, 1_000, 20_000) == 25


def test_settings_that_end_a_training_before_its_samples_are_said(tmp_path, capsys):
    onebody.train("smt", "point", preset="smoke", samples=240, out=tmp_path / "enough", quiet=True)
    assert "ended at" not in capsys.readouterr().err
    run = onebody.train("smt", "point", preset="smoke", samples=1000, out=tmp_path / "run", quiet=True)
    said = capsys.readouterr().err
    assert said.startswith(f"onebody: {run} ended at 240 of 1,000 real samples, after all of its 3 iterations; start a")


def test_another_configuration_is_refused_and_nothing_changes(tmp_path):
    run = onebody.train("smt", "point", preset="smoke", samples=0, out=tmp_path / "run", quiet=True)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    with pytest.raises(OnebodyError, match="seed is 0 there and 1 here"):
        onebody.train("smt", "point", preset="smoke", seed=1, out=run, quiet=True)
    with pytest.raises(OnebodyError, match=r"config\.n_tasks is 3 there and 40 here"):
        onebody.train("smt", "point", preset="laptop", out=run, quiet=True)
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


def test_metrics_without_a_checkpoint_are_never_written_over(tmp_path):
    run = onebody.train("smt", "point", preset="smoke", samples=80, out=tmp_path / "run", quiet=True)
    shutil.rmtree(run / "checkpoints")
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    again = lambda: onebody.train("smt", "point", preset="smoke", out=run, quiet=True)  # noqa: E731
    for call in (again, lambda: onebody.resume(run, quiet=True), lambda: onebody.adapt(run, (0, 0))):
        with pytest.raises(OnebodyError, match=r"metrics of 1 iteration\(s\), but its checkpoints are missing"):
            call()
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("other", ["smt", "mb-mpo"])  # the second one's settings have all that MAML's have
def test_settings_of_another_algorithm_are_refused(tmp_path, other):
    with pytest.raises(OnebodyError, match=r"preset\('maml', 'smoke', 'pearl/point'\)"):
        onebody.train(
            "maml", "pearl/point", preset="smoke", config=onebody.preset(other, "smoke"), out=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()


def test_a_folder_of_another_algorithm_is_refused_without_its_settings(tmp_path):
    run = onebody.train("smt", "point", preset="smoke", samples=0, out=tmp_path / "run", quiet=True)
    with pytest.raises(OnebodyError, match=r"\(algorithm is smt there and omni here, seed is 0 there and 1 here\)"):
        onebody.train("omni", "point", preset="smoke", seed=1, out=run, quiet=True)


def test_a_preset_is_that_of_the_family_by_any_name():
    asked = [onebody.preset("pearl", "paper", name) for name in ("sparse-point-robot", "pearl/sparse-point")]
    asked.append(onebody.preset("pearl", "paper", onebody.make("pearl/sparse-point")))
    assert {each.discount for each in asked} == {0.9} and onebody.preset("pearl", "paper").discount == 0.99
    with pytest.raises(OnebodyError, match="did you mean"):
        onebody.preset("pearl", "paper", "sparse-pont")


def record_of(name, family, file=None, preset="smoke", **change):
    config = dataclasses.replace(onebody.preset(name, preset, family), **change)
    record = {"algorithm": name, "family": family, "family_file": file, "seed": 3, "preset": preset, "samples": 7}
    record |= {
        "family_version": 1,
        "evaluate_every": 2,
        "config": configs.to_json(config),
        "versions": {"onebody": "0"},
    }
    return record, config


@pytest.mark.parametrize(
    ("name", "family", "change"),
    [
        ("pearl", "pearl/point", {"latent": 2, "hidden": (8, 4), "learning_rate": 1e-05}),
        (
            "mb-mpo",
            "mbmpo/point",
            {"tailored": False, "task": (), "model": EarlyStoppingConfig(members=3, hidden=(9,))},
        ),
        ("me-trpo", "point/goal", {"task": (-0.5, 1e-05), "trpo": TRPOConfig(max_kl=0.02)}),
        ("smt", "point/goal", {}),
    ],
)
def test_the_command_of_a_run_has_all_its_settings(name, family, change):
    record, config = record_of(name, family, **change)
    words = shlex.split(folder.command(record))
    parsed = options.parse(commands.with_config(words[2:]), "train", words[2:])
    assert parsed.config == config and (parsed.algorithm, parsed.family) == (name, family)
    assert (parsed.samples, parsed.seed, parsed.preset, parsed.evaluate_every) == (7, 3, "smoke", 2)


def test_the_command_of_a_run_leaves_out_what_its_preset_has_and_says_what_it_cannot_give():
    record, _ = record_of("pearl", "pearl/sparse-point", "my file.py", preset="paper")
    command = folder.command(record)
    assert "--config" not in command and "'my file.py:pearl/sparse-point'" in command
    older = record | {"config": {name: value for name, value in record["config"].items() if name != "latent"}}
    for gone in (older, record | {"preset": "mine"}):
        assert "--config" not in folder.command(gone) and "settings in its config.json" in folder.command(gone)


def test_a_run_of_an_older_version_of_its_family_does_not_go_on():
    record, _ = record_of("smt", "smt/humanoid-vel")
    with pytest.raises(
        OnebodyError, match=r"version 1 of smt/humanoid-vel, but it is now version 2: .* or train again"
    ):
        folder.family_of(record)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OnebodyError, match="not empty"):
        onebody.train("smt", "point", preset="smoke", out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_loss_that_is_not_finite_stops_the_run_resumably(tmp_path, monkeypatch):
    step = smt.SMT.step

    def diverge(self, state, key):
        state, metrics = step(self, state, key)
        return state, metrics | ({"model/loss": float("nan")} if int(state.data.size) == 160 else {})

    monkeypatch.setattr(smt.SMT, "step", diverge)
    run = tmp_path / "run"
    with pytest.raises(OnebodyError, match=r"point/goal: model/loss is nan in iteration 2; .*000001"):
        loop.train("smt", "point", preset="smoke", out=run, quiet=True)
    monkeypatch.undo()
    loop.resume(run, quiet=True)
    assert [line["iteration"] for line in log.read(run)] == [1, 2, 3]


def test_a_state_that_is_not_finite_is_never_saved(tmp_path, monkeypatch):
    step = smt.SMT.step

    def diverge(self, state, key):
        state, metrics = step(self, state, key)
        return eqx.tree_at(lambda s: s.model.module.net.biases[0], state, replace_fn=lambda x: x * jnp.nan), metrics

    monkeypatch.setattr(smt.SMT, "step", diverge)
    with pytest.raises(OnebodyError, match=r"state\.model\.module\.net\.biases\[0\] is not finite in iteration 1"):
        loop.train("smt", "point", preset="smoke", out=tmp_path / "run", quiet=True)
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["000000"]


def test_what_a_user_can_mend_is_no_divergence(tmp_path, monkeypatch):
    def refuse(self, state, key):
        raise OnebodyError("give a terminal function")

    monkeypatch.setattr(smt.SMT, "step", refuse)
    with pytest.raises(OnebodyError) as caught:
        loop.train("smt", "point", preset="smoke", out=tmp_path / "run", quiet=True)
    assert not isinstance(caught.value, NotFinite) and str(caught.value) == "give a terminal function"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"algorithm": "smt"}'])
def test_a_damaged_configuration_is_named_and_the_command_mends_it(tmp_path, text):
    run = loop.train("smt", "point", preset="smoke", samples=0, out=tmp_path / "run", quiet=True)
    (run / folder.CONFIG).write_text(text)
    with pytest.raises(OnebodyError, match="damaged"):
        loop.resume(run)
    with pytest.raises(OnebodyError, match="seed is 0 there and 5 here"):
        loop.train("smt", "point", preset="smoke", seed=5, out=run, quiet=True)
    assert (run / folder.CONFIG).read_text() == text
    loop.train("smt", "point", preset="smoke", samples=0, out=run, quiet=True)
    assert folder.read_config(run)["seed"] == 0


def test_other_versions_are_said_and_kept(tmp_path, capsys):
    run = loop.train("smt", "point", preset="smoke", samples=0, out=tmp_path / "run", quiet=True)
    record = folder.read_config(run)
    folder.write_json(run / folder.CONFIG, record | {"versions": record["versions"] | {"jax": "0.1"}})
    loop.train("smt", "point", preset="smoke", samples=0, out=run, quiet=True)
    assert "jax 0.1, now" in capsys.readouterr().err
    assert folder.read_config(run)["versions"]["jax"] == "0.1"


def test_seeds_beyond_32_bits_and_changed_families_are_refused(tmp_path):
    for seed in (-1, 2**32):
        with pytest.raises(OnebodyError, match="seed"):
            loop.train("smt", "point", preset="smoke", seed=seed, out=tmp_path / "run")
    changed = dataclasses.replace(onebody.make("point"), horizon=5)
    with pytest.raises(OnebodyError, match="not the registered family"):
        loop.train("smt", changed, preset="smoke", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_evaluation_during_training_costs_no_samples_and_changes_no_byte(tmp_path):
    plain = loop.train("smt", "point", preset="smoke", out=tmp_path / "plain", quiet=True)
    watched = loop.train("smt", "point", preset="smoke", out=tmp_path / "watched", evaluate_every=2, quiet=True)
    states = [(run / "checkpoints/000003/state.safetensors").read_bytes() for run in (plain, watched)]
    assert states[0] == states[1]
    evaluations = [json.loads(path.read_text()) for path in sorted((watched / "evaluations").iterdir())]
    assert [(e["iteration"], e["training_samples"]) for e in evaluations] == [(0, 0), (2, 160)]
    assert np.shape(evaluations[0]["stages"][0]["returns"]) == (40, 10)


def test_evaluate_writes_the_meta_test(tmp_path):
    run = loop.train("smt", "point", preset="smoke", out=tmp_path / "run", quiet=True)
    result = onebody.evaluate(run, onebody.MetaTest(tasks=3, stages=1))
    assert result == json.loads((run / "evaluation.json").read_text())
    assert {k: result[k] for k in ("family", "algorithm", "task_is_known", "training_samples", "seed")} == {
        "family": "point/goal",
        "algorithm": "smt",
        "task_is_known": True,
        "training_samples": 240,
        "seed": 0,
    }
    assert [s["adaptation_samples"] for s in result["stages"]] == [0, 80]
    stage = result["stages"][0]
    assert stage["mean"] == pytest.approx(np.mean(stage["returns"])) and stage["worst"] <= stage["iqm"]
    assert stage["interval"] is None  # of three tasks


def test_configurations_survive_json():
    config = presets.preset("smt", "laptop")
    there = json.loads(json.dumps(dataclasses.asdict(config)))
    assert configs.from_json(smt.Config, there) == config
    assert hash(configs.from_json(smt.Config, there)) == hash(config)


def test_a_kill_while_the_configuration_is_written_does_not_lock_the_folder(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / f".{folder.CONFIG}.partial").write_text("{")
    loop.train("smt", "point", preset="smoke", samples=0, out=run, quiet=True)


def test_two_trainings_in_one_folder_are_refused(tmp_path):
    run = loop.train("smt", "point", preset="smoke", samples=0, out=tmp_path / "run", quiet=True)
    for again in (lambda: loop.resume(run), lambda: loop.train("smt", "point", preset="smoke", out=run)):
        with folder.locked(run), pytest.raises(OnebodyError, match="another process"):
            again()
    loop.resume(run, quiet=True)


def test_settings_that_cannot_work_are_refused_before_anything_is_written(tmp_path):
    for change in ({"n_tasks": 0}, {"n_warmup": -1}):
        with pytest.raises(OnebodyError, match=next(iter(change)).replace("_", "-")):
            dataclasses.replace(presets.preset("smt", "smoke"), **change)
    with pytest.raises(OnebodyError, match="kl must be at least 0 and finite, not inf"):
        dataclasses.replace(presets.preset("pearl", "smoke"), kl=float("inf"))
    smoke = presets.preset("smt", "smoke")
    model = dataclasses.replace(smoke.slbo.model, window=21)
    too_long = dataclasses.replace(smoke, slbo=dataclasses.replace(smoke.slbo, model=model))
    with pytest.raises(OnebodyError, match="window 21"):
        loop.train("smt", "point", config=too_long, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_task_of_the_family_that_is_trained_on_may_lie_outside_the_one_that_is_tested(tmp_path):
    config = dataclasses.replace(presets.preset("slbo", "smoke"), n_outer=1, task=(1.5,))
    run = loop.train("slbo", "smt/cheetah-pos-to-neg", config=config, out=tmp_path / "run", quiet=True)
    result = evaluate.evaluate(run, evaluate.MetaTest(tasks=2, stages=0))
    assert result["tested_on"] == "smt/cheetah-pos-to-neg-test"


def test_a_run_with_a_checkpoint_is_resumed_without_its_initial_state(tmp_path, monkeypatch, capsys):
    run = loop.train("random-search", "point/goal", preset="smoke", samples=1, out=tmp_path / "run", quiet=True)
    monkeypatch.setattr(folder, "initial_state", lambda *_: pytest.fail("the initial state was made"))
    loop.resume(run)
    assert capsys.readouterr().err == f"{run} is complete: iteration 1\n"


def test_a_run_that_was_begun_with_fewer_settings_is_not_resumed(tmp_path, monkeypatch):
    """Their defaults would make it another algorithm in silence."""
    whole = configs.to_json
    monkeypatch.setattr(configs, "to_json", lambda config: {k: v for k, v in whole(config).items() if k != "deviation"})
    run = loop.train("random-search", "point/goal", preset="smoke", samples=1, out=tmp_path / "run", quiet=True)
    loop.resume(run, quiet=True)
    monkeypatch.undo()
    with pytest.raises(OnebodyError, match=r"was started by onebody .* with other configuration fields"):
        loop.resume(run, quiet=True)
