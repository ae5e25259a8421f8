"""How far one poll of a repo may go."""

from __future__ import annotations

import math
from enum import Enum, auto

import msgspec

from exporter.ledger.rows import Cursor


class Part(Enum):
    """The part of a list that one poll reads."""

    WHOLE = auto()
    """The newest page and all that is to be read behind it."""
    NEWEST = auto()
    """The newest page alone."""
    PAST = auto()
    """Of a first walk what is left unread, and not the newest page once more."""


class PollLimits(msgspec.Struct, frozen=True):
    """How far one poll may go."""

    until: float = math.inf
    """Monotonic seconds. Builds that were read by then are committed, and the next poll goes on."""
    deep_every: float | None = None
    """Seconds between two reads of the whole `rerun_window`; None is `max_interval`."""
    at_once: int = 8
    """Builds filled or refreshed side by side."""
    part: Part = Part.WHOLE
    pause_at: float = math.inf
    """Monotonic seconds after which the poll ends with the page that it is at."""


UNLIMITED = PollLimits()
"""All of it at once."""


def part_of(cursor: Cursor, *, reads_past: bool) -> Part:
    """What the next poll of a repo reads.

    A first walk is read in parts. One that cannot go on is begun anew now and then, as a whole.
    """
    if cursor.since is not None or cursor.stuck is not None:
        return Part.WHOLE
    return Part.PAST if reads_past and cursor.resume is not None else Part.NEWEST
