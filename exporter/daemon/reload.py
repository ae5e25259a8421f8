"""Reloading: the file is read again, checked whole and put in force, one time after the other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager

from exporter import logs
from exporter.config import Config, load
from exporter.daemon.application import Application
from exporter.errors import ConfigError, ExporterError
from exporter.threads import apart, begun, ended
from exporter.web.access import Access
from exporter.web.config import Version, WebConfig, version

log = logging.getLogger(__name__)

_THREAD = "configuration"
_CALM = 0.2
"""Seconds in which all signals make one reload."""
_SETTLED = 0.5
"""Seconds that a changed file must stay as it is before it is read unasked: it may be half
written."""

_DEADLINE = 30.0
"""Seconds in which all files have to be read; a disk of the network may hang."""
_PATIENCE = 1.0
"""Seconds that a stop waits for a reload to let go; the disk of the state may hang."""

_Versions = tuple[Version, ...]
"""Of the two files."""
_Outcome = list[str] | ExporterError


class Reloads:
    """Reads the configuration file, and that of the web, again when asked to.

    A file with a fault, or a state that does not answer, changes nothing. `around` is
    entered for each reload.
    """

    def __init__(
        self,
        app: Application,
        file: str,
        access: Access | None = None,
        *,
        around: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self._app = app
        self._access = Access(WebConfig()) if access is None else access
        self._around = around
        self._is_unasked = False
        self._file = file
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[_Outcome] | None = None
        self._tasks: set[asyncio.Task[_Outcome]] = set()
        self._soon: asyncio.TimerHandle | None = None
        self._closed = False
        self._loading: Future[tuple[_Versions, Config, WebConfig]] | None = None
        self._read: _Versions | None = None
        """What is in force; None before the first reload and after one that failed."""
        self._error: str | None = None
        """Why the last reload failed."""

    async def reload(self) -> list[str]:
        """Reload; returns what has changed or waits for a restart, one line each.

        Calls that come while a reload is under way share the next one. Raises ConfigError
        with every fault of the file, or another ExporterError; then nothing has changed.
        """
        if self._closed:
            raise _stopping()
        task = self._ask()
        await asyncio.wait([task])
        if task.cancelled():
            raise _stopping()
        outcome = task.result()
        if isinstance(outcome, ExporterError):
            raise outcome
        return outcome

    def signalled(self) -> None:
        """Reload soon: what SIGHUP does."""
        if self._soon is None and not self._closed:
            log.info("SIGHUP: the configuration is read again")
            self._soon = asyncio.get_running_loop().call_later(_CALM, self._calm)

    def _calm(self) -> None:
        self._soon, self._is_unasked = None, False
        self._ask()

    async def look(self) -> None:
        """Reload if a file is not the one in force: a job for the scheduler.

        What has failed is tried again, as a missing secret may be there by now.
        """
        version, before = await apart(self._version, name=_THREAD), None
        if version == self._read:
            return
        while version != before:
            await asyncio.sleep(_SETTLED)
            before, version = version, await apart(self._version, name=_THREAD)
        self._is_unasked = True
        with contextlib.suppress(ExporterError):  # the reload has told it
            await self.reload()

    async def look_at_certificates(self) -> None:
        """Serve the certificates that are there now: another job."""
        before = self._access.fault
        await self._access.look()
        if self._access.fault != before:
            self._show(self._error)

    async def close(self) -> None:
        """Let go of the reload under way and begin no other."""
        self._closed = True
        if self._soon is not None:
            self._soon.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_PATIENCE)

    # -- one reload

    def _ask(self) -> asyncio.Task[_Outcome]:
        """The next reload that has not read the file yet."""
        if self._next is None:
            self._next = asyncio.create_task(self._in_turn())
            self._tasks.add(self._next)
            self._next.add_done_callback(self._done)
        return self._next

    async def _in_turn(self) -> _Outcome:
        async with self._turn:
            self._next = None
            # Who asks is told each time; what is tried again by itself need not say so.
            facts = logs.FOLDED if self._is_unasked else None
            self._is_unasked = False
            with self._around():
                try:
                    return await self._reload()
                except ExporterError as error:
                    for line in str(error).splitlines():
                        log.error("the old configuration stays: %s", line, extra=facts)
                    self._show(str(error))
                    return error

    async def _reload(self) -> list[str]:
        self._read = None
        versions, config, web = await self._loaded()
        for warning in (*config.warnings, *web.warnings):
            log.warning("%s", warning)
        step = await self._app.apply(config)
        applied = self._access.apply(web)
        self._read = versions
        self._show(None)
        changes = [*step.changes, *applied.changes]
        for line in changes:
            log.info("%s", line)
        waiting = [f"needs a restart: {line}" for line in (*step.postponed, *applied.postponed)]
        for line in waiting:
            log.warning("%s", line)
        log.info("the configuration is reloaded", extra={"changes": len(changes)})
        return [*changes, *waiting]

    async def _loaded(self) -> tuple[_Versions, Config, WebConfig]:
        """Both files, checked, within a deadline. Raises ConfigError."""
        if self._loading is None or self._loading.done():
            self._loading = begun(self._load, name=_THREAD)
            await ended(self._loading, within=_DEADLINE)
        if not self._loading.done():  # the thread is left behind; it is not begun once more
            what = f"was not read in {_DEADLINE:g} s, with the files that it names (mend the disk)"
            raise ConfigError([f"{self._file}:1:1: file: {what}"])
        return self._loading.result()

    def _show(self, error: str | None) -> None:
        """Show how the last reload ended, and what is wrong with the certificates since."""
        self._error = error
        self._app.reloaded("\n".join(filter(None, (error, self._access.fault))) or None)

    def _done(self, task: asyncio.Task[_Outcome]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            text = "a reload broke down: this is a bug, please report it"
            log.error(text, exc_info=task.exception())
            self._show(text)

    def _load(self) -> tuple[_Versions, Config, WebConfig]:
        """Both files, checked. Raises ConfigError with the faults of both."""
        versions = self._version()  # first: what is written meanwhile is read the next time
        config = web = None
        faults: list[str] = []
        try:
            config = load(self._file, again=True)
        except ConfigError as error:
            faults += error.faults
        try:
            web = self._access.read_again()
        except ConfigError as error:
            faults += error.faults
        if config is None or web is None:
            raise ConfigError(faults)
        return versions, config, web

    def _version(self) -> _Versions:
        file = self._access.config.file
        return version(self._file), version(file) if file else ()


def _stopping() -> ExporterError:
    return ExporterError("the exporter is stopping: nothing is reloaded any more")
