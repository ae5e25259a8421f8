"""`python -m exporter` and `cicd-exporter`: the command line, which can be ended at any moment."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Run one command; returns its exit code."""
    if os.getpid() == 1:
        # The kernel keeps from a container's first process what it does not handle: without
        # this `docker stop` would wait in vain until a command handles SIGTERM by itself.
        signal.signal(signal.SIGTERM, _end)
    from exporter import cli  # noqa: PLC0415 - a third of a second, in which it may be told to stop

    return cli.main()


def _end(number: int, _: FrameType | None) -> None:
    """What the signal does to any other process."""
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
