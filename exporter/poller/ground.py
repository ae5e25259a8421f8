"""Known ground: how far back a walk must read, and what lies beyond."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from exporter.model import Build, Job, Status
from exporter.record import Cursor

T = TypeVar("T", Build, Job)

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


class Ground:
    """Where one walk stands towards what earlier walks have read.

    `now` is the provider's clock, `deep` whether the whole `rerun_window` is read again,
    `counts` whether the build numbers of the repo have no holes.
    """

    def __init__(
        self, cursor: Cursor, rules: Rules, *, now: float, deep: bool, counts: bool
    ) -> None:
        self._cursor = cursor
        self._counts = counts
        self._lowest: int | None = None
        self._highest = cursor.top
        self.floor = max(cursor.floor, now - rules.retention)
        """What completed before this is no news. Epoch seconds."""
        self.horizon = self.floor
        """What is wholly older than this is known ground. Epoch seconds."""
        if cursor.since is not None:
            since = cursor.since - OVERLAP
            if deep or cursor.since > now:  # the clock was ahead then: nobody knows when that was
                since = min(since, now - rules.rerun_window)
            self.horizon = max(since, self.floor)

    def meet(self, builds: tuple[Build, ...]) -> None:
        """Note the numbers of a page."""
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
            return bool(times) and all(at is not None and at < self.horizon for at in times)
        if build.time is not None:
            return build.time < self.horizon
        return self._was_read(build)

    def may_be_news(self, build: Build) -> bool:
        """Whether an attempt that was not counted yet is worth a request.

        What has begun before the floor and still runs will end after it; but the status of
        a partial build is a guess.
        """
        if build.time is None:
            return not self._was_read(build)
        runs = build.status is not Status.COMPLETED and not build.partial
        return runs or build.time >= self.floor

    def is_history(self, build: Build) -> bool:
        """Whether `build` is too old to be counted."""
        return build.time is not None and build.time < self.floor

    def is_over(self, build: Build) -> bool:
        """Whether `build` completed too long ago to be counted."""
        return build.status is Status.COMPLETED and self.is_history(build)

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

    def has_gap(self) -> bool:
        """Whether the list ended above the highest number that was known."""
        high = self._cursor.high
        if high is None or self._lowest is None or self.renumbered:
            return False
        return self._lowest > high + 1

    def paused(self, token: str, walk: float | None) -> Cursor:
        """The cursor of the walk that began at `walk` and goes on at the page of `token`."""
        return replace(self._cursor, resume=token, walk=walk, top=self._highest)

    def after(self, walk: float | None) -> Cursor:
        """The cursor once the walk that began at `walk` has read to the end."""
        known = [n for n in (self._highest, self._cursor.high) if n is not None]
        high = self._highest if self.renumbered else max(known, default=None)
        return Cursor(floor=self._cursor.floor, since=walk, high=high)


def righted(cursor: Cursor, rules: Rules, *, now: float) -> Cursor | None:
    """The cursor of a repo that was met while our clock was ahead of the provider's `now`.

    Else all of its builds would be history until then. None if there is nothing to right.
    """
    floor = now - rules.lookback
    is_new = cursor.since is None and cursor.resume is None
    return replace(cursor, floor=floor) if is_new and cursor.floor > floor + OVERLAP else None


def sound(builds: Iterable[Build], now: float) -> tuple[Build, ...]:
    """Builds without those times that are yet to come by the provider's clock, and so jobs.

    Such a build would be the latest of its pipeline until then, and its spans are nonsense.
    What is left out is noted as an anomaly, which counts when the build or job does.
    """
    return tuple(_sound_build(build, now + AHEAD) for build in builds)


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
