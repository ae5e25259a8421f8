"""How far a stored cursor may lag."""

from __future__ import annotations

from exporter.ledger.rows import Cursor

_LAG = 300.0
"""Seconds that the stored cursor of a quiet repo may lag; a restart reads so much more again."""


def may_lag(stored: Cursor | None, cursor: Cursor) -> bool:
    """Whether a step without news may leave the stored cursor where it is."""
    return (
        stored is not None
        and stored.since is not None
        and cursor.since is not None
        and cursor.since - stored.since < _LAG
        and (cursor.high, cursor.resume, cursor.stuck) == (stored.high, stored.resume, stored.stuck)
        and cursor.behind.keys() == stored.behind.keys()
    )
