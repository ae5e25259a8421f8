"""Reading the build log for pages: one request at a time, and none that waits for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from exporter.errors import StateUnavailable
from exporter.ledger.build_log import BuildFilter, BuildLog, BuildPage, LoggedBuild

T = TypeVar("T")

_MOST = 64
"""Requests that may wait for the log."""
_PATIENCE = 10.0
"""Seconds that one of them waits."""
_MOST_CALLS = 40
"""Calls that one page may make; each looks at a bounded number of rows."""


class HasLog(Protocol):
    """Where the log is read: the recorder, between two steps of the ledger."""

    async def read_log(self, read: Callable[[BuildLog], T]) -> T:
        """What `read` returns of the log. May be cancelled. Raises StateUnavailable."""


class LogReader:
    """Lets one request after the other read the log, so that polls have their turn in between."""

    def __init__(self, source: HasLog) -> None:
        self._source = source
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def read(self, work: Callable[[BuildLog], T]) -> T:
        """What `work`, which runs in another thread, returns of the log.

        Raises StateUnavailable, also where too many wait or the log takes too long to answer.
        """
        if self._waiting >= _MOST:
            raise StateUnavailable("too many requests wait for the build log: try again")
        self._waiting += 1
        try:
            async with asyncio.timeout(_PATIENCE), self._turn:
                return await self._source.read_log(work)
        except TimeoutError:
            raise StateUnavailable("the build log does not answer: try again") from None
        finally:
            self._waiting -= 1

    async def builds(self, wanted: BuildFilter, *, limit: int, cursor: str | None) -> BuildPage:
        """The newest builds before `cursor`, as `BuildLog.builds` has them, of many more rows.

        Fewer builds than `limit` are the end only where `next` is None. Raises ValueError for a
        cursor that is none, and StateUnavailable.
        """
        found: list[LoggedBuild] = []
        for _ in range(_MOST_CALLS):
            page = await self.read(partial(_page, wanted, limit - len(found), cursor))
            found += page.builds
            cursor = page.next
            if cursor is None or len(found) >= limit:
                break
        return BuildPage(found, cursor)


def _page(wanted: BuildFilter, limit: int, cursor: str | None, log: BuildLog) -> BuildPage:
    return log.builds(wanted, limit=limit, cursor=cursor)
