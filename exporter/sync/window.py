"""How far back a sync must read, and which builds may still count."""

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
"""Parts of one list whose failures are remembered one by one."""
AHEAD = 300.0
"""Seconds that a time may be ahead of the provider's clock: of many servers one is fast."""
OVERLAP = 600.0
"""Seconds before the last sync that are read again: lists lag behind their builds."""


class SyncRules(msgspec.Struct, frozen=True):
    """The configuration of syncs. All durations are in seconds."""

    lookback: float
    retention: float
    rerun_window: float
    max_interval: float


class SyncWindow:
    """What one sync of a repo must read, by the cursor that earlier syncs have left.

    `now` is the provider's clock; None before its first answer, when the window reaches back as
    far as any time may want. `deep` is whether the whole `rerun_window` is read again, `counts`
    whether the build numbers of the repo have no holes.
    """

    def __init__(
        self, cursor: Cursor, rules: SyncRules, *, now: float | None, deep: bool, counts: bool
    ) -> None:
        self._cursor = cursor
        self._counts = counts
        self.is_certain = now is not None
        """Whether the window was made by a clock that may be believed."""
        self._now = time.time() if now is None else now
        self._lowest: int | None = None
        self._highest = cursor.top
        # By a clock that is ahead every build would be too old.
        self.floor = cursor.floor
        if now is not None:
            self.floor = max(self.floor, min(now, time.time()) - rules.retention)
        """Builds that completed before this are not counted. Epoch seconds."""
        self.horizon = self.floor
        """Builds that are wholly older than this need not be read. Epoch seconds."""
        if cursor.since is not None:
            since = cursor.since - OVERLAP
            if now is None:
                since -= rules.rerun_window if deep else 0.0
            elif deep or cursor.since > now:  # the clock was ahead then, by an unknown amount
                since = min(since, now - rules.rerun_window)
            self.horizon = max(since, self.floor)
        self.behind = {part: max(at - OVERLAP, self.floor) for part, at in cursor.behind.items()}
        """From when on each part is read that could not be read before. Epoch seconds."""
        self._edge = self.horizon
        self._oldest = inf
        self._unread: set[str] = set()

    def note_unread(self, parts: Iterable[str]) -> None:
        """Note the parts of the list that failed.

        The window reaches back to where parts failed before that answer now.
        """
        self._unread.update(parts)
        answering = [at for part, at in self.behind.items() if part not in self._unread]
        self._edge = min([self.horizon, *answering])

    def note_page(self, builds: tuple[Build, ...]) -> None:
        """Note the numbers and times of the builds on a page."""
        for build in builds:  # of a build that only its jobs tell of, they alone have times
            runs = build.jobs if build.time is None else (build,)
            self._oldest = min([self._oldest, *(run.time for run in runs if run.time is not None)])
            if self._counts and build.number is not None and not self._is_out_of_order(build):
                number, high = build.number, self._highest
                self._lowest = number if self._lowest is None else min(number, self._lowest)
                self._highest = number if high is None else max(number, high)

    def _is_out_of_order(self, build: Build) -> bool:
        """Whether its number is an error: all that are listed before it are lower.

        That matters where only the number tells whether a build is old: below an error all are.
        """
        if build.time is not None or build.number is None or self._lowest is None:
            return False
        return build.number > self._lowest

    @property
    def is_renumbered(self) -> bool:
        """Whether build numbers began again at 1: the job was deleted and created again."""
        high = self._cursor.high
        return high is not None and self._highest is not None and self._highest < high

    @property
    def share_read(self) -> float:
        """How much of the time from now back to the horizon the pages cover, from 0 to 1."""
        whole = self._now - self._edge
        return min(max((self._now - self._oldest) / whole, 0.0), 1.0) if whole > 0 else 1.0

    def is_before_window(self, build: Build) -> bool:
        """Whether `build` is wholly older than the window; by its number if it has no time."""
        if build.only_jobs:
            times = [job.time for job in build.jobs]
            return bool(times) and all(at is not None and at < self._edge for at in times)
        at = build.started_before if build.time is None else build.time
        return self._was_read(build) if at is None else at < self._edge

    def ended_before_window(self, at: float | None) -> bool:
        """Whether a build that ended at `at` (epoch seconds) is older than the window."""
        return at is not None and at < self._edge

    def may_count(self, build: Build) -> bool:
        """Whether an attempt that was not counted yet may count, and so is worth a request.

        One that began before the floor and still runs will end after it, but the status of a
        partial build is a guess.
        """
        if build.time is None:
            at = build.started_before
            return not self._was_read(build) if at is None else at >= self.floor
        runs = build.status is not Status.COMPLETED and not build.partial
        return runs or build.time >= self.floor

    def is_too_old(self, build: Build) -> bool:
        """Whether `build` completed too long ago to be counted."""
        ended_before = build.time is not None and build.time < self.floor
        return build.status is Status.COMPLETED and ended_before

    def _was_read(self, build: Build) -> bool:
        """Whether a complete sync has read this number, for builds without a time."""
        high = self._cursor.high
        return (
            self._counts
            and not self.is_renumbered
            and build.number is not None
            and high is not None
            and build.number <= high
        )

    def has_gap(self, *, cut_off: bool) -> bool:
        """Whether builds have been missed.

        The lowest listed number leaves a hole above the highest known one, or the list was cut
        off before it came to builds that the last sync has read.
        """
        high, since = self._cursor.high, self._cursor.since
        if cut_off:
            return self._oldest > (self.floor if since is None else since)
        if high is None or self._lowest is None or self.is_renumbered:
            return False
        return self._lowest > high + 1

    def paused(self, token: str, walk: float | None) -> Cursor:
        """The cursor of a sync that began at `walk` and is resumed at the page of `token`."""
        behind = self._cursor.behind
        if self._cursor.since is None:  # the rest of a first walk does not read it all once more
            walk, behind = self._left_behind(walk)
        return replace(self._cursor, resume=token, walk=walk, top=self._highest, behind=behind)

    def stuck(self) -> Stuck:
        """Since when, and for how many polls, syncs have reached no further than this one."""
        before = self._cursor.stuck
        if before is None or self._oldest < before.reach - 1.0:
            return Stuck(since=self._now, reach=self._oldest)
        return replace(before, polls=before.polls + 1)

    def after(self, walk: float | None) -> Cursor:
        """The cursor after a complete sync that began at `walk`."""
        known = [n for n in (self._highest, self._cursor.high) if n is not None]
        high = self._highest if self.is_renumbered else max(known, default=None)
        walk, behind = self._left_behind(walk)
        return Cursor(floor=self._cursor.floor, since=walk, high=high, behind=behind)

    def _left_behind(self, walk: float | None) -> tuple[float | None, dict[str, float]]:
        """From when on the list and each part that could not be read is to be read next."""
        first = self._cursor.since is None
        since = self.floor if self._cursor.since is None else self._cursor.since
        parts = self._unread | self._cursor.behind.keys() if first else self._unread
        behind = {part: max(self._cursor.behind.get(part, since), self.floor) for part in parts}
        if len(behind) > _MOST_BEHIND:  # then the whole list is behind
            return since, {}
        return walk, behind


def begun_anew(cursor: Cursor) -> Cursor:
    """The cursor without the page at which a sync was to be resumed."""
    behind = {} if cursor.since is None else cursor.behind
    return replace(cursor, resume=None, walk=None, top=None, behind=behind)


def corrected_floor(cursor: Cursor, rules: SyncRules, *, now: float) -> Cursor | None:
    """The cursor of a repo that was added while our clock was ahead of the provider's `now`.

    Else none of its builds would count until then. None if there is nothing to correct.
    """
    floor = now - rules.lookback
    is_new = cursor.since is None and cursor.resume is None
    return replace(cursor, floor=floor) if is_new and cursor.floor > floor + OVERLAP else None


def without_future_times(builds: Iterable[Build], now: float) -> tuple[Build, ...]:
    """Builds without the times that lie in the future by the provider's clock and by ours.

    Such a build would be the latest of its pipeline until then, with a wrong duration. A removed
    time is noted as an anomaly, which counts when the build or job does.
    """
    latest = max(now, time.time()) + AHEAD  # the times are right where a clock is behind
    return tuple(_build_without(build, latest) for build in builds)


def _build_without(build: Build, latest: float) -> Build:
    if build.jobs:
        jobs = tuple(_without(job, latest, "future_job_time") for job in build.jobs)
        if jobs != build.jobs:
            build = replace(build, jobs=jobs)
    return _without(build, latest, "future_time")


def _without(run: T, latest: float, anomaly: str) -> T:
    created, started, completed = (
        run.created_at or 0.0,
        run.started_at or 0.0,
        run.completed_at or 0.0,
    )
    if created <= latest and started <= latest and completed <= latest:
        return run
    times = {"created_at": created, "started_at": started, "completed_at": completed}
    return replace(
        run, **{name: None for name, at in times.items() if at > latest}, anomalies=(anomaly,)
    )


def believed(theirs: float, rules: SyncRules) -> float:
    """The provider's clock, or ours where `theirs` is so far ahead that it must be wrong.

    With a clock that far ahead the window would begin after builds that were never read. A clock
    that is less far ahead does no harm, as the whole `rerun_window` is read again and again.
    """
    ours = time.time()
    return ours if theirs - ours > rules.rerun_window / 2 else theirs
