"""What a training warns of, and where it has nothing to warn of."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import onebody
from onebody.learning.replay import Replay
from onebody.runs import log, loop, watch
from onebody.tasks import registry

POINT = registry.make("point/goal")
RESULTS = Path(__file__).parents[2] / "results"
HEALTHY = sorted(
    path.parent
    for pattern in ("omni/*/*", "smt-*/smt-s*", "mbmpo-2*/*")
    for path in RESULTS.glob(f"{pattern}/metrics.jsonl")
)
DEAD_COLUMN = [
    (10.8, 98.1),
    (11.8, -0.4),
    (10.1, -6.4),
    (11.8, 2.2),
    (9.9, 2.0),
    (10.8, 1.9),
    (9.8, 2.0),
    (7.8, 2.4),
]
"""real and imagined returns of a double pendulum, in a model that a constraint force had spoilt"""


def lines(pairs, suffix="return"):
    return [{f"real/{suffix}": real, f"imagined/{suffix}": imagined} for real, imagined in pairs]


@pytest.mark.parametrize("suffix", ["return", "deterministic_return"])
def test_returns_that_part_are_said(suffix):
    at = [i for i in range(1, len(DEAD_COLUMN) + 1) if watch.model_is_off(lines(DEAD_COLUMN[:i], suffix))]
    assert at[0] == 6
    assert "for 6 iterations, now 1.9 and 10.8:" in watch.model_is_off(lines(DEAD_COLUMN[:6], suffix))


def test_returns_of_the_deterministic_policy_count_first():
    """Exploration noise may part the others; and returns that come together again are no longer apart."""
    assert (
        watch.model_is_off([a | b for a, b in zip(lines([(1, 9)] * 8), lines([(9, 9)] * 8, "deterministic_return"))])
        == ""
    )
    assert watch.model_is_off([*lines(DEAD_COLUMN), {"real/return": 7.9, "imagined/return": 7.0}]) == ""
    assert watch.model_is_off([{"real/return": 1.0}] * 9) == "" == watch.model_is_off(lines([(1, np.nan)] * 9))
    assert watch.model_is_off(lines([(x, -9.0) for x in (-9.0, 9.0, -5.0, 5.0, -9.0, 9.0)])) == ""


@pytest.mark.parametrize("run", HEALTHY, ids=lambda run: str(run.relative_to(RESULTS)))
def test_healthy_trainings_are_not_warned_of(run):
    metrics = log.read(run)
    assert not any(watch.model_is_off(metrics[:i]) for i in range(1, len(metrics) + 1))


def test_columns_of_the_data_that_never_vary():
    data = Replay.empty(9, 2, 1)
    filled = dataclasses.replace(data, size=jnp.array(5), observation=data.observation.at[:5, 0].set(jnp.arange(5.0)))
    said = "column 1 (y (m)) never varied in 5 real samples and is ignored until it does"
    assert watch.constant({"a": jnp.zeros(3), "data": filled}, POINT) == said
    varied = dataclasses.replace(filled, observation=filled.observation.at[2, 1].set(0.1))
    assert watch.constant({"data": varied}, POINT) == watch.constant({"data": data}, POINT) == ""
    assert watch.constant({"a": jnp.zeros(3)}, POINT) == ""


def test_a_training_says_both_once(tmp_path, capsys, monkeypatch):
    config = dataclasses.replace(onebody.preset("smt", "smoke"), n_tasks=2)
    with monkeypatch.context() as patched:
        patched.setattr(watch, "constant", lambda state, family: "column")
        patched.setattr(watch, "model_is_off", lambda metrics: "model" if len(metrics) > 1 else "")
        loop.train("smt", POINT, config=config, out=tmp_path / "run", quiet=True)
    err = capsys.readouterr().err
    assert err.splitlines() == [f"onebody: {tmp_path / 'run'}: {said}" for said in ("column", "model")]
    loop.train("smt", POINT, config=config, out=tmp_path / "other", quiet=True)
    assert capsys.readouterr().err == ""
