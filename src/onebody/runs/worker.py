"""`python -m onebody.runs.worker`: a process that does one job and ends.

It reads a line of JSON from its standard input, {"job", "cores"}, and writes the outcome as a line of JSON to its
standard output. It ends when its standard input does, so that no worker outlives the process that started it.
"""

import json
import os
import signal
import sys
import threading


def main() -> None:
    """Bind the process to its cores, before JAX counts them, and do the job."""
    request = json.loads(sys.stdin.readline())
    if request["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, request["cores"])
    threading.Thread(target=_end_with_input, daemon=True).start()
    from onebody.core.errors import Stopped
    from onebody.runs import jobs

    try:
        outcome = jobs.do(jobs.Job.from_json(request["job"]), quiet=True, wait=request["wait"])
    except Stopped as error:
        sys.exit(128 + error.signum)
    print(json.dumps(outcome._asdict()), flush=True)


def _end_with_input() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
