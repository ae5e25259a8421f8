"""Steps of the ledger: one at a time, in a thread, and each to its end.

A slow disk never blocks the event loop. A step that has begun is finished even if the poll that
awaits it is cancelled, so the view and the state agree. A step that fails or hangs is shown.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

from exporter.errors import Fenced, StateLost, StateUnavailable
from exporter.threads import WorkerThread

log = logging.getLogger(__name__)

T = TypeVar("T")

_HANGS = 5.0
"""Seconds after which a step that has not returned counts as hanging."""


class _Lock(asyncio.Lock):
    """The lock of the ledger's thread."""

    taken_by: asyncio.Task[Any] | None = None
    """The task that acquired it last."""

    async def acquire(self) -> Literal[True]:
        await super().acquire()
        self.taken_by = asyncio.current_task()
        return True


class Steps:
    """Runs steps of the ledger. A base class, for those that define steps."""

    def __init__(self) -> None:
        self.state_ok = True
        """Whether the last step that wrote has succeeded."""
        self.lost = asyncio.Event()
        """Set once another process has taken the state over: this one must not go on."""
        self._worker = WorkerThread("ledger")
        self._lock = _Lock()

    async def _alone(self, step: Callable[[], T]) -> T:
        async with self._lock:
            return await self._attempt(step)

    async def _run(self, step: Callable[[], T]) -> T:
        hanging = asyncio.get_running_loop().call_later(_HANGS, self._hangs)
        try:
            return await self._worker.run(step)
        finally:
            hanging.cancel()

    def _hangs(self) -> None:
        """Show that the step under way has not returned; what waits for it is counted later."""
        if self.state_ok:
            log.error(
                "the state has not answered for %g s: nothing is counted until it does",
                _HANGS,
            )
        self.state_ok = False

    async def _attempt(self, step: Callable[[], T]) -> T:
        """Run a step that may write nothing, so that its success proves nothing."""
        try:
            return await self._run(step)
        except Fenced:
            raise  # the state is well, and so are we
        except StateUnavailable as error:
            if isinstance(error, StateLost):
                self.lost.set()
            if self.state_ok:
                log.error("%s", error)
            self.state_ok = False
            raise

    async def _write(self, step: Callable[[], T]) -> T:
        result = await self._attempt(step)
        self._is_ok()
        return result

    def _is_ok(self) -> None:
        if not self.state_ok:
            log.info("the state can be written again")
        self.state_ok = True

    async def _finish(self, step: Awaitable[T]) -> T:
        """Await `step` to its end, also when cancelled after it has acquired the lock."""
        task = asyncio.ensure_future(step)
        task.add_done_callback(looked_at)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._lock.taken_by is not task:
                task.cancel()
            await asyncio.wait([task])
            raise


def looked_at(task: asyncio.Future[Any]) -> None:
    """Whoever waited for it may have been cancelled, and is told of nothing else then."""
    if not task.cancelled():
        task.exception()
