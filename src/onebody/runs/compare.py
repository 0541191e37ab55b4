"""Compares several algorithms on one family with several seeds: trains what is missing, tests all on the same tasks.

Nothing is done twice: a training run is resumed where it stopped, and its test is kept in its folder. A run that
diverges is included with its last good checkpoint, and is reported as diverged.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import jax
import numpy as np

from onebody.algorithms import presets
from onebody.core.errors import OnebodyError, whole
from onebody.runs import evaluate, executors, folder, jobs, statistics
from onebody.runs.evaluate import MetaTest
from onebody.runs.jobs import Job
from onebody.tasks import registry
from onebody.worlds.refusals import refuse_single
from onebody.worlds.simulator import Simulator


def compare(
    algorithms: Sequence[str],
    family: str,
    *,
    out: Path | str,
    seeds: SupportsIndex = 5,
    preset: str = "laptop",
    samples: SupportsIndex | None = None,
    evaluate_every: SupportsIndex = 0,
    test: MetaTest = evaluate.HELD_OUT,
    on: str = "",
    workers: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train each algorithm with seeds 0 … seeds - 1 into `out/ALGORITHM-sSEED`, test each, and compare them.

    Args:
        seeds: number of training runs per algorithm.
        samples: number of real samples to train for; None: all iterations of the preset.
        evaluate_every: number of training iterations between evaluations; 0: none during training.
        test: the meta-test of every run after training.
        on: where the runs are trained, as in `executors.of`.
        workers: how many of them at once, as in `executors.of`.

    Raises:
        OnebodyError: there is no algorithm or seed, or an algorithm is given twice; also as `loop.train`,
            `evaluate.evaluate` and `summary`. Names, and whether each algorithm supports the family, are checked before
            the first run.
    """
    seeds, evaluate_every = whole("--seeds", seeds), whole("--evaluate-every", evaluate_every)
    samples = None if samples is None else whole("--samples", samples)
    if seeds < 1 or not algorithms:
        raise OnebodyError("a comparison needs at least one algorithm and one seed")
    if evaluate_every < 0:
        raise OnebodyError(f"--evaluate-every must be at least 0, not {evaluate_every}")
    if repeated := [name for name in algorithms if algorithms.count(name) > 1]:
        raise OnebodyError(f"{repeated[0]} is given twice")
    registered = registry.make(family)
    refuse_single(registered, "a comparison", "train and evaluate one run after the other")
    test.of(registered.tested)
    for name in algorithms:
        config = presets.preset(name, preset, registered.id)
        presets.algorithm(name)(registered, config, Simulator(registered)).init(jax.random.key(0))
    named, elsewhere = registry.portable(registered)
    if not elsewhere and on:
        raise OnebodyError(f"{family} is registered in this process alone: with --on, put it into a file, FILE.py:ID")
    workers = workers if elsewhere else 1
    todo = [
        Job(name, named, Path(out) / f"{name}-s{seed}", seed, preset, None, samples, evaluate_every, test)
        for seed, name in itertools.product(range(seeds), algorithms)  # all algorithms with one seed first
    ]
    if missing := [job for job in todo if not jobs.is_done(job)]:
        executors.do_all(missing, executors.of(on, workers, quiet, len(missing)), quiet)
    return summary([job.out for job in todo])


def summary(runs: Sequence[Path | str]) -> dict[str, Any]:
    """Summarises the tests of several runs: aggregates with intervals, and probabilities of improvement.

    Two algorithms are compared on the seeds that both have, and not at all if they have none in common.

    Raises:
        OnebodyError: there is no run; one is missing, damaged or was not tested; the runs differ in family, version,
            test or configuration; two runs of an algorithm have the same seed.
    """
    by_algorithm: dict[str, list[dict[str, Any]]] = {}
    paths = [Path(run) for run in runs]
    if not paths:
        raise OnebodyError("give at least one run folder")
    records = [folder.read_config(run) for run in paths]
    for run, record in zip(paths, records, strict=True):
        test = test_of(run, record)
        _same("family", paths[0], records[0]["family"], run, record["family"])
        _same("version of the family", paths[0], records[0]["family_version"], run, record["family_version"])
        others = by_algorithm.setdefault(record["algorithm"], [])
        if others:
            _same("configuration", others[0]["run"], others[0]["config"], run, record["config"])
        if same_seed := [other["run"] for other in others if other["seed"] == record["seed"]]:
            raise OnebodyError(f"{same_seed[0]} and {run} have the same seed, {record['seed']}: leave one of them out")
        diverged = jobs.divergence(run)
        others.append(
            {"run": run, "config": record["config"], "seed": record["seed"], "test": test, "diverged": diverged}
        )
    first = by_algorithm[records[0]["algorithm"]][0]["test"]
    expected = [stage["tasks"] for stage in first["stages"]]
    for each in itertools.chain.from_iterable(by_algorithm.values()):
        tasks = [stage["tasks"] for stage in each["test"]["stages"]]
        _same("number of stages", paths[0], len(expected) - 1, each["run"], len(tasks) - 1)
        _same("tested tasks", paths[0], expected, each["run"], tasks)
    n_stages = len(first["stages"])
    scores = [_scores(each, i) for each in by_algorithm.values() for i in range(n_stages)]
    best = np.concatenate(scores).max(axis=0)
    return {
        "family": records[0]["family"],
        "tested": evaluate.tested(first, folder.family_of(records[0])),
        "best": best.tolist(),
        "algorithms": {name: _aggregates(each, best) for name, each in by_algorithm.items()},
        "improvement": [
            {"algorithm": a, "over": b, "stage": i, **improvement}
            for a, b in itertools.combinations(by_algorithm, 2)
            for i, improvement in enumerate(_improvements(by_algorithm[a], by_algorithm[b]))
        ],
    }


def merged(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Consecutive rows of a table that are equal except for their `stage`, as one row with a range of stages."""
    for _, equal in itertools.groupby(rows, lambda row: {**row, "stage": None}):
        first, *others = equal
        yield {**first, "stage": f"{first['stage']} to {others[-1]['stage']}" if others else f"{first['stage']}"}


def test_of(run: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The test of a run, from its evaluation.json; algorithm and seed are those of its config.json, the record."""
    path = run / "evaluation.json"
    if not path.is_file():
        raise OnebodyError(f"{run} has not been tested yet: onebody evaluate {run}")
    return evaluate.read(path) | {"algorithm": record["algorithm"], "seed": record["seed"]}


def _same(name: str, run: Path, value: Any, other_run: Path, other: Any) -> None:
    """Raises OnebodyError if two runs have different values of something."""
    if value != other:
        values = f" ({value} and {other})" if len(str(value) + str(other)) < 80 else ""
        raise OnebodyError(f"{run} and {other_run} cannot be compared: they differ in their {name}{values}")


def _scores(each: Sequence[dict[str, Any]], stage: int) -> np.ndarray:
    """Mean return of each task, [seed, task]."""
    return np.array([np.mean(one["test"]["stages"][stage]["returns"], axis=1) for one in each])


def _aggregates(each: Sequence[dict[str, Any]], best: np.ndarray) -> dict[str, Any]:
    """Aggregates of one algorithm; `best` [task]: highest mean return of any compared run at any stage."""
    stages = []
    for i, stage in enumerate(each[0]["test"]["stages"]):
        scores = _scores(each, i)
        estimates = {name: statistics.estimate(of(scores))._asdict() for name, of in statistics.AGGREGATES.items()}
        gap = {name: statistics.estimate(-of(scores - best))._asdict() for name, of in statistics.AGGREGATES.items()}
        stages.append({"stage": i, "adaptation_samples": stage["adaptation_samples"], **estimates, "gap": gap})
    return {
        "task_is_known": each[0]["test"]["task_is_known"],
        "told": each[0]["test"]["told"],
        "seeds": [one["seed"] for one in each],
        "training_samples": [one["test"]["training_samples"] for one in each],
        "diverged": {str(one["run"]): one["diverged"] for one in each if one["diverged"]},
        "stages": stages,
    }


def _improvements(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Probability of improvement and difference of means per stage, on the seeds that both have; empty without any."""
    other = {one["seed"]: one for one in theirs}
    pairs = [(one, other[one["seed"]]) for one in ours if one["seed"] in other]
    seeds = [one["seed"] for one, _ in pairs]
    for i in range(len(ours[0]["test"]["stages"]) if pairs else 0):
        our, their = (_scores(each, i) for each in zip(*pairs, strict=True))
        difference = statistics.estimate(statistics.mean(our) - statistics.mean(their))
        yield {"seeds": seeds, **statistics.improvement(our, their)._asdict(), "difference": difference._asdict()}
