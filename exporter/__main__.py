"""`python -m exporter` and `cicd-exporter`: the command line, which can be ended at any moment.

The process begins and ends here: whatever its standard streams are, whichever signal comes first,
and whatever its threads still wait for.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

_SERVING = frozenset({"run", "demo"})
"""The commands that a hang-up never ends."""
_INTERRUPTED = 128 + signal.SIGINT


def main() -> NoReturn:
    """Run one command and end the process with its exit code."""
    _complete_streams()
    if os.getpid() == 1:
        # The kernel keeps from a container's first process what it does not handle: without
        # this `docker stop` would wait in vain until a command handles SIGTERM by itself.
        signal.signal(signal.SIGTERM, _end)
    if _SERVING.intersection(sys.argv[1:2]):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is somebody to reload
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_ours:  # else it is ignored, as of what a shell runs in the background
        signal.signal(signal.SIGINT, _end)
    from exporter import cli  # noqa: PLC0415 - a third of a second, in which it may be told to stop

    if is_ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    code: object = 1
    try:
        code = cli.main()
    except SystemExit as usage:
        code = usage.code
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except BaseException:  # noqa: BLE001 - a bug, which is told as Python tells it
        sys.excepthook(*sys.exc_info())
    _leave(code if isinstance(code, int) else 0 if code is None else 1)


def _leave(code: int) -> NoReturn:
    """End the process: all is closed, and threads that still wait for a disk are left behind."""
    logging.shutdown()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = code or 1
    except OSError as error:
        if code == 0:
            why = (error.strerror or str(error)).lower()
            with contextlib.suppress(OSError):
                sys.stderr.write(f"cicd-exporter: standard output: {why}\n")
        code = code or 1
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)


def _complete_streams() -> None:
    """Put something in the place of a standard stream that is closed.

    Else the next file that is opened, maybe the state, takes its number, and what is meant for
    the log goes there. To write to a closed standard output stays an error.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError as error:
            if error.errno == errno.EBADF:
                os.open(os.devnull, flags)  # takes the lowest number that is free
    # Python has None in the place of what was closed, and prints what is for None to stdout.
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - a number
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - a number


def _end(number: int, _: FrameType | None) -> NoReturn:
    """What the signal does to any other process."""
    os._exit(128 + number)


if __name__ == "__main__":
    main()
