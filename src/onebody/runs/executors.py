"""Where jobs are done: in this process one after another, in processes of this machine, on Ray, or on Slurm.

An executor yields each job with its outcome as it ends. All of them do a job in the same way, so that a run folder has
the same bytes wherever it was made, on processors of one kind.
"""

import contextlib
import importlib.util
import json
import os
import platform
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from onebody.core.errors import OnebodyError, Stopped
from onebody.runs import jobs, lock
from onebody.runs.job_progress import JobProgress
from onebody.runs.jobs import Job, Outcome

WAIT = 600.0
"""time (s) that a job waits for another process that is training in its folder"""
RESTARTS = 3
"""number of times that a job is done again whose process was killed"""


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
    """Several processes of this machine, which share its cores equally."""

    workers: int
    """number of processes"""
    side_by_side = True

    def run(self, todo: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        free: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        for i in range(self.workers):
            free.put(share(usable_cores(), i, self.workers))
        stopping = threading.Event()

        def one(job: Job) -> Outcome:
            cores = free.get()
            try:
                return do_in_process(job, cores, stopping)
            finally:
                free.put(cores)

        with ThreadPoolExecutor(self.workers) as threads:
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
        ray = _extra("ray", "ray")
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
        submitit = _extra("submitit", "slurm")
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
    if workers < 0:
        raise OnebodyError(f"--workers must be at least 0, not {workers}")
    kind, _, name = on.partition(":")
    if kind == "ray":
        _extra("ray", "ray")
        return Ray(name, workers or 1)
    if kind == "slurm":
        if not name:
            raise OnebodyError("--on slurm needs a partition, as in --on slurm:gpu")
        _extra("submitit", "slurm")
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


def usable_cores() -> list[int]:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def share(cores: Sequence[int], i: int, n: int) -> list[int]:
    """The cores of worker i of n: an equal part of them, or one that it shares where there are more workers."""
    if n > len(cores):
        return [cores[i % len(cores)]]
    return [int(core) for core in np.array_split(cores, n)[i]]


def do_in_process(job: Job, cores: Sequence[int] | None, stopping: threading.Event | None = None) -> Outcome:
    """Do a job in a new process on these cores (None: all), and again if that was killed.

    `stopping`: once set, the process is stopped; all complete iterations are saved.
    """
    request, code = json.dumps({"job": job.to_json(), "cores": cores, "wait": WAIT}), 0
    said: list[str] = []
    for attempt in range(RESTARTS + 1):
        command = [sys.executable, "-m", "onebody.runs.worker"]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace", start_new_session=True
        )
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        said = []
        listener = threading.Thread(target=_pass_on, args=(process.stderr, said), daemon=True)
        listener.start()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(request + "\n")
            process.stdin.flush()
        code = _ended(process, stopping)
        output = process.stdout.read().strip().splitlines()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        listener.join(timeout=5.0)
        process.stdout.close()
        process.stderr.close()
        if code == 0 and output:
            return _with_errors(Outcome(**json.loads(output[-1])), job, said)
        if stopping is not None and stopping.is_set():
            return Outcome("failed", "stopped")
        killed = -code if code < 0 else code - 128  # a training run exits with 128 + the signal
        if killed <= 0 or attempt == RESTARTS:
            break
        name = signal.Signals(killed).name
        print(f"onebody: {job.out}: worker killed by {name}; restarting it", file=sys.stderr, flush=True)
    return _with_errors(Outcome("failed", (said or [f"its process ended with code {code}"])[-1]), job, said)


def _pass_on(errors: Iterable[str], said: list[str]) -> None:
    """Collect what a worker prints to standard error, and print its warnings as they come."""
    for line in errors:
        said.append(line.rstrip())
        if line.startswith("onebody: "):
            print(line.rstrip(), file=sys.stderr, flush=True)


def _with_errors(outcome: Outcome, job: Job, said: Sequence[str]) -> Outcome:
    """The outcome; the traceback of a failed job is kept in a file beside its run folder."""
    path = job.out.with_name(f"{job.out.name}-errors.txt")
    failed = outcome.status == "failed" and any(line.startswith("Traceback") for line in said)
    try:
        path.unlink(missing_ok=True)
        if failed:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(said) + "\n")
    except OSError:
        failed = False
    return outcome._replace(message=f"{outcome.message} ({path})") if failed else outcome


def _ended(process: "subprocess.Popen[str]", stopping: threading.Event | None) -> int:
    """The exit code, once the process has ended by itself or because it was stopped."""
    while True:
        try:
            return process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            if stopping is not None and stopping.is_set():
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(timeout=5.0)
                process.kill()


def do_anywhere(job: dict[str, Any], cores: list[int] | None) -> tuple[str, ...]:
    """`do_in_process` for another machine: takes and returns plain data."""
    return tuple(do_in_process(Job.from_json(job), cores))


def do_on_free_cores(job: dict[str, Any], n: int) -> tuple[str, ...]:
    """`do_anywhere` on n cores of this machine that no other such job uses, or on all if there are fewer."""
    with contextlib.ExitStack() as claimed:
        cores: list[int] = []
        for core in usable_cores():
            folder = Path(tempfile.gettempdir()) / f"onebody-cores-{os.getuid()}-{platform.node()}" / str(core)
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OnebodyError, OSError):
                claimed.enter_context(lock.held(folder))
                cores.append(core)
            if len(cores) == n:
                break
        return do_anywhere(job, cores if len(cores) == n else None)


def _extra(module: str, extra: str) -> Any:
    """An optional package.

    Raises:
        OnebodyError: it is not installed; says how to install it.
    """
    if importlib.util.find_spec(module) is None:
        raise OnebodyError(f"--on {extra} needs: pip install 'onebody[{extra}]'")
    return importlib.import_module(module)
