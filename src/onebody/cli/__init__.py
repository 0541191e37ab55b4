"""The command line: parses the arguments, calls `runs` and `reports`, and prints the result on stdout.

An error that the user can correct is one line on stderr and exit code 2. Ctrl-C and SIGTERM exit with 130 and 143
within two seconds; of a training run, all complete iterations are saved.
"""

import importlib.metadata
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

from onebody.cli import commands, options
from onebody.core.errors import OnebodyError, Stopped, did_you_mean
from onebody.runs import compilation_cache, interrupt


def run() -> NoReturn:
    """The process `onebody`: `main`, whose exit code is that of the process.

    Where the terminal or file of the output has no ψ, a question mark is written. Where input, output or errors are
    closed, what is written there is lost, so that it does not end in a file that is opened later.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(descriptor, "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    code = main()
    print(end="", flush=True)
    if code > 128:  # a signal: do not wait for the computations that JAX has begun
        os._exit(code)
    sys.exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, by default the arguments of the process, and return the exit code."""
    compilation_cache.enable()
    try:
        with _interruptible():
            _command(list(sys.argv[1:] if arguments is None else arguments))()
        print(end="", flush=True)
    except BrokenPipeError:  # the reader of our output has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OnebodyError as error:
        return _fail(str(error), 2)
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 2)
    except KeyboardInterrupt as error:
        return _fail("stopped", 128 + (signal.SIGTERM if error.args == (signal.SIGTERM,) else signal.SIGINT))
    except Stopped as error:
        return _fail(str(error), 128 + error.signum)
    return 0


def _interruptible() -> AbstractContextManager[Any]:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt(signum), or end the process if that has to wait for a compilation."""
    if threading.current_thread() is not threading.main_thread():
        return nullcontext()

    def interrupted(signum: int) -> None:
        raise KeyboardInterrupt(signum)

    return interrupt.handled(interrupted, lambda signum: "onebody: stopped", signal.SIGINT, signal.SIGTERM)


def _command(arguments: list[str]) -> Callable[[], None]:
    """The parsed command, to be called. Prints a command's --help and exits; raises OnebodyError for a mistake."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        return _help
    name, *rest = arguments
    if name == "--version":
        return lambda: print(f"onebody {importlib.metadata.version('onebody')}")
    if name not in commands.COMMANDS:
        raise OnebodyError(f"no command {name!r}{did_you_mean(name, commands.COMMANDS)}")
    kind = commands.with_config(rest) if name == "train" else commands.COMMANDS[name]
    return options.parse(kind, name, rest)


def _help() -> None:
    print("usage: onebody COMMAND [OPTIONS]\n")
    for name, kind in commands.COMMANDS.items():
        print(f"  {name:<11}{str(kind.__doc__).splitlines()[0]}")
    print(f"  {'--version':<11}Show the version.\n\nOptions of a command: onebody COMMAND --help")


def _fail(message: str, code: int) -> int:
    """Print an error as one line, whatever characters a name in it has."""
    line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in message)
    print(f"onebody: {line}", file=sys.stderr)
    return code
