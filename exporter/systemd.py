"""What a service manager is told of a service that it started: sd_notify(3).

Each message is one datagram of `NAME=VALUE` lines to the socket that `NOTIFY_SOCKET` names;
nothing comes back. Where there is no such socket nothing is sent.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from time import CLOCK_MONOTONIC, clock_gettime_ns

log = logging.getLogger(__name__)


class Manager:
    """Who has started this process, if it is somebody who wants to hear of it."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self.watchdog = _watchdog(environ)
        """Seconds without a `WATCHDOG=1` after which it takes the process for stuck and kills it;
        None if it does not look."""

    @property
    def listens(self) -> bool:
        """Whether there is somebody."""
        return self._address is not None

    def tell(self, *states: str, status: str | None = None) -> None:
        """Send some of the well-known assignments, and a line for people. Never waits."""
        if self._address is None:
            return
        lines = [*states] if status is None else [*states, f"STATUS={' '.join(status.split())}"]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.settimeout(0.0)
                channel.sendto("\n".join(lines).encode(errors="replace"), self._address)
        except OSError as error:
            log.debug("the service manager cannot be told: %s", error)

    def reloading(self) -> None:
        """The configuration is being read again; `READY=1` ends that."""
        now = clock_gettime_ns(CLOCK_MONOTONIC) // 1000
        self.tell("RELOADING=1", f"MONOTONIC_USEC={now}")


def _address(text: str) -> str | None:
    if text.startswith("@"):  # a name that is in no file system
        return f"\0{text[1:]}"
    return text if text.startswith("/") else None


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """sd_watchdog_enabled(3): it may be meant for another process."""
    pid, micros = environ.get("WATCHDOG_PID", ""), environ.get("WATCHDOG_USEC", "")
    if not micros.isdecimal() or int(micros) == 0 or pid not in {"", str(os.getpid())}:
        return None
    return int(micros) / 1e6
