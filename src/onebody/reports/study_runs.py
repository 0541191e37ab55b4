"""The runs of a study, and their tests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onebody.runs import evaluate, log, studies
from onebody.runs.jobs import DIVERGED
from onebody.runs.study_file import Study, System
from onebody.tasks import registry


@dataclass(frozen=True)
class Runs:
    """The runs of one system of a study."""

    paths: tuple[Path, ...]
    """in the order of their seeds"""
    tests: tuple[dict[int, list[dict[str, Any]]], ...]
    """for each run its tests on the study's tasks, by real samples of training"""

    @property
    def diverged(self) -> int:
        """Number of runs that diverged."""
        return sum((path / DIVERGED).exists() for path in self.paths)

    @property
    def last(self) -> list[tuple[int, list[dict[str, Any]]]]:
        """Real samples and stages of the last test of each run that was tested: after as many samples as all of them
        were tested after, if there is such a test after training began."""
        tested = [tests for tests in self.tests if tests]
        if common := max(set.intersection(*map(set, tested)), default=0) if tested else 0:
            return [(common, tests[common]) for tests in tested]
        return [max(tests.items()) for tests in tested]


def runs_of(study: Study, system: System, out: Path) -> Runs:
    """The runs of a system that have at least one iteration, or were tested."""
    tasks = study.test.of(registry.make(study.family).tested).tolist()
    folder, name = studies.place_of(study, system, out)
    found = [(path, studies.tests(path, tasks)) for path in studies.seeds_of(name, folder).values()]
    limit = math.inf if study.up_to is None else study.up_to
    found = [(path, {n: test for n, test in tests.items() if n <= limit}) for path, tests in found]
    begun = [(path, tests) for path, tests in found if tests or log.read(path)]
    return Runs(tuple(path for path, _ in begun), tuple(tests for _, tests in begun))


@dataclass(frozen=True)
class Trained:
    """A study with the runs of its systems."""

    study: Study
    out: Path
    """the folder of the study's runs"""
    runs: dict[str, Runs]
    """by the names of the systems"""

    @property
    def any_runs(self) -> bool:
        """Whether there is a run to draw."""
        return any(runs.paths for runs in self.runs.values())


def read(study: Study, out: Path) -> Trained:
    """A study with the runs in its folder."""
    return Trained(study, out, {system.name: runs_of(study, system, out) for system in study.systems})


def test_of(runs: Runs) -> dict[str, Any]:
    """A test of the first run that was tested."""
    run = next(path for path, tests in zip(runs.paths, runs.tests, strict=True) if tests)
    files = [*run.glob("evaluation*.json"), *run.glob("evaluations/*.json")]
    return evaluate.read(files[0])


def scores(tested: Sequence[tuple[int, Any]], stage: int) -> np.ndarray:
    """Mean returns [seed, task] at a stage."""
    return np.array([np.mean(stages[stage]["returns"], axis=1) for _, stages in tested])
