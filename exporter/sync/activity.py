"""How often a repo has new builds, and so how often it is worth a poll.

All functions are pure. Spans are in seconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import msgspec

_KEPT = 8
"""The latest builds whose times are kept."""
_POLLS_PER_BUILD = 20.0
"""A busy repo is polled so many times between two builds ..."""
_OF_SILENCE, _OF_LONG_SILENCE = 5.0, 60.0
"""... and any repo at this share of the time that it has been silent; a busy one later on."""
_OF_AGE = 20.0
"""An unfinished build is looked after at this share of its age."""
_STALE = 86400.0
"""An unfinished build that is older promises no news."""


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

    def within(self, wanted: float) -> float:
        """The allowed interval that is nearest to the wanted one."""
        return min(max(wanted, self.interval), self.longest)


def idle_interval(span: Span, *, silence: float, gap: float) -> float:
    """The interval for a repo without unfinished builds.

    It grows with the silence, step by step, since each poll without news makes that longer;
    for a repo that has builds all the time later than for one that seldom has any.
    """
    return min(
        span.within(silence / _OF_SILENCE), habitual_interval(span, silence=silence, gap=gap)
    )


def habitual_interval(span: Span, *, silence: float, gap: float) -> float:
    """The same by what the repo usually brings alone, though it may have moved just now."""
    return span.within(max(gap / _POLLS_PER_BUILD, silence / _OF_LONG_SILENCE))


def busy_interval(span: Span, *, age: float) -> float | None:
    """The interval for a repo whose youngest unfinished build has that age.

    It is down to half of the configured one, unless that is not to be varied; None if the
    build is too old to make a difference.
    """
    if age > _STALE:
        return None
    shortest = span.interval / 2 if span.longest > span.interval else span.interval
    return min(max(age / _OF_AGE, shortest), span.interval)
