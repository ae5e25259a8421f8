"""Hours in seconds: an event loop whose clock leaps to the next thing that is due.

Everything of the exporter that asks for the time is told that of the loop, and work that it
gives to threads is done at once, so that a run is the same every time.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = 1_790_000_000.0
"""When it all begins; seconds."""


class Clock:
    """Seconds since it all began."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        """What `time.time` says."""
        return EPOCH + self.now

    def monotonic(self) -> float:
        """What `time.monotonic` says."""
        return self.now


class _Leaping(selectors.DefaultSelector):
    """Waits for nothing: where there is nothing to do the clock goes on instead."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout is None:
            raise RuntimeError("nothing will ever happen again")
        if not events and timeout:
            self._clock.now += timeout
        return events


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        super().__init__(_Leaping(clock))
        self._virtual = clock

    def time(self) -> float:
        return self._virtual.now


class AtOnce:
    """Does what it is given at once, in the place of the ledger's thread."""

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises."""
        return work()

    def shutdown(self) -> None:
        """Nothing is left to be done."""


@contextlib.contextmanager
def _patched(clock: Clock) -> Iterator[None]:
    """The clock in place of the time module's, also where its functions were imported."""
    real = {time.time: clock.time, time.monotonic: clock.monotonic}
    places: list[tuple[Any, str, Any]] = []
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in {"exporter", "time"}:
            places += [
                (module, key, value) for key, value in vars(module).items() if value in _only(real)
            ]
    for module, key, value in places:
        setattr(module, key, real[value])
    try:
        yield
    finally:
        for module, key, value in places:
            setattr(module, key, value)


def _only(functions: dict[Any, Any]) -> _Identities:
    return _Identities(functions)


class _Identities:
    """Is `value` one of these very objects? Some modules hold what cannot be compared."""

    def __init__(self, objects: dict[Any, Any]) -> None:
        self._ids = set(map(id, objects))

    def __contains__(self, value: object) -> bool:
        return id(value) in self._ids


def run(work: Callable[[Clock], Coroutine[Any, Any, T]]) -> T:
    """The result of `work` on a clock of its own."""
    clock = Clock()
    with _patched(clock), asyncio.Runner(loop_factory=lambda: _Loop(clock)) as runner:
        return runner.run(work(clock))
