"""Reloading: the file is read again, checked whole and put in force, one time after the other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from exporter import logs
from exporter.config import Config, load
from exporter.daemon.assembly import Assembly
from exporter.errors import ExporterError

log = logging.getLogger(__name__)

T = TypeVar("T")

_CALM = 0.2
"""Seconds in which all signals make one reload."""
_SETTLED = 0.5
"""Seconds that a changed file must stay as it is before it is read unasked: it may be half
written."""

_PATIENCE = 1.0
"""Seconds that a stop waits for a reload to let go; the disk of the state may hang."""

_Version = tuple[int, ...]
"""Of a file; differs when another is put in its place or behind its symbolic link, too."""
_Outcome = list[str] | ExporterError


class Reloads:
    """Reads the configuration file again when asked to.

    A file with a fault, or a state that does not answer, changes nothing. `around` is
    entered for each reload.
    """

    def __init__(
        self,
        assembly: Assembly,
        file: str,
        *,
        around: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self._assembly = assembly
        self._around = around
        self._is_unasked = False
        self._poller = assembly.poller
        self._file = file
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[_Outcome] | None = None
        self._tasks: set[asyncio.Task[_Outcome]] = set()
        self._soon: asyncio.TimerHandle | None = None
        self._closed = False
        self._read: _Version | None = None
        """What is in force; None before the first reload and after one that failed."""

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
        """Reload if the file is not the one in force: a job for the scheduler.

        What has failed is tried again, as a missing secret may be there by now.
        """
        version, before = await _apart(self._version), None
        if version == self._read:
            return
        while version != before:
            await asyncio.sleep(_SETTLED)
            before, version = version, await _apart(self._version)
        self._is_unasked = True
        with contextlib.suppress(ExporterError):  # the reload has told it
            await self.reload()

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
            try:
                with self._around():
                    return await self._reload()
            except ExporterError as error:
                for line in str(error).splitlines():
                    log.error("the old configuration stays: %s", line, extra=facts)
                self._poller.reloaded(str(error))
                return error

    async def _reload(self) -> list[str]:
        self._read = None
        version, config = await _apart(self._load)
        for warning in config.warnings:
            log.warning("%s", warning)
        step = await self._assembly.adopt(config)
        self._read = version
        self._poller.reloaded()
        for line in step.changes:
            log.info("%s", line)
        waiting = [f"needs a restart: {line}" for line in step.postponed]
        for line in waiting:
            log.warning("%s", line)
        log.info("the configuration is reloaded", extra={"changes": len(step.changes)})
        return [*step.changes, *waiting]

    def _done(self, task: asyncio.Task[_Outcome]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            text = "a reload broke down: this is a bug, please report it"
            log.error(text, exc_info=task.exception())
            self._poller.reloaded(text)

    def _load(self) -> tuple[_Version, Config]:
        version = self._version()  # first: what is written meanwhile is read the next time
        return version, load(self._file)

    def _version(self) -> _Version:
        try:
            found = Path(self._file).stat()
        except OSError:
            return ()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _stopping() -> ExporterError:
    return ExporterError("the exporter is stopping: nothing is reloaded any more")


async def _apart(work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own.

    Neither a large file nor a disk that does not answer holds up the event loop, and the
    thread is left behind if the process ends meanwhile.
    """
    promise: Future[T] = Future()

    def run() -> None:
        try:
            promise.set_result(work())
        except ExporterError as error:
            promise.set_exception(error)
        except BaseException as error:
            promise.set_exception(error)
            raise  # a bug: the thread shows where

    threading.Thread(target=run, name="configuration", daemon=True).start()
    return await asyncio.wrap_future(promise)
