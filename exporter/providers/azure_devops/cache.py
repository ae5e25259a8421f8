"""What is remembered between polls so as to ask for less."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from weakref import WeakValueDictionary

import msgspec

from exporter.errors import ProviderError, TryLater
from exporter.model import Build, BuildKey, Status
from exporter.providers import Unread
from exporter.providers.azure_devops.client import Versions
from exporter.providers.azure_devops.mapping import Run
from exporter.providers.azure_devops.names import Definition, Names
from exporter.providers.azure_devops.timeline import Reading
from exporter.providers.bounded import Bounded

FRESH = 15.0
"""Seconds that one listing of a project may serve other entries of the same project."""
_MOST_READINGS, _MOST_FAILURES = 50_000, 10_000
_RELUCTANCE, _LONGEST = 20.0, 300.0
"""An unfinished build's timeline is read again after a 20th of its age, at most 300 s."""
_DOUBT = 4.0
"""A timeline that fails is asked for again after a 4th of the time that it has failed."""
_SOON, _LATER = 300.0, 3600.0
"""Seconds until a list of pipelines is asked for again that failed for now, or was refused."""
_NAMES = "the names of a project"
_QUEUED_LONG = 60.0
"""Seconds in the queue after which it is worth asking whether a person is waited for."""


class Listing(msgspec.Struct, frozen=True):
    """Builds of one project, a page of them."""

    runs: tuple[Run, ...]
    next: str | None = None
    rejected: int = 0
    unread: tuple[Unread, ...] = ()


class _Held(msgspec.Struct):
    listing: Listing
    since: float
    at: float
    served: set[str]


class _Failure(msgspec.Struct):
    error: ProviderError
    since: float
    at: float


class Memo:
    """Lasts as long as the provider's configuration; losing it costs requests, nothing else."""

    def __init__(self) -> None:
        self.versions = Versions()
        self._readings: Bounded[BuildKey, Reading] = Bounded(_MOST_READINGS)
        self._failures: Bounded[BuildKey, _Failure] = Bounded(_MOST_FAILURES)
        self._names: dict[str, Names] = {}
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
        polls and learns nothing. Polls that meet ask together. The first of them is told
        of the items that could not be understood.
        """
        async with self._lock(where):
            now = clock()
            held = self._held.get(where)
            if (
                held is not None
                and 0 <= now - held.at < FRESH
                and held.since <= since
                and entry not in held.served
            ):
                held.served.add(entry)
                return msgspec.structs.replace(held.listing, rejected=0)
            listing = await fetch()
            # One that was fetched meanwhile is newer than `now` and stays.
            self._held = {w: h for w, h in self._held.items() if now - h.at < FRESH}
            self._held[where] = _Held(listing, since, now, {entry})
            return listing

    async def names(
        self,
        project: str,
        *,
        clock: Callable[[], float],
        fetch: Callable[[], Awaitable[Iterable[Definition]]],
    ) -> Names:
        """Those of a project.

        The list of its pipelines is read once: those that are made later are not the oldest.
        One that cannot be read is done without for a while.
        """
        names = self._names.setdefault(project, Names())
        async with self._lock((project, _NAMES)):
            if clock() >= names.due:
                try:
                    names.learn(await fetch())
                    names.due = math.inf
                except ProviderError as error:
                    names.due = clock() + (_SOON if isinstance(error, TryLater) else _LATER)
                    if error.account_wide:
                        raise
        return names

    def _lock(self, where: tuple[str, str | None]) -> asyncio.Lock:
        """Held by whoever asks for this, so that polls that meet ask together."""
        lock = self._locks.get(where)
        if lock is None:
            lock = self._locks[where] = asyncio.Lock()
        return lock

    # -- timelines

    def reading(self, build: Build) -> Reading | None:
        """What the last timeline said of a build, whichever attempt that was."""
        return self._readings.get(build.key)

    def keep(self, build: Build, reading: Reading) -> None:
        """Remember what a timeline said."""
        self._failures.pop(build.key, None)
        self._readings[build.key] = reading.slim

    def is_current(self, build: Build, now: float) -> bool:
        """Whether the timeline of a build, as it is listed, need not be read (again).

        A completed build's is read once for each `finishTime`: a run that is repeated
        ends anew. One that was cancelled before it started has none.
        """
        reading = self._readings.get(build.key)
        if build.status is Status.COMPLETED:
            if reading is None:
                never = build.started_at is None and build.completed_at is not None
                return never and build.conclusion != "failed"
            return reading.over and is_of(reading, build)
        age = 0.0 if build.created_at is None else max(now - build.created_at, 0.0)
        if reading is None:
            return build.status is Status.QUEUED and age < _QUEUED_LONG
        if reading.over or reading.touched != build.changed_at:
            return False
        return 0 <= now - reading.read_at < min(age / _RELUCTANCE, _LONGEST)

    def fails(self, build: Build, error: ProviderError, now: float) -> None:
        """Take note that a timeline cannot be read for now."""
        known = self._failures.get(build.key)
        self._failures[build.key] = _Failure(error, now if known is None else known.since, now)

    def spares(self, build: Build, now: float) -> bool:
        """Whether it is too early to ask again for a timeline that could not be read."""
        known = self._failures.get(build.key)
        if known is None:
            return False
        return 0 <= now - known.at < min((known.at - known.since) / _DOUBT, _LONGEST)

    def failure(self, build: Build) -> TryLater | None:
        """Why the timeline of a build could not be read when it was listed; None if it could."""
        known = self._failures.get(build.key)
        if known is None:
            return None
        again = TryLater(str(known.error), reason=known.error.reason)
        again.counted, again.account_wide = True, False
        return again


def is_of(reading: Reading, build: Build) -> bool:
    """Whether a timeline was read for the end that a completed build has."""
    is_filled = reading.finished is None and reading.ended == build.completed_at
    return reading.finished == build.completed_at or is_filled
