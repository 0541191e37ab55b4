"""Searches for settings of an algorithm with Optuna; each trial trains several seeds, and none is tested."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onebody.core.errors import OnebodyError
from onebody.runs import executors, extras, log, settings
from onebody.runs.jobs import Job
from onebody.tasks import registry
from onebody.worlds.refusals import refuse_single

FIRST_SEED = 100
"""seeds from here on are for choosing settings; results are made with seeds below"""
LAST_SHARE = 0.25
"""share of the iterations, the last ones, whose mean return of real episodes is the score of a training run"""


@dataclass(frozen=True)
class Range:
    """Where to search for one setting."""

    name: str
    """name of the option, as in "policy.learning_rate" """
    low: float
    high: float
    log: bool = False
    """search on a logarithmic scale"""
    whole: bool = False
    """whole numbers alone"""

    @staticmethod
    def parse(text: str) -> "Range":
        """`NAME=LOW:HIGH`, or `NAME=LOW:HIGH:log`; two whole numbers are for a setting that is one.

        Raises:
            OnebodyError: it has another form, or LOW is not below HIGH.
        """
        name, _, values = text.partition("=")
        parts = values.split(":")
        log_scale = len(parts) == 3 and parts[2] == "log"
        try:
            low, high = (float(part) for part in (parts[:2] if log_scale else parts))
        except ValueError:
            raise OnebodyError(
                f"--search {text} must be NAME=LOW:HIGH or NAME=LOW:HIGH:log, as in policy.learning-rate=1e-4:1e-2:log"
            ) from None
        if not (-math.inf < low < high < math.inf) or (log_scale and low <= 0):
            raise OnebodyError(f"--search {text}: LOW must be below HIGH, and above 0 with log")
        return Range(name, low, high, log_scale, all(part.lstrip("-").isdigit() for part in parts[:2]))

    def suggest(self, trial: Any) -> float | int:
        """A value for an Optuna trial."""
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)


def tune(
    algorithm: str,
    family: str,
    ranges: Sequence[Range],
    *,
    out: Path,
    trials: int = 20,
    seeds: int = 3,
    preset: str = "laptop",
    samples: int | None = None,
    on: str = "",
    workers: int = 0,
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Search until there are `trials` finished trials in `out`; the same call again goes on where it stopped.

    The score of a trial is the mean over its seeds of the return of real training episodes in the last quarter of the
    iterations; a run that diverges gives it none. The first trial has the preset's settings, clipped to the ranges.

    Returns:
        The finished trials, the best first: number, settings, score (None if a run diverged), importance of each
        setting (of all trials together).

    Raises:
        OnebodyError: Optuna is not installed, a setting does not exist, or a job failed.
    """
    optuna = _optuna()
    if trials < 1 or seeds < 1 or not ranges:
        raise OnebodyError("tune needs at least one trial, one seed and one --search NAME=LOW:HIGH")
    registered = registry.make(family)
    refuse_single(registered, "tuning", "tune on a simulation of it")
    named, _ = registry.portable(registered)
    default = settings.in_preset(algorithm, preset, registered.id, [each.name for each in ranges])
    out.mkdir(parents=True, exist_ok=True)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(out / "journal.jsonl")))
    sampler = optuna.samplers.TPESampler(seed=0)
    study = optuna.create_study(
        storage=storage, study_name="tune", load_if_exists=True, direction="maximize", sampler=sampler
    )
    states = optuna.trial.TrialState
    if not study.trials:
        study.enqueue_trial({each.name: min(max(default[each.name], each.low), each.high) for each in ranges})
    for trial in study.get_trials(states=(states.RUNNING,)):  # of a search that was stopped
        study.enqueue_trial(trial.params)
        study.tell(trial.number, state=states.FAIL)
    while len(study.get_trials(states=(states.COMPLETE, states.PRUNED))) < trials:
        trial = study.ask()
        values = {each.name: each.suggest(trial) for each in ranges}
        config = settings.configuration(algorithm, preset, values, registered.id)
        folder = out / "-".join(f"{name}={value:.6g}" for name, value in values.items())
        todo = [
            Job(algorithm, named, folder / f"s{seed}", seed, preset, config, samples, test=None)
            for seed in range(FIRST_SEED, FIRST_SEED + seeds)
        ]
        outcomes = executors.do_all(todo, executors.of(on, workers, quiet, len(todo)), quiet)
        if all(outcome.status == "done" for outcome in outcomes.values()):
            study.tell(trial, float(np.mean([score(job.out) for job in todo])))
        else:
            study.tell(trial, state=states.PRUNED)
    return _finished(optuna, study)


def score(run: Path) -> float:
    """Mean return of the real episodes in the last quarter of a run's iterations."""
    returns = [line["real/return"] for line in log.read(run) if "real/return" in line]
    return float(np.mean(returns[-max(1, round(LAST_SHARE * len(returns))) :]))


def _finished(optuna: Any, study: Any) -> list[dict[str, Any]]:
    complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    importance: Mapping[str, float] = {}
    if len(complete) > 2 and len({trial.value for trial in complete}) > 1:
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        importance = optuna.importance.get_param_importances(study, evaluator=evaluator)
    rows = [
        {"trial": trial.number, "score": trial.value, "settings": trial.params, "importance": dict(importance)}
        for trial in study.get_trials(states=(optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED))
    ]
    return sorted(rows, key=lambda row: -math.inf if row["score"] is None else row["score"], reverse=True)


def _optuna() -> Any:
    optuna = extras.load("optuna", "tune", "tune")
    optuna.logging.set_verbosity(logging.WARNING)
    return optuna
