"""What is remembered between polls so as to ask for less."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

import msgspec

from exporter.model import Build, Status
from exporter.providers import Incidental
from exporter.providers.azure_devops.reading import Reading, Run

FRESH = 15.0
"""Seconds that one listing of a project may serve other entries of the same project."""
_MOST_READINGS = 50_000
_RELUCTANCE, _LONGEST = 20.0, 300.0
"""An unfinished build's timeline is read again after a 20th of its age, at most 300 s."""
_QUEUED_LONG = 60.0
"""Seconds in the queue after which it is worth asking whether a person is waited for."""


class Listing(msgspec.Struct, frozen=True):
    """Builds of one project, a page of them."""

    runs: tuple[Run, ...]
    next: str | None = None
    rejected: int = 0


class _Held(msgspec.Struct):
    listing: Listing
    since: float
    at: float
    served: set[str]


class Memo(Incidental):
    """Lasts as long as the provider's configuration; losing it costs requests, nothing else."""

    def __init__(self) -> None:
        self._readings: dict[str, Reading] = {}
        self._held: dict[tuple[str, str | None], _Held] = {}
        self._locks: WeakValueDictionary[tuple[str, str | None], asyncio.Lock] = (
            WeakValueDictionary()
        )

    async def listing(
        self,
        where: tuple[str, str | None],
        entry: str,
        since: float,
        *,
        clock: Callable[[], float],
        fetch: Callable[[], Awaitable[Listing]],
    ) -> Listing:
        """A page of a project (`where`: project and size, token) that reaches back to `since`.

        An answer a few seconds old is given to each entry once, so that an entry never
        sees the same one again, and its odd items are told to the first one only.
        """
        lock = self._locks.get(where) or self._locks.setdefault(where, asyncio.Lock())
        async with lock:
            now = clock()
            held = self._held.get(where)
            if (
                held is not None
                and held.since <= since
                and 0 <= now - held.at < FRESH
                and entry not in held.served
            ):
                held.served.add(entry)
                return msgspec.structs.replace(held.listing, rejected=0)
            listing = await fetch()
            # One that was fetched meanwhile is newer than `now` and stays.
            self._held = {w: h for w, h in self._held.items() if now - h.at < FRESH}
            self._held[where] = _Held(listing, since, now, {entry})
            return listing

    def reading(self, build: Build) -> Reading | None:
        """What the last timeline said of a build, whichever attempt that was."""
        return self._readings.get(build.key)

    def keep(self, build: Build, reading: Reading) -> None:
        """Remember what a timeline said."""
        self._readings.pop(build.key, None)
        self._readings[build.key] = reading.slim
        if len(self._readings) > _MOST_READINGS:
            del self._readings[next(iter(self._readings))]

    def is_current(self, build: Build, now: float) -> bool:
        """Whether the timeline of a listed build need not be read (again).

        A completed build's is read once for each `finishTime`: a run that is repeated
        ends anew. One that never started has none.
        """
        reading = self._readings.get(build.key)
        if build.status is Status.COMPLETED:
            if build.started_at is None and reading is None:
                return True
            return reading is not None and reading.finished == build.completed_at
        age = 0.0 if build.created_at is None else max(now - build.created_at, 0.0)
        if reading is None or reading.finished is not None:
            return reading is None and build.started_at is None and age < _QUEUED_LONG
        return 0 <= now - reading.read_at < min(age / _RELUCTANCE, _LONGEST)
