"""The times at which the history is sampled."""

from __future__ import annotations

import math

import msgspec

LONGEST_STEP = 300.0
"""Seconds; a query sees a sample for so long (Prometheus' `--query.lookback-delta`)."""


class Grid(msgspec.Struct, frozen=True):
    """Whole multiples of `step` from `since` to `until`: epoch seconds, all three whole."""

    since: int
    until: int
    step: int

    def covers(self, at: float) -> bool:
        """Whether an event of this time is told by a sample: it is after the first one."""
        return self.since < at <= self.until

    def sample_of(self, at: float) -> int:
        """The first sample that an event of this time is in."""
        return math.ceil(at / self.step) * self.step

    def before(self, at: float) -> int:
        """The last sample that an event of this time is not in."""
        return max(self.sample_of(at) - self.step, self.since)

    def samples(self, first: int) -> int:
        """How many samples there are from `first` on."""
        return (self.until - first) // self.step + 1


def grid(since: float, until: float, step: int) -> Grid:
    """The grid within these epoch seconds.

    Raises ValueError if there is no room for two samples.
    """
    first, last = math.ceil(since / step) * step, math.floor(until / step) * step
    if first >= last:
        raise ValueError("the time from --since to --until is shorter than --step")
    return Grid(first, last, step)
