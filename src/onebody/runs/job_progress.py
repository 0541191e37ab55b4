"""The progress of several jobs at once, as their run folders show it."""

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from onebody.runs import lock, log
from onebody.runs.jobs import Job, Outcome

REFRESH = 1.0
"""time (s) between looks at the run folders on a terminal"""
PLAIN_REFRESH = 60.0
"""time (s) between lines about the running jobs where there is no terminal"""


@dataclass
class JobProgress:
    """Shows progress on stderr, a context manager; nothing if `quiet`.

    On a terminal, a line for the jobs that have ended, with the time left, and one for each job that is running.
    Otherwise a line as each job ends, and every minute one for each job that is running.
    """

    jobs: Sequence[Job]
    side_by_side: bool
    """jobs run in other processes; otherwise each shows its own progress"""
    quiet: bool = False
    outcomes: dict[Path, Outcome] = field(default_factory=dict)
    """by run folder"""

    def __enter__(self) -> "JobProgress":
        self._began, self._live, self._closed = time.monotonic(), None, threading.Event()
        if self.side_by_side and not self.quiet:
            if sys.stderr.isatty():
                console = Console(stderr=True)
                self._live = Live(console=console, redirect_stdout=False, transient=True, auto_refresh=False)
                self._live.start()
            else:
                print(f"{len(self.jobs)} jobs", file=sys.stderr, flush=True)
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        if self._live is not None:
            self._live.stop()

    def update(self, job: Job, outcome: Outcome) -> None:
        """A job has ended."""
        self.outcomes[job.out] = outcome
        if outcome.status != "done":
            print(f"onebody: {job.out} {outcome.status}: {outcome.message}", file=sys.stderr, flush=True)
        elif not self.quiet and self._live is None:
            print(f"{self.summary} · {job.out} {outcome.status}", file=sys.stderr, flush=True)

    @property
    def summary(self) -> str:
        """How many jobs have ended, and the time left, if as many go on at once and take as long as those so far."""
        ended, seconds = len(self.outcomes), time.monotonic() - self._began
        counts = [f"job {ended}/{len(self.jobs)}"]
        if failed := sum(outcome.status != "done" for outcome in self.outcomes.values()):
            counts.append(f"{failed} of them failed or diverged")
        left = f", {log.clock(seconds * (len(self.jobs) - ended) / ended)} left" if ended else ""
        return f"{' · '.join(counts)} · {log.clock(seconds)}{left}"

    def running(self) -> list[str]:
        """A line for each job that is running."""
        return [
            f"  {job.out.name}: {_last_iteration(job)}"
            for job in self.jobs
            if job.out not in self.outcomes and (job.out / lock.NAME).exists()
        ]

    def _watch(self) -> None:
        while not self._closed.wait(PLAIN_REFRESH if self._live is None else REFRESH):
            lines = "\n".join([self.summary, *self.running()])
            if self._live is None:
                print(lines, file=sys.stderr, flush=True)
            else:
                self._live.update(Text(lines, overflow="ellipsis"), refresh=True)


def _last_iteration(job: Job) -> str:
    """What the last line of a run's metrics says."""
    path = job.out / log.METRICS
    lines = path.read_bytes().splitlines() if path.exists() else []
    if not lines:
        return "compiling"
    last = log.parse(lines[-1])
    if not {"real/samples", "real/return"} <= last.keys():
        return "writing"
    return f"iteration {last['iteration']} · {last['real/samples']:,} samples · return {last['real/return']:.1f}"
