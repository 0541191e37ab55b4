"""A job: one training run and its test. To do it again does only what is missing."""

import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from onebody.algorithms import presets
from onebody.core.errors import NotFinite, OnebodyError
from onebody.runs import configs, evaluate, folder, log, loop
from onebody.runs.evaluate import MetaTest
from onebody.tasks import registry

DIVERGED = "diverged.txt"
"""file in a run folder that says why its training diverged and ended"""


@dataclass(frozen=True)
class Job:
    """What to train and how to test it. Its only product is the run folder `out`."""

    algorithm: str
    family: str
    """id of a registered family, or FILE.py:ID"""
    out: Path
    seed: int
    preset: str = "laptop"
    config: dict[str, Any] | None = None
    """the algorithm's whole configuration, as in `config.json`; None: that of the preset"""
    samples: int | None = None
    """real samples to train for; None: all iterations"""
    evaluate_every: int = 0
    """iterations between evaluations during training; 0: none"""
    test: MetaTest | None = evaluate.HELD_OUT
    """the meta-test after training; None: no test"""
    data: tuple[str, ...] = ()
    """logs to learn from, as in `onebody train --data`"""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"out": str(self.out.absolute())}

    @staticmethod
    def from_json(values: dict[str, Any]) -> "Job":
        test = MetaTest(**values["test"]) if values["test"] else None
        return Job(**{**values, "out": Path(values["out"]), "test": test, "data": tuple(values["data"])})


class Outcome(NamedTuple):
    """How a job ended."""

    status: Literal["done", "diverged", "failed"]
    """diverged: a value was not finite; the test is that of the last checkpoint. failed: there may be no test"""
    message: str = ""
    """why it diverged or failed"""


def do(job: Job, *, quiet: bool = False, wait: float = 0.0) -> Outcome:
    """Train or resume the job's run, and test it unless it was tested in this way.

    Args:
        wait: time (s) to wait for another process that is training in the folder.
    """
    diverged = job.out / DIVERGED
    try:
        check_same(job)
        if not diverged.exists():
            try:
                _train(job, quiet, wait)
            except NotFinite as error:
                diverged.write_text(f"{error}\n", encoding="utf-8")
        if job.test:
            with folder.locked(job.out, wait):
                if not is_tested(job.out, job.test):
                    evaluate.evaluate(job.out, job.test, quiet)
    except NotFinite as error:
        return Outcome("failed", f"the test of {job.out} failed ({error}); try fewer --stages")
    except OnebodyError as error:
        return Outcome("failed", str(error))
    except OSError as error:
        return Outcome("failed", f"{job.out}: {error.strerror or error}")
    reason = divergence(job.out)
    return Outcome("done") if reason is None else Outcome("diverged", reason)


def divergence(run: Path) -> str | None:
    """Why a training run diverged; None if it did not."""
    path = run / DIVERGED
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else None


def check_same(job: Job) -> None:
    """Raises OnebodyError if the job's folder holds another run."""
    if not (job.out / folder.CONFIG).exists():
        return
    there, family = folder.read_config(job.out), registry.make(job.family)
    config = job.config
    if config is None:
        config = configs.to_json(presets.preset(job.algorithm, job.preset, family.id))
    here = {"algorithm": job.algorithm, "family": family.id, "family_version": family.version, "seed": job.seed}
    if job.data:  # `loop.train` compares the content of the logs, which may no longer be here
        config = config | {"logged_transitions": there["config"].get("logged_transitions")}
        here["data"] = there.get("data")
    folder.check_same(job.out, there, here | {"config": config})


def _train(job: Job, quiet: bool, wait: float) -> None:
    config = None
    if job.config is not None:
        kind = typing.get_type_hints(presets.algorithm(job.algorithm))["config"]
        config = configs.from_json(kind, job.config)
    loop.train(
        job.algorithm,
        job.family,
        out=job.out,
        seed=job.seed,
        preset=job.preset,
        config=config,
        samples=job.samples,
        evaluate_every=job.evaluate_every,
        test=job.test or evaluate.HELD_OUT,
        data=job.data,
        quiet=quiet,
        wait=wait,
    )


def is_tested(run: Path, test: MetaTest) -> bool:
    """Whether a run was tested on the tasks and stages of `test` after its last iteration."""
    path = run / "evaluation.json"
    if not path.exists():
        return False
    try:
        existing = evaluate.read(path)
    except OnebodyError:
        return False  # damaged
    record = folder.read_config(run)
    tasks = test.of(folder.family_of(record).tested).tolist()
    lines = log.read(run)
    samples = lines[-1].get("real/samples", 0) if lines else 0
    expected = [tasks] * (test.stages + 1), samples
    return ([stage["tasks"] for stage in existing["stages"]], existing["training_samples"]) == expected


def is_done(job: Job) -> bool:
    """Whether a job's training has ended and was tested as the job says.

    A folder without checkpoints holds raw results that were kept, and is done.

    Raises:
        OnebodyError: the folder holds another run, such as one of another scale.
    """
    if not (job.out / folder.CONFIG).exists():
        return False
    if is_kept(job.out):
        return True
    check_same(job)
    if job.test and not is_tested(job.out, job.test):
        return False
    if (job.out / DIVERGED).exists():
        return True
    record, lines = folder.read_config(job.out), log.read(job.out)
    samples = lines[-1].get("real/samples", 0) if lines else 0
    if job.samples is not None and samples >= job.samples:
        return True
    kind = typing.get_type_hints(presets.algorithm(job.algorithm))["config"]
    return len(lines) >= configs.from_json(kind, record["config"]).n_iterations


def is_kept(run: Path) -> bool:
    """Whether a run folder holds raw results alone, without checkpoints."""
    return not (run / "checkpoints").is_dir() and (any(run.glob("evaluation*")) or bool(log.read(run)))
