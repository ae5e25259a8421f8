"""What is remembered between polls so as to ask for less."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple
from weakref import WeakValueDictionary

import msgspec

from exporter.model import Build
from exporter.providers import Incidental, Query
from exporter.providers.jenkins.reading import QueueItem
from exporter.providers.jenkins.tree import Node, Nodes, Pulse

FRESH = 15.0
"""Seconds that one snapshot of the controller may serve other entries."""
USABLE = 60.0
"""Seconds that a snapshot may tell that a build still runs."""
_LONG_PAST = 86400.0
"""Seconds before the horizon: builds beside a last one that old have ended as well."""
_NO_STAGES_FOR = 3600.0
_MOST_QUEUED = 10_000


class Snapshot(msgspec.Struct):
    """The controller's jobs at one time, and its queue as soon as it is asked for."""

    nodes: Nodes
    at: float
    """Epoch seconds, the provider's clock."""
    served: set[str]
    queue: dict[str, list[QueueItem]] | None = None


class _Mark(NamedTuple):
    """Up to where a job was read, and what the walk's `Query` was."""

    pulse: Pulse
    since: float
    deep: bool


class Memo(Incidental):
    """Lasts as long as the provider's configuration; losing it costs requests, nothing else."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.plain: set[str] = set()
        """Jobs whose builds have no stages."""
        self._marks: dict[str, _Mark] = {}
        self._awaited: dict[str, Build | None] = {}
        self._stages_seen = False
        self._no_stages_until = 0.0
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, what: str) -> asyncio.Lock:
        """One at a time; the lock is forgotten when nobody holds it."""
        return self._locks.get(what) or self._locks.setdefault(what, asyncio.Lock())

    def fresh(self, entry: str, now: float) -> Snapshot | None:
        """A snapshot a few seconds old that this entry has not had yet."""
        held = self.snapshot
        if held is None or not 0 <= now - held.at < FRESH or entry in held.served:
            return None
        held.served.add(entry)
        return held

    # -- which jobs must be listed

    def must_read(self, job: Node, query: Query) -> bool:
        """Whether a job's builds must be listed; then notes that this walk reads them.

        A job is left out whose last build has not changed since a walk read it - if that
        walk was committed, as it was if the poller has moved on since: an ordinary walk
        comes after a deep one, and `Query.since` of ordinary ones grows, only when the walk
        before has ended cleanly. What ran beside the last build is known to be unfinished
        then, and is refreshed by itself. Deep walks read all jobs but those whose last
        build ended a day before the horizon.
        """
        if job.pulse is None:
            return False
        ended = job.pulse.ended
        if ended is not None and ended + _LONG_PAST < query.since:
            return False
        mark, deep = self._marks.get(job.path), query.deep
        if not deep and mark is not None and mark.pulse == job.pulse:
            committed = mark.deep or mark.since < query.since
            if committed:
                return False
        self._marks[job.path] = _Mark(job.pulse, query.since, deep)
        return True

    # -- what left the queue

    def await_start(self, keys: Iterable[str]) -> None:
        """Note queued builds, to know them by their queue ids when they start."""
        for key in keys:
            self._awaited.setdefault(key, None)
        while len(self._awaited) > _MOST_QUEUED:
            del self._awaited[next(iter(self._awaited))]

    def started(self, key: str, build: Build) -> None:
        """Note which build a queued one has become."""
        if key in self._awaited:
            self._awaited[key] = build

    def became(self, key: str) -> Build | None:
        """The build that a queued one has become, if a list has shown it."""
        build = self._awaited.get(key)
        if build is not None:
            del self._awaited[key]
        return build

    # -- the stage view

    def has_stages(self, now: float) -> bool:
        """Whether to ask for stages: not for an hour after the plugin was found missing."""
        return now >= self._no_stages_until

    def heard_stages(self, now: float, *, found: bool) -> None:
        """Note an answer; once stages have been seen, missing ones are a build's own matter."""
        self._stages_seen = self._stages_seen or found
        if not self._stages_seen:
            self._no_stages_until = now + _NO_STAGES_FOR
