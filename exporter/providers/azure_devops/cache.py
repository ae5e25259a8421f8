"""What is remembered of timelines between polls to save requests."""

from __future__ import annotations

import msgspec

from exporter.errors import ProviderError, TryLater
from exporter.model import Build, BuildKey, Status
from exporter.providers.azure_devops.timeline import Reading
from exporter.providers.bounded import Bounded

_MOST_READINGS, _MOST_FAILURES = 50_000, 10_000
_RELUCTANCE, _LONGEST = 20.0, 300.0
"""An unfinished build's timeline is read again after a 20th of its age, at most 300 s."""
_DOUBT = 4.0
"""A timeline that fails is asked for again after a 4th of the time that it has failed."""
_QUEUED_LONG = 60.0
"""Seconds in the queue after which it is worth asking whether a person is waited for."""


class _Failure(msgspec.Struct):
    error: ProviderError
    since: float
    at: float


class TimelineCache:
    """What the timelines of builds said when they were last read, and which ones fail."""

    def __init__(self) -> None:
        self._readings: Bounded[BuildKey, Reading] = Bounded(_MOST_READINGS)
        self._failures: Bounded[BuildKey, _Failure] = Bounded(_MOST_FAILURES)

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
