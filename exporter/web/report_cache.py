"""One report for all requests within a second: of many repos it is large."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from functools import cached_property
from time import monotonic
from typing import Generic, TypeVar

import msgspec

from exporter.web.slices import in_slices

T = TypeVar("T")

FRESH = 1.0
"""Seconds for which a report is shared."""

_encode = msgspec.json.Encoder().encode


class CachedReport(Generic[T]):
    """A report, encoded when it is first requested as JSON."""

    def __init__(self, value: T, at: float, state: object) -> None:
        self.value = value
        self.at = at
        """When it was begun."""
        self.state = state

    @cached_property
    def encoded(self) -> bytes:
        """The report as JSON."""
        return _encode(self.value)


class ReportCache(Generic[T]):
    """Makes one report at a time and keeps the last one while it is fresh."""

    def __init__(
        self,
        steps: Callable[[], Generator[None, None, T]],
        state: Callable[[], object],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`steps` make a report; it is no longer fresh when `state` returns another object."""
        self._steps = steps
        self._state = state
        self._clock = clock
        self._turn = asyncio.Lock()
        self._last: CachedReport[T] | None = None

    async def get(self) -> CachedReport[T]:
        """A report begun at most `FRESH` seconds before this call got the lock."""
        async with self._turn:
            last, now, state = self._last, self._clock(), self._state()
            if last is None or now - last.at > FRESH or last.state is not state:
                self._last = last = CachedReport(await in_slices(self._steps()), now, state)
                asyncio.get_running_loop().call_later(FRESH, self._forget, last)
            return last

    def _forget(self, report: CachedReport[T]) -> None:
        """Free the report: it may take many megabytes, and the next request be days away."""
        if self._last is report:
            self._last = None
