"""Known ground: how far back a walk must read, and what lies beyond."""

from __future__ import annotations

import time
from collections.abc import Iterable
from math import inf
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from exporter.ledger.rows import Cursor, Stuck
from exporter.model import Build, Job, Status

T = TypeVar("T", Build, Job)

_MOST_BEHIND = 1000
"""Parts of one list that may fail and be remembered one by one."""
AHEAD = 300.0
"""Seconds that a time may be ahead of the provider's clock: of many servers one is fast."""
OVERLAP = 600.0
"""Seconds before the last walk that are read again: lists lag behind their builds."""


class Rules(msgspec.Struct, frozen=True):
    """What the configuration says about reading. Spans in seconds."""

    lookback: float
    retention: float
    rerun_window: float
    max_interval: float


class SyncWindow:
    """Where one walk stands towards what earlier walks have read.

    `now` is the provider's clock, `deep` whether the whole `rerun_window` is read again,
    `counts` whether the build numbers of the repo have no holes.
    """

    def __init__(
        self, cursor: Cursor, rules: Rules, *, now: float, deep: bool, counts: bool
    ) -> None:
        self._cursor = cursor
        self._counts = counts
        self._now = now
        self._lowest: int | None = None
        self._highest = cursor.top
        # A clock that is ahead would make history of everything.
        self.floor = max(cursor.floor, min(now, time.time()) - rules.retention)
        """What completed before this is no news. Epoch seconds."""
        self.horizon = self.floor
        """What is wholly older than this is known ground. Epoch seconds."""
        if cursor.since is not None:
            since = cursor.since - OVERLAP
            if deep or cursor.since > now:  # the clock was ahead then: nobody knows when that was
                since = min(since, now - rules.rerun_window)
            self.horizon = max(since, self.floor)
        self.behind = {part: max(at - OVERLAP, self.floor) for part, at in cursor.behind.items()}
        """Where the reading of parts goes on that could not be read. Epoch seconds."""
        self._edge = self.horizon
        self._oldest = inf
        self._unread: set[str] = set()

    def cannot_read(self, parts: Iterable[str]) -> None:
        """Note parts of the list that failed; those that failed before and answer reach back."""
        self._unread.update(parts)
        answering = [at for part, at in self.behind.items() if part not in self._unread]
        self._edge = min([self.horizon, *answering])

    def meet(self, builds: tuple[Build, ...]) -> None:
        """Note the numbers and times of a page."""
        times = [build.time for build in builds if build.time is not None]
        self._oldest = min([self._oldest, *times])
        numbers = [build.number for build in builds if build.number is not None]
        if numbers and self._counts:
            self._lowest = min(numbers if self._lowest is None else [*numbers, self._lowest])
            self._highest = max(numbers if self._highest is None else [*numbers, self._highest])

    @property
    def renumbered(self) -> bool:
        """Whether the numbers have started again: the job was made anew."""
        high = self._cursor.high
        return high is not None and self._highest is not None and self._highest < high

    def is_old(self, build: Build) -> bool:
        """Whether `build` lies beyond the horizon."""
        if build.only_jobs:
            times = [job.time for job in build.jobs]
            return bool(times) and all(at is not None and at < self._edge for at in times)
        at = build.started_before if build.time is None else build.time
        return self._was_read(build) if at is None else at < self._edge

    def is_beyond(self, at: float | None) -> bool:
        """Whether a build that ended then lies beyond the horizon."""
        return at is not None and at < self._edge

    def may_be_news(self, build: Build) -> bool:
        """Whether an attempt that was not counted yet is worth a request.

        What has begun before the floor and still runs will end after it; but the status of
        a partial build is a guess.
        """
        if build.time is None:
            at = build.started_before
            return not self._was_read(build) if at is None else at >= self.floor
        runs = build.status is not Status.COMPLETED and not build.partial
        return runs or build.time >= self.floor

    def is_over(self, build: Build) -> bool:
        """Whether `build` completed too long ago to be counted."""
        is_old = build.time is not None and build.time < self.floor
        return build.status is Status.COMPLETED and is_old

    def _was_read(self, build: Build) -> bool:
        """Whether a whole walk has met this number; tells where no time does."""
        high = self._cursor.high
        return (
            self._counts
            and not self.renumbered
            and build.number is not None
            and high is not None
            and build.number <= high
        )

    def has_gap(self, *, cut_off: bool) -> bool:
        """Whether builds have been missed.

        The list ended above the highest number that was known, or was cut off before it came
        to what the last walk has read.
        """
        high, since = self._cursor.high, self._cursor.since
        if cut_off:
            return self._oldest > (self.floor if since is None else since)
        if high is None or self._lowest is None or self.renumbered:
            return False
        return self._lowest > high + 1

    def paused(self, token: str, walk: float | None) -> Cursor:
        """The cursor of the walk that began at `walk` and goes on at the page of `token`."""
        return replace(self._cursor, resume=token, walk=walk, top=self._highest)

    def stuck(self) -> Stuck:
        """How long the walk has got no further than now."""
        before = self._cursor.stuck
        if before is None or self._oldest < before.reach - 1.0:
            return Stuck(since=self._now, reach=self._oldest)
        return replace(before, polls=before.polls + 1)

    def after(self, walk: float | None) -> Cursor:
        """The cursor once the walk that began at `walk` has read to the end."""
        known = [n for n in (self._highest, self._cursor.high) if n is not None]
        high = self._highest if self.renumbered else max(known, default=None)
        since = self.floor if self._cursor.since is None else self._cursor.since
        behind = {
            part: max(self._cursor.behind.get(part, since), self.floor) for part in self._unread
        }
        if len(behind) > _MOST_BEHIND:  # then all of them are, together
            walk, behind = since, {}
        return Cursor(floor=self._cursor.floor, since=walk, high=high, behind=behind)


def righted(cursor: Cursor, rules: Rules, *, now: float) -> Cursor | None:
    """The cursor of a repo that was met while our clock was ahead of the provider's `now`.

    Else all of its builds would be history until then. None if there is nothing to right.
    """
    floor = now - rules.lookback
    is_new = cursor.since is None and cursor.resume is None
    return replace(cursor, floor=floor) if is_new and cursor.floor > floor + OVERLAP else None


def sound(builds: Iterable[Build], now: float) -> tuple[Build, ...]:
    """Builds without those times that are yet to come by the provider's clock and by ours.

    Such a build would be the latest of its pipeline until then, and its spans are nonsense.
    What is left out is noted as an anomaly, which counts when the build or job does.
    """
    latest = max(now, time.time()) + AHEAD  # the times are right where a clock is behind
    return tuple(_sound_build(build, latest) for build in builds)


def _sound_build(build: Build, latest: float) -> Build:
    jobs = tuple(_sound(job, latest, "future_job_time") for job in build.jobs)
    if jobs != build.jobs:
        build = replace(build, jobs=jobs)
    return _sound(build, latest, "future_time")


def _sound(run: T, latest: float, anomaly: str) -> T:
    times = {"created_at": run.created_at, "started_at": run.started_at}
    times["completed_at"] = run.completed_at
    early = {name: None for name, at in times.items() if at is not None and at > latest}
    return replace(run, **early, anomalies=(anomaly,)) if early else run
