"""Signals that end the process soon, whatever it is doing.

Python handles a signal once the main thread is back in Python. A compilation may keep it away for half a minute.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GRACE = 1.5
"""seconds that the main thread has to handle a signal, before the process ends without it"""
SHOW_CURSOR = "\x1b[?25h"
"""for a terminal whose cursor a progress bar has hidden"""


@contextmanager
def handled(handle: Callable[[int], None], message: Callable[[int], str], *signums: int) -> Iterator[threading.Lock]:
    """Within the block, `handle(signum)` is called for these signals. If it is not called within GRACE seconds, the
    process prints the message on stderr and exits with 128 + signum at once.

    To be entered in the main thread. A signal that the process was started to ignore stays ignored.

    Yields:
        A lock. While it is held, the process does not exit in this way.
    """
    signums = tuple(signum for signum in signums if signal.getsignal(signum) != signal.SIG_IGN)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    arrived, uninterrupted = threading.Event(), threading.Lock()

    def receive(signum: int, _: object) -> None:
        arrived.set()
        handle(signum)

    def watch() -> None:
        while caught := os.read(reader, 1):
            if caught[0] in signums and not arrived.wait(GRACE):
                with uninterrupted:
                    if not arrived.is_set():
                        cursor = SHOW_CURSOR if sys.stderr.isatty() else ""
                        print(f"{cursor}{message(caught[0])}", file=sys.stderr, flush=True)
                        os._exit(128 + caught[0])
            arrived.clear()
        os.close(reader)

    threading.Thread(target=watch, daemon=True).start()
    handlers = {signum: signal.signal(signum, receive) for signum in signums}
    outer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield uninterrupted
    finally:
        signal.set_wakeup_fd(outer)
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        os.close(writer)
