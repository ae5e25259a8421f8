"""One report for all who ask within a second: of many repos it is large."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from functools import cached_property
from time import monotonic

import msgspec

from exporter.status.document import StatusReport
from exporter.web.slices import in_slices

FRESH = 1.0
"""Seconds for which a report is shared."""

_encode = msgspec.json.Encoder().encode


class Report:
    """A report, and its bytes once somebody has asked for them."""

    def __init__(self, value: StatusReport, at: float, state: object) -> None:
        self.value = value
        self.at = at
        """When it was begun."""
        self.state = state

    @cached_property
    def encoded(self) -> bytes:
        """It as JSON."""
        return _encode(self.value)


class Shared:
    """Makes reports, one at a time, and holds on to the last one for as long as it is fresh."""

    def __init__(
        self,
        steps: Callable[[], Generator[None, None, StatusReport]],
        state: Callable[[], object],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`steps` make a report; one is not fresh either when `state` is another one."""
        self._steps = steps
        self._state = state
        self._clock = clock
        self._turn = asyncio.Lock()
        self._last: Report | None = None

    async def get(self) -> Report:
        """A report that was begun not longer than a second ago when we had our turn."""
        async with self._turn:
            last, now, state = self._last, self._clock(), self._state()
            if last is None or now - last.at > FRESH or last.state is not state:
                self._last = last = Report(await in_slices(self._steps()), now, state)
                asyncio.get_running_loop().call_later(FRESH, self._forget, last)
            return last

    def _forget(self, report: Report) -> None:
        """It may be of many megabytes, and nobody asks for days."""
        if self._last is report:
            self._last = None
