"""How often a repo has new builds, and so how often it is worth a poll.

All functions are pure. All durations are in seconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import msgspec

_KEPT = 8
"""The latest builds whose times are kept."""
_POLLS_PER_BUILD = 20.0
"""Polls of a busy repo between two builds."""
_OF_IDLE_TIME, _OF_LONG_IDLE_TIME = 5.0, 60.0
"""Polls of any repo in as much time as it has been idle: by what polls have seen, and by its last
build."""
_OF_AGE = 20.0
"""Polls of a repo in as much time as its youngest unfinished build is old."""
_STALE = 86400.0
"""Seconds after which an unfinished build no longer makes a repo busy."""


class Activity(msgspec.Struct):
    """When the latest builds of a repo began."""

    begun: dict[str, float] = {}
    """Creation times, by build key; epoch seconds."""

    def note(self, builds: Iterable[tuple[str, float]]) -> None:
        """Note builds by key and creation time."""
        self.begun.update(builds)
        if len(self.begun) > _KEPT:
            latest = heapq.nlargest(_KEPT, self.begun.items(), key=lambda item: item[1])
            self.begun = dict(latest)

    def mean_gap(self, now: float) -> float:
        """Mean seconds between builds, with the time since the last one; infinite if unknown."""
        if len(self.begun) < 2:
            return float("inf")
        return max(now - min(self.begun.values()), 0.0) / len(self.begun)

    def idle_for(self, now: float) -> float:
        """Seconds since the last build began; infinite if none is known."""
        return max(now - max(self.begun.values(), default=float("-inf")), 0.0)


class Span(msgspec.Struct, frozen=True):
    """The configured polling intervals of an account."""

    interval: float
    """Of a busy repo."""
    longest: float
    """Of an idle repo."""

    @classmethod
    def of(cls, interval: float, max_interval: float) -> Span:
        """The span of two keys, of which `max_interval` may be the smaller one."""
        return cls(interval, max(interval, max_interval))

    def within(self, wanted: float) -> float:
        """The allowed interval that is nearest to the wanted one."""
        return min(max(wanted, self.interval), self.longest)


def idle_interval(span: Span, *, idle_for: float, gap: float) -> float:
    """The interval for a repo without unfinished builds.

    It grows with the time since the last news, later for a repo that has builds all the time
    than for one that seldom has any.
    """
    return min(
        span.within(idle_for / _OF_IDLE_TIME), habitual_interval(span, idle_for=idle_for, gap=gap)
    )


def habitual_interval(span: Span, *, idle_for: float, gap: float) -> float:
    """The same by how often the repo has new builds alone, even if it has one just now."""
    return span.within(max(gap / _POLLS_PER_BUILD, idle_for / _OF_LONG_IDLE_TIME))


def busy_interval(span: Span, *, age: float) -> float | None:
    """The interval for a repo whose youngest unfinished build has that age, in seconds.

    At least half of the configured one, or that itself where both configured intervals are
    equal; None if the build is too old to make a difference.
    """
    if age > _STALE:
        return None
    shortest = span.interval / 2 if span.longest > span.interval else span.interval
    return min(max(age / _OF_AGE, shortest), span.interval)
