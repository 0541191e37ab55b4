"""Several algorithms on one family with several seeds: train what is missing, test all alike, compare.

What is done is not done again: trainings go on where they stopped, tests are kept beside them. A training that diverges
stays in, with its last good checkpoint, and is named.
"""

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from onebody.algorithms import presets
from onebody.core.errors import NotFinite, OnebodyError
from onebody.runs import evaluate, folder, loop, statistics
from onebody.runs.evaluate import MetaTest
from onebody.tasks import registry
from onebody.worlds.simulator import Simulator

FIGURES = {
    "smt-1a": "smt/cheetah-vel",
    "smt-1b": "smt/ant-vel",
    "smt-1c": "smt/humanoid-vel",
    "smt-1d": "smt/ant-dir",
    "smt-1e": "smt/cheetah-vel-wide",
    "smt-1f": "smt/ant-vel-wide",
    "smt-1g": "smt/humanoid-vel-wide",
    "smt-1h": "smt/ant-vel-2d",
    "smt-2a": "smt/cheetah-pos-to-neg",
    "smt-2b": "smt/ant-pos-to-neg",
    "smt-2c": "smt/ant-low-friction",
    "smt-2d": "smt/ant-crippled",
}
"""Family of each panel of Figures 1 and 2 of Landolfi, Thomas, Ma 2019, by the paper's letters. Its Figure 3 compares
smt with smt-active on smt/ant-vel-2d, after 5, 20 and 30 training tasks."""
COMPARED = ("smt", "omni", "maml", "oracle")
"""algorithms that the panels compare, and OMNI"""
DIVERGED = "diverged.txt"
"""in a run folder: what stopped its training for good"""


def compare(
    algorithms: Sequence[str],
    family: str,
    *,
    out: Path | str,
    seeds: int = 5,
    preset: str = "laptop",
    samples: int | None = None,
    evaluate_every: int = 0,
    test: MetaTest = evaluate.HELD_OUT,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train each algorithm with seeds 0 … seeds - 1 into `out/ALGORITHM-sSEED`, test each, and compare them.

    Args:
        samples: real samples that end each training; by default each trains as long as its preset says.
        evaluate_every: iterations between tests of stage 0 in training; 0 for none.
        test: of all trainings, in the end.

    Raises:
        OnebodyError: no algorithm or seed, or an algorithm twice; as `loop.train`, `evaluate.evaluate` and `summary`.
            Names, and whether each algorithm takes the family, are checked before the first training.
    """
    if seeds < 1 or not algorithms:
        raise OnebodyError("a comparison needs at least one algorithm and one seed")
    if evaluate_every < 0:
        raise OnebodyError(f"--evaluate-every must be at least 0, not {evaluate_every}")
    if repeated := [name for name in algorithms if algorithms.count(name) > 1]:
        raise OnebodyError(f"{repeated[0]} is given twice")
    made = registry.make(family)
    test.of(made.tested)
    for name in algorithms:
        config = presets.preset(name, preset, made.id)
        presets.algorithm(name)(made, config, Simulator(made)).init(jax.random.key(0))
    options = {"preset": preset, "samples": samples, "evaluate_every": evaluate_every, "quiet": quiet}
    runs = []
    for seed, name in itertools.product(range(seeds), algorithms):  # seed by seed, so that there is something early
        run = Path(out) / f"{name}-s{seed}"
        _train(name, family, run, {**options, "seed": seed})
        _test(run, test)
        runs.append(run)
    return summary(runs)


def _train(name: str, family: str, run: Path, options: dict[str, Any]) -> None:
    if (run / DIVERGED).exists():
        return
    try:
        loop.train(name, family, out=run, **options)
    except NotFinite as error:
        (run / DIVERGED).write_text(f"{error}\n")
        print(f"onebody: {error}", file=sys.stderr)


def _test(run: Path, test: MetaTest) -> None:
    """Unless the last checkpoint has been tested so already."""
    path = run / "evaluation.json"
    if path.exists():
        record = folder.read_config(run)
        tasks = test.of(folder.family_of(record).tested).tolist()
        asked = [tasks] * (test.stages + 1), evaluate.trained(run, record)
        try:
            there = json.loads(path.read_text())
        except ValueError:
            there = {"stages": []}  # damaged
        if ([stage["tasks"] for stage in there["stages"]], there.get("training_samples")) == asked:
            return
    try:
        evaluate.evaluate(run, test)
    except NotFinite as error:
        raise NotFinite(f"the test of {run} ended ({error}); fewer --stages may go through") from error


def summary(runs: Sequence[Path | str]) -> dict[str, Any]:
    """What the tests of several runs say: aggregates with intervals, and how probably one algorithm beats another.

    An algorithm is compared with another by the seeds that both have, and not at all where they have none in common.

    Raises:
        OnebodyError: a run is missing or was not tested; they are of other families, versions, tests or settings; two
            of an algorithm have the same seed.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    paths = [Path(run) for run in runs]
    records = [folder.read_config(run) for run in paths]
    for run, record in zip(paths, records, strict=True):
        test = _tested(run)
        _same("family", paths[0], records[0]["family"], run, record["family"])
        _same("version of the family", paths[0], records[0]["family_version"], run, record["family_version"])
        alike = found.setdefault(record["algorithm"], [])
        if alike:
            _same("configuration", alike[0]["run"], alike[0]["config"], run, record["config"])
        if twice := [one["run"] for one in alike if one["seed"] == record["seed"]]:
            raise OnebodyError(f"{twice[0]} and {run} have the same seed, {record['seed']}: leave one of them out")
        diverged = (run / DIVERGED).read_text().strip() if (run / DIVERGED).exists() else None
        alike.append(
            {"run": run, "config": record["config"], "seed": record["seed"], "test": test, "diverged": diverged}
        )
    first = found[records[0]["algorithm"]][0]["test"]
    wanted = [stage["tasks"] for stage in first["stages"]]
    for each in itertools.chain.from_iterable(found.values()):
        tasks = [stage["tasks"] for stage in each["test"]["stages"]]
        _same("number of stages", paths[0], len(wanted) - 1, each["run"], len(tasks) - 1)
        _same("tested tasks", paths[0], wanted, each["run"], tasks)
    n_stages = len(first["stages"])
    everything = [_scores(each, i) for each in found.values() for i in range(n_stages)]
    best = np.concatenate(everything).max(axis=0)
    return {
        "family": records[0]["family"],
        "tested": evaluate.tested(first, folder.family_of(records[0])),
        "best": best.tolist(),
        "algorithms": {name: _aggregates(each, best) for name, each in found.items()},
        "improvement": [
            {"algorithm": a, "over": b, "stage": i, **improvement}
            for a, b in itertools.combinations(found, 2)
            for i, improvement in enumerate(_improvements(found[a], found[b]))
        ],
    }


def _tested(run: Path) -> dict[str, Any]:
    path = run / "evaluation.json"
    if not path.is_file():
        raise OnebodyError(f"{run} was not tested yet: onebody evaluate {run}")
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise OnebodyError(f"{path} is damaged; test it again: onebody evaluate {run}") from None


def _same(what: str, there: Path, wanted: Any, here: Path, given: Any) -> None:
    if wanted != given:
        shown = f" ({wanted} and {given})" if len(str(wanted) + str(given)) < 80 else ""
        raise OnebodyError(f"{there} and {here} cannot be compared: they differ in their {what}{shown}")


def _scores(each: Sequence[dict[str, Any]], stage: int) -> np.ndarray:
    """Mean return of each task, [seed, task]."""
    return np.array([np.mean(one["test"]["stages"][stage]["returns"], axis=1) for one in each])


def _aggregates(each: Sequence[dict[str, Any]], best: np.ndarray) -> dict[str, Any]:
    """Of one algorithm; `best`: the highest return that any training compared reached at any stage, [task]."""
    stages = []
    for i, stage in enumerate(each[0]["test"]["stages"]):
        scores = _scores(each, i)
        estimates = {name: statistics.estimate(of(scores))._asdict() for name, of in statistics.AGGREGATES.items()}
        gap = {name: statistics.estimate(-of(scores - best))._asdict() for name, of in statistics.AGGREGATES.items()}
        stages.append({"stage": i, "adaptation_samples": stage["adaptation_samples"], **estimates, "gap": gap})
    return {
        "task_is_known": each[0]["test"]["task_is_known"],
        "seeds": [one["seed"] for one in each],
        "training_samples": [one["test"]["training_samples"] for one in each],
        "diverged": {str(one["run"]): one["diverged"] for one in each if one["diverged"]},
        "stages": stages,
    }


def _improvements(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Stage by stage, of the seeds that both have; nothing where they have none in common."""
    other = {one["seed"]: one for one in theirs}
    pairs = [(one, other[one["seed"]]) for one in ours if one["seed"] in other]
    seeds = [one["seed"] for one, _ in pairs]
    for i in range(len(ours[0]["test"]["stages"]) if pairs else 0):
        both = (_scores(each, i) for each in zip(*pairs, strict=True))
        yield {"seeds": seeds, **statistics.improvement(*both)._asdict()}
