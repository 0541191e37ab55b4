"""TensorBoard, Weights & Biases and MLflow, each behind the same two methods.

A logger may raise any error, and may take any time; `runs/log_feed.py` keeps both away from training.
"""

import importlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from onebody.core.errors import OnebodyError, did_you_mean
from onebody.runs import extras

SAMPLES, ITERATION = "real/samples", "iteration"
"""metrics that are the x axes of all others"""
PROJECT = "onebody"
"""Weights & Biases project and MLflow experiment, unless WANDB_PROJECT or MLFLOW_EXPERIMENT_NAME names another"""
FINISH_TIMEOUT = 20.0
"""time (s) for Weights & Biases to upload what is left at the end; what it does not upload is kept on disk"""
PARAMS = 100
"""largest number of parameters that MLflow takes in one request"""


@dataclass(frozen=True)
class Point:
    """The metrics of one iteration."""

    number: int
    """how many points of the run were written before"""
    iteration: int
    samples: int
    """real samples of training up to here"""
    values: Mapping[str, float]
    """finite numbers by name"""


@runtime_checkable
class Logger(Protocol):
    """Takes the points of one run."""

    def write(self, point: Point) -> None: ...

    def close(self) -> None:
        """Wait until all points are stored."""
        ...


class TensorBoard:
    """Event files in `RUN/tensorboard`: each metric over real samples, and as by_iteration/… over iterations."""

    def __init__(self, run: Path, record: Mapping[str, Any], identity: str):
        self._event = importlib.import_module("tensorboardX.proto.event_pb2").Event
        self._summary = importlib.import_module("tensorboardX.proto.summary_pb2").Summary
        folder = run.absolute() / "tensorboard"
        folder.mkdir(exist_ok=True)
        writer = importlib.import_module("tensorboardX.event_file_writer").EventsWriter
        self._events = writer(str(folder / "events"), filename_suffix=f".{secrets.token_hex(4)}")

    def write(self, point: Point) -> None:
        for prefix, step in (("", point.samples), ("by_iteration/", point.iteration)):
            values = [
                self._summary.Value(tag=prefix + name, simple_value=value) for name, value in point.values.items()
            ]
            self._events.write_event(self._event(wall_time=time.time(), step=step, summary=self._summary(value=values)))
        self._events.flush()

    def close(self) -> None:
        self._events.close()


class WandB:
    """A run of Weights & Biases; its files are in `RUN/wandb`."""

    def __init__(self, run: Path, record: Mapping[str, Any], identity: str):
        wandb = importlib.import_module("wandb")
        if wandb.setup().settings.mode == "online" and not wandb.login(prompt=False, verify=False):
            raise OnebodyError("not logged in to Weights & Biases: wandb login, or set WANDB_MODE=offline")
        settings = wandb.Settings(silent=True, console="off", reinit="create_new", finish_timeout=FINISH_TIMEOUT)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=identity,
            resume="allow",
            name=run.absolute().name,
            group=f"{record['algorithm']} on {record['family']}",
            config=dict(record),
            dir=str(run),
            settings=settings,
        )
        self._run.define_metric("*", step_metric=SAMPLES)

    def write(self, point: Point) -> None:
        axes = {SAMPLES: point.samples, ITERATION: point.iteration}
        self._run.log(dict(point.values) | axes, step=point.number)

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of MLflow, in the store that MLFLOW_TRACKING_URI names; found again by its tag onebody.id."""

    def __init__(self, run: Path, record: Mapping[str, Any], identity: str):
        self._entities = importlib.import_module("mlflow.entities")
        self._client = importlib.import_module("mlflow.tracking").MlflowClient()
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        place = experiment.experiment_id if experiment else self._client.create_experiment(name)
        there = self._client.search_runs([place], filter_string=f"tags.`onebody.id` = '{identity}'")
        if there:
            self._id = there[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
        else:
            tags = {"onebody.id": identity}
            self._id = self._client.create_run(place, run_name=run.absolute().name, tags=tags).info.run_id
            params = [self._entities.Param(name, str(value)) for name, value in _flat(record)]
            for i in range(0, len(params), PARAMS):
                self._client.log_batch(self._id, params=params[i : i + PARAMS])

    def write(self, point: Point) -> None:
        now = round(1000 * time.time())
        numbers = {**point.values, ITERATION: point.iteration}
        metrics = [self._entities.Metric(name, value, now, point.samples) for name, value in numbers.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self) -> None:
        self._client.set_terminated(self._id)


@dataclass(frozen=True)
class Kind:
    """A logger that can be chosen by its name, which is also that of its extra."""

    module: str
    """the package that it needs"""
    open: Callable[[Path, Mapping[str, Any], str], Logger]
    """called with the run folder, its `config.json`, and an identifier that is the same whenever the run is resumed"""


KINDS: dict[str, Kind] = {
    "tensorboard": Kind("tensorboardX", TensorBoard),
    "wandb": Kind("wandb", WandB),
    "mlflow": Kind("mlflow", MLflow),
}


def check(names: Sequence[str], option: str) -> None:
    """Check the names of loggers that a user gave; `option` is what the message calls them.

    Raises:
        OnebodyError: there is no logger of this name, it is given twice, or its package is not installed.
    """
    for name in names:
        if name not in KINDS:
            raise OnebodyError(f"{option} has no logger {name!r}{did_you_mean(name, KINDS)}")
        if list(names).count(name) > 1:
            raise OnebodyError(f"{option} has {name} twice")
        extras.check(KINDS[name].module, name, f"{option} {name}")


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The entries of a nested mapping, named as in config.policy.hidden."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
