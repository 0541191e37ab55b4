"""Reads the raw results beside this file, and writes numbers as the pages do."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from onebody.runs import statistics

HERE = Path(__file__).parent


def read(path: Path | str) -> Any:
    """A JSON file, by its path from `results/`."""
    return json.loads((HERE / path).read_text())


def runs(*patterns: str) -> list[Path]:
    """Run folders, in the order of their names: `runs("smt-1a/smt-s*")`.

    Raises:
        FileNotFoundError: a pattern finds none.
    """
    result = {pattern: sorted(HERE.glob(pattern)) for pattern in patterns}
    for pattern, paths in result.items():
        if not paths:
            raise FileNotFoundError(f"no run in results/ is called {pattern}")
    return [path for paths in result.values() for path in paths]


def tests(run: Path) -> dict[int, list[dict[str, Any]]]:
    """The stages of a run's meta-tests, by the real samples of training; the final test's where both files have one."""
    files = [*sorted(run.glob("evaluations/*.json")), *sorted(run.glob("evaluation*.json"))]
    result = [json.loads(path.read_text()) for path in files]
    return {test["training_samples"]: test["stages"] for test in sorted(result, key=lambda t: t["training_samples"])}


def stages(*patterns: str, samples: int | None = None, stage: int = 0) -> list[dict[str, Any]]:
    """One stage of each run's meta-test, after so many real samples of training (by default: at the end)."""
    tested = [tests(run) for run in runs(*patterns)]
    return [each[max(each) if samples is None else samples][stage] for each in tested]


def scores(*patterns: str, samples: int | None = None, stage: int = 0) -> np.ndarray:
    """Mean return of each task, [seed, task]: the mean over its episodes in the simulator."""
    return np.array([np.mean(each["returns"], axis=1) for each in stages(*patterns, samples=samples, stage=stage)])


def predicted(*patterns: str, samples: int | None = None, stage: int = 0) -> np.ndarray:
    """Return that the model predicted for each task, [seed, task]."""
    return np.array([each["predicted"] for each in stages(*patterns, samples=samples, stage=stage)])


def metrics(run: Path | str) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`."""
    return [json.loads(line) for line in (HERE / run / "metrics.jsonl").read_text().splitlines()]


def published(key: str) -> Any:
    """A published result of `published.json`: its values, their source and what differs from ours."""
    return read("published.json")[key]


def number(value: float, digits: int = 0) -> str:
    """As the pages write it: `12,000`, `-33.2`, never `-0`."""
    return f"{round(float(value), digits) + 0.0:,.{digits}f}"


def numbers(values: np.ndarray | list[float], digits: int = 0) -> str:
    return " ".join(number(value, digits) for value in np.asarray(values))


def by_seed(scores: np.ndarray, digits: int = 0) -> str:
    """The mean return of each seed."""
    return numbers(scores.mean(axis=1), digits)


def to(values: np.ndarray | list[float], digits: int = 0) -> str:
    """The range of values: `-54.5 to -44.4`."""
    return f"{number(np.min(values), digits)} to {number(np.max(values), digits)}"


def spread(scores: np.ndarray, digits: int = 0) -> str:
    """The 95% interval of the mean over seeds; where there are too few seeds for one, the range of their means."""
    result = statistics.estimate(scores.mean(axis=1))
    return to(result.interval or result.range, digits)


def mean(scores: np.ndarray, digits: int = 0) -> str:
    return number(scores.mean(), digits)


def worst(scores: np.ndarray, digits: int = 0) -> str:
    """The lowest mean return of any task of each seed, mean over the seeds."""
    return number(statistics.worst(scores).mean(), digits)


def row(*cells: object) -> str:
    """A row of a table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def reached(pattern: str, level: float) -> list[int]:
    """Real samples of training at the first test of each run whose mean zero-shot return was `level` or more."""
    tested = [tests(run) for run in runs(pattern)]
    return [min(n for n, stages in each.items() if np.mean(stages[0]["returns"]) >= level) for each in tested]


def minutes(pattern: str) -> list[float]:
    """What the iterations of each run took together."""
    return [sum(line["time/step"] for line in metrics(run)) / 60 for run in runs(pattern)]
