"""The bounds of histograms."""

from __future__ import annotations

import msgspec

from exporter.metrics.families import Family

POLL_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds; bounds of the poll duration histogram."""


class Buckets(msgspec.Struct, frozen=True):
    """Upper bounds, in seconds, of the three sets of histograms."""

    duration: tuple[float, ...]
    queue: tuple[float, ...]
    poll: tuple[float, ...] = POLL_BUCKETS

    def of(self, family: Family) -> tuple[float, ...]:
        """The bounds of a family; none if it is no histogram."""
        return () if family.buckets is None else tuple(getattr(self, family.buckets))

    def width(self, family: Family) -> int:
        """How many numbers a series of the family has."""
        return 1 if family.buckets is None else len(self.of(family)) + 2
