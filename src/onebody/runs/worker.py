"""`python -m onebody.runs.worker`: a process that does jobs one after another, for `processes.Worker`.

Each line of its standard input is a job as JSON, {"job", "cores", "wait"}, and null ends it; each line of its standard
output is the answer, {"outcome", "errors"}. Whatever else is printed goes to standard error. It ends when its standard
input does, so that no worker outlives the process that started it.
"""

import json
import os
import queue
import signal
import sys
import threading
import traceback
from typing import Any


def main() -> None:
    """Do one job after another; the first binds the process to its cores, before JAX counts them."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    while request := requests.get():
        if request["cores"] and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, request["cores"])
        print(json.dumps(_do(request)), file=output, flush=True)


def _do(request: dict[str, Any]) -> dict[str, Any]:
    from onebody.core.errors import Stopped
    from onebody.runs import jobs
    from onebody.worlds.refusals import first_line

    errors = ""
    try:
        outcome = jobs.do(jobs.Job.from_json(request["job"]), quiet=True, wait=request["wait"])
    except Stopped as error:
        sys.exit(128 + error.signum)
    except (Exception, SystemExit) as error:  # SystemExit: of a user's file
        errors = traceback.format_exc()
        outcome = jobs.Outcome("failed", first_line(error))
    return {"outcome": outcome._asdict(), "errors": errors}


def _read(requests: "queue.SimpleQueue[Any]") -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
