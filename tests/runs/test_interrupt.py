import signal
import subprocess
import sys
import time

import pytest

from onebody.runs import interrupt

SCRIPT = """if True:
    import hashlib, os, signal, sys, time
    from onebody.runs import interrupt

    first = SIGNALLED

    def handle(signum):
        global first
        if not first:
            print("handled", flush=True)
            os._exit(3)
        first = False

    with interrupt.handled(handle, lambda signum: f"stopped by {signum}", signal.SIGTERM) as lock:
        if first:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)
        print("ready", flush=True)
        WORK
"""
IN_C = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"  # for minutes, as a compilation; it does not end for a signal
IN_PYTHON = "[None for _ in iter(int, 1)]"
LOCKED = "lock.acquire(); hashlib.pbkdf2_hmac('sha256', b'', b'', 6 * 10**6); lock.release(); time.sleep(60)"


@pytest.mark.parametrize("signalled", [False, True])
@pytest.mark.parametrize(
    ("work", "code", "out", "err"),
    [(IN_C, 143, "", "stopped by 15\n"), (IN_PYTHON, 3, "handled\n", ""), (LOCKED, 3, "handled\n", "")],
)
def test_a_signal_is_handled_or_ends_the_process(signalled, work, code, out, err):
    """And so is a second one."""
    script = SCRIPT.replace("SIGNALLED", str(signalled)).replace("WORK", work)
    with subprocess.Popen([sys.executable, "-c", script], stdout=-1, stderr=-1, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.2)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, *said) == (code, out, err)
    assert work == LOCKED or time.monotonic() - began < interrupt.GRACE + 2


def test_handlers_are_restored():
    before = signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before[1])
    with interrupt.handled(lambda signum: None, str, signal.SIGTERM):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(before[1])) == before
