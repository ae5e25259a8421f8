"""Native buckets of the histograms: what is counted of them, and what is shown.

A native bucket of schema 3 reaches from 2^((n-1)/8) to 2^(n/8) seconds, its end included
(Prometheus, "Native Histograms"). What is counted is a cell: the part of a native bucket
that is in one classic bucket too. So it is known how many observations of each classic bucket
have a cell. The others, which were counted while nobody wanted native histograms, are shown
at the end of their classic bucket: the count is right at any time, and no bucket goes down.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence

from exporter.ledger.rows import Vector

SCHEMA = 3
"""Each bucket ends at 2^(1/8), which is 1.09, times the end of the one before."""
ZERO = 2.0**-10
"""Seconds, about a millisecond: what is not longer is in the zero bucket, as no CI system
measures it."""
ZERO_BUCKET = -80
"""The number of the native bucket that ends at `ZERO`; stands for the zero bucket."""

_EACH = 1 << SCHEMA
"""Native buckets between two powers of 2."""
_STEPS = tuple(0.5 * 2 ** (n / _EACH) for n in range(_EACH))
_INFINITE = 1024 * _EACH + 1
"""The bucket after that of the largest float."""
_WIDTH = 1 << 14
"""More than there are native buckets."""


def bucket(seconds: float) -> int:
    """The native bucket of an observation."""
    if seconds <= ZERO:
        return ZERO_BUCKET
    if seconds == math.inf:
        return _INFINITE
    fraction, exponent = math.frexp(seconds)
    return bisect_left(_STEPS, fraction) + (exponent - 1) * _EACH


def cells(vector: Vector) -> tuple[int, ...]:
    """The cell of one observation, as it is added to a series; a counter has none."""
    seconds = vector[-1]
    if len(vector) == 1 or math.isnan(seconds):
        return ()
    return (vector.index(1.0) * _WIDTH + bucket(seconds) - ZERO_BUCKET,)


def homes(bounds: Sequence[float]) -> tuple[int, ...]:
    """For each classic bucket the native one that shows what has no cell."""
    return (*map(bucket, bounds), bucket(bounds[-1]) + 1)


def buckets(
    known: Mapping[int, int], counts: Sequence[float], shown_at: Sequence[int]
) -> dict[int, int]:
    """The native buckets of a series: as many observations as its classic ones have.

    `counts` are those of its classic buckets, `shown_at` their `homes`. Cells that do not
    belong to them are left out altogether: Prometheus would refuse the whole scrape.
    """
    others = list(map(int, counts))
    found: dict[int, int] = {}
    for cell, count in known.items():
        classic, native = divmod(cell, _WIDTH)
        if classic >= len(others) or others[classic] < count:
            return buckets({}, counts, shown_at)
        others[classic] -= count
        native += ZERO_BUCKET
        found[native] = found.get(native, 0) + count
    for count, native in zip(others, shown_at, strict=True):
        if count:
            found[native] = found.get(native, 0) + count
    return found
