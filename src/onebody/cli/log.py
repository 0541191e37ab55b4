"""`onebody log`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from onebody.cli.options import Flag
from onebody.cli.printing import print_json


@dataclass(frozen=True)
class Log:
    """Send the metrics and evaluations of a training run to TensorBoard, Weights & Biases or MLflow.

    The same command again sends what is new.
    """

    run: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """Folder of the training run, which may be finished or not"""
    to: str = "tensorboard"
    """Loggers to send to: tensorboard, wandb, mlflow, or several of them, separated by commas"""
    json: Flag = False
    """Print the number of points sent to each logger as JSON"""

    def __call__(self) -> None:
        from onebody.runs import log_feed

        sent = log_feed.send_all(self.run, names(self.to))
        if self.json:
            return print_json(sent)
        for name, points in sent.items():
            print(f"{name}: {points} points sent")


def names(text: str) -> list[str]:
    """The names in a list that is separated by commas."""
    return [name.strip() for name in text.split(",")] if text else []
