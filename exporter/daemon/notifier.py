"""Notifications of the running process to systemd, see sd_notify(3)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from exporter.daemon.application import Application
from exporter.systemd import Manager

_EVERY = 30.0
"""Seconds between two status lines without a shorter watchdog interval."""


class SystemdNotifier:
    """Sends the state of the application to `manager`.

    The watchdog's keep-alives come from the event loop, so they end when it is stuck.
    """

    def __init__(self, manager: Manager, app: Application) -> None:
        self._manager = manager
        self._app = app

    def ready(self) -> None:
        """Send that requests are answered from now on, and the status at intervals."""
        if not self._manager.listens:
            return
        self._manager.tell("READY=1", status=self._status())
        often = _EVERY if self._manager.watchdog is None else self._manager.watchdog / 2
        self._app.timers.every(min(often, _EVERY), self._beat, "tell the service manager")

    async def _beat(self) -> None:
        self._manager.tell("WATCHDOG=1", status=self._status())

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Send the beginning and the end of a reload, also of one that fails."""
        self._manager.reloading()
        try:
            yield
        finally:
            self._manager.tell("READY=1", status=self._status())

    def stopping(self) -> None:
        """Send that the process is stopping."""
        self._manager.tell("STOPPING=1", status="stopping")

    def _status(self) -> str:
        accounts = self._app.schedule.accounts
        failing = [a for a in accounts if a.health.error is not None]
        repos = sum(len(account.repos) for account in accounts)
        text = f"polling, accounts: {len(accounts)}, repos: {repos}"
        if not self._app.health.reload_ok:
            text += "; the last reload failed"
        for account in failing[:1]:
            more = f" (and {len(failing) - 1} more)" if len(failing) > 1 else ""
            text += f"; {account.provider.name} is down{more}: {account.health.error}"
        return text
