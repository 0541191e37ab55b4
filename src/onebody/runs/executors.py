"""Where jobs are done: in this process one after another, in processes of this machine, on Ray, or on Slurm.

An executor yields each job with its outcome as it ends. All of them do a job in the same way, so that a run folder has
the same bytes wherever it was made, on processors of one kind.
"""

import contextlib
import os
import queue
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from onebody.core.errors import OnebodyError, Stopped, whole
from onebody.runs import extras, jobs
from onebody.runs.job_progress import JobProgress
from onebody.runs.jobs import Job, Outcome
from onebody.runs.processes import WAIT, Worker, do_anywhere, do_on_free_cores, share, usable_cores


@runtime_checkable
class Executor(Protocol):
    """Does jobs."""

    @property
    def side_by_side(self) -> bool:
        """Whether jobs are done in other processes, several at once"""
        ...

    def run(self, todo: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Each job with its outcome, in the order in which they end."""
        ...


@dataclass(frozen=True)
class InOrder:
    """One job after another, in this process."""

    quiet: bool = False
    side_by_side = False

    def run(self, todo: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        for job in todo:
            try:
                yield job, jobs.do(job, quiet=self.quiet, wait=WAIT)
            except Stopped as error:
                raise Stopped(error.signum, error.run, "rerun the command to resume") from None


@dataclass(frozen=True)
class Processes:
    """Several processes of this machine, which share its cores equally and do one job after another."""

    workers: int
    """number of processes"""
    side_by_side = True

    def run(self, todo: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        stopping = threading.Event()

        def one(job: Job) -> Outcome:
            worker = free.get()
            try:
                return worker.do(job, stopping)
            finally:
                free.put(worker)

        with contextlib.ExitStack() as workers, ThreadPoolExecutor(self.workers) as threads:
            for i in range(self.workers):
                free.put(workers.enter_context(Worker(share(usable_cores(), i, self.workers))))
            futures = {threads.submit(one, job): job for job in todo}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                stopping.set()
                for future in futures:
                    future.cancel()


@dataclass(frozen=True)
class Ray:
    """The nodes of a Ray cluster that share a disk with this machine."""

    address: str
    """address of the cluster; empty: the one that RAY_ADDRESS names, or a new one on this machine"""
    cores: int
    """cores per job"""
    side_by_side = True

    def run(self, todo: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        ray = extras.load("ray", "ray", "--on ray")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if not ray.is_initialized():
            options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
            try:
                ray.init(address=self.address or None, **options)
            except (ConnectionError, ValueError) as error:
                raise OnebodyError(f"--on ray:{self.address}: {str(error).splitlines()[0]}") from error
        most = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
        if most < self.cores:
            raise OnebodyError(f"no node of the Ray cluster has {self.cores} cores (the largest has {most:g})")
        remote = ray.remote(num_cpus=self.cores, max_retries=-1)(do_on_free_cores)
        pending = {remote.remote(job.to_json(), self.cores): job for job in todo}
        try:
            while pending:
                (ended,), _ = ray.wait(list(pending), num_returns=1)
                job = pending.pop(ended)
                try:
                    yield job, Outcome(*ray.get(ended))
                except ray.exceptions.RayError as error:
                    yield job, Outcome("failed", f"Ray: {str(error).strip().splitlines()[-1]}")
        finally:
            for each in pending:
                ray.cancel(each, force=True)


@dataclass(frozen=True)
class Slurm:
    """A partition of a Slurm cluster, through submitit; its nodes share a disk with this machine."""

    partition: str
    """name of the partition; "local" for processes of this machine, without Slurm"""
    cores: int
    """cores per job"""
    hours: float = 24.0
    """time limit of a job"""
    side_by_side = True

    def run(self, todo: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        submitit = extras.load("submitit", "slurm", "--on slurm")
        logs = Path(os.path.commonpath([job.out.absolute().parent for job in todo])) / "slurm"
        local = self.partition == "local"
        if not local and shutil.which("srun") is None:
            raise OnebodyError("--on slurm: this machine has no srun; call it on a login node of the Slurm cluster")
        executor = submitit.AutoExecutor(folder=logs, cluster="local" if local else "slurm")
        executor.update_parameters(timeout_min=round(60 * self.hours), cpus_per_task=self.cores, name="onebody")
        if not local:
            executor.update_parameters(slurm_partition=self.partition)
        pending = {executor.submit(do_anywhere, job.to_json(), None): job for job in todo}
        try:
            while pending:
                for submitted in [each for each in pending if each.done()]:
                    job = pending.pop(submitted)
                    error = str(submitted.exception() or "").strip().splitlines()
                    yield job, Outcome("failed", f"Slurm: {error[-1]}") if error else Outcome(*submitted.result())
                time.sleep(1.0)
        finally:
            for submitted in pending:
                submitted.cancel()


def of(on: str, workers: int, quiet: bool, n_jobs: int) -> Executor:
    """The executor that the options `--on` and `--workers` name.

    Args:
        on: empty, `ray`, `ray:ADDRESS` or `slurm:PARTITION`.
        workers: number of jobs at once on this machine; 0: one per core, at most one per job. With Ray and Slurm, the
            number of cores per job; 0: one.

    Raises:
        OnebodyError: there is no such executor, or its package is not installed.
    """
    workers = whole("--workers", workers)
    if workers < 0:
        raise OnebodyError(f"--workers must be at least 0, not {workers}")
    kind, _, name = on.partition(":")
    if kind == "ray":
        extras.check("ray", "ray", "--on ray")
        return Ray(name, workers or 1)
    if kind == "slurm":
        if not name:
            raise OnebodyError("--on slurm needs a partition, as in --on slurm:gpu")
        extras.check("submitit", "slurm", "--on slurm")
        return Slurm(name, workers or 1)
    if on:
        raise OnebodyError(f"unknown --on {on}; use ray, ray:ADDRESS or slurm:PARTITION, or omit it for this machine")
    n = min(workers or len(usable_cores()), n_jobs)
    return Processes(n) if n > 1 else InOrder(quiet)


def do_all(todo: Sequence[Job], executor: Executor, quiet: bool) -> dict[Path, Outcome]:
    """Do all jobs and show their progress; the outcome of each, by its run folder.

    Raises:
        OnebodyError: a job failed; all others have been done.
    """
    outcomes: dict[Path, Outcome] = {}
    with JobProgress(todo, executor.side_by_side, quiet) as progress:
        for job, outcome in executor.run(todo):
            outcomes[job.out] = outcome
            progress.update(job, outcome)
    if failed := [outcome.message for outcome in outcomes.values() if outcome.status == "failed"]:
        raise OnebodyError(failed[0] if len(todo) == 1 else f"{len(failed)} of {len(todo)} jobs failed: {failed[0]}")
    return outcomes
