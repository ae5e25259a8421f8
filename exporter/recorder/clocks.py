"""When it is safe to forget: what is forgotten is gone for good, and any clock may be wrong.

A machine may boot in 2010 or 2040 and learn better a minute later, and an API may answer with
any `Date`. So nothing is forgotten that not all clocks call old, nothing of an account whose
clock is far from ours, and after a leap nothing until our clock has been steady for a while.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import msgspec

log = logging.getLogger(__name__)

_APART = 3600.0
"""Seconds between two clocks of which one must be wrong."""
_STEP = 60.0
"""Seconds that a wall clock that is only being corrected does not move by at once."""
_STEADY = 600.0
"""Seconds after which a clock that was set is believed."""
_LEAP = 0.25
"""The share of the retention that may have passed since the last time without being a leap."""


class Agreement(msgspec.Struct, frozen=True):
    """What all clocks say."""

    now: float
    """The earliest of them, epoch seconds."""
    spared: frozenset[str]
    """Accounts whose clocks are not known or not believed."""


def agreement(ours: float, theirs: Mapping[str, float | None]) -> Agreement | None:
    """What our clock and those of the accounts agree on; None if that is nothing."""
    known = {name: at for name, at in theirs.items() if at is not None}
    spared = (theirs.keys() - known.keys()) | {n for n, at in known.items() if apart(ours, at)}
    if len(spared) == len(theirs):
        return None
    return Agreement(min([ours, *known.values()]), frozenset(spared))


def apart(ours: float, theirs: float) -> bool:
    """Whether one of two clocks must be wrong."""
    return abs(ours - theirs) > _APART


def is_leap(now: float, before: float | None, *, retention: float) -> bool:
    """Whether so much time since the last sweep needs a second look."""
    return before is not None and now - before > _LEAP * retention


class Clocks:
    """What our clock does, and which accounts disagree with it."""

    def __init__(self) -> None:
        self._ahead = math.nan
        self._since = 0.0
        self._apart: set[str] = set()

    def look(self, ours: float, monotonic: float, theirs: Mapping[str, float | None]) -> None:
        """Note what they show, and log which accounts' clocks are not believed from now on."""
        if not abs(ours - monotonic - self._ahead) < _STEP:
            self._since = monotonic
        self._ahead = ours - monotonic
        wrong = {name: at for name, at in theirs.items() if at is not None and apart(ours, at)}
        for name in sorted(wrong.keys() - self._apart):
            log.warning(
                "the API's clock and ours are far apart: set the wrong one right; nothing of the"
                " account is forgotten until then",
                extra={"account": name, "seconds": round(wrong[name] - ours)},
            )
        self._apart = set(wrong)

    def is_steady(self, monotonic: float) -> bool:
        """Whether our clock was not set for a while."""
        return monotonic - self._since >= _STEADY
