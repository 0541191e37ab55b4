"""`python -m onebody.runs.worker`: a process that does one job and ends.

It reads a line of JSON from its standard input, {"job", "cores", "wait"}, and writes the outcome as a line of JSON to
its standard output; whatever else is printed goes to standard error. It ends when its standard input does, so that no
worker outlives the process that started it.
"""

import json
import os
import signal
import sys
import threading
import traceback


def main() -> None:
    """Bind the process to its cores, before JAX counts them, and do the job."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
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
    except Exception as error:
        traceback.print_exc()
        outcome = jobs.Outcome("failed", f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
    print(json.dumps(outcome._asdict()), file=output, flush=True)


def _end_with_input() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
