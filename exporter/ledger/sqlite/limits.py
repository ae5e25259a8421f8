"""The rows of what APIs have forbidden."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import msgspec

from exporter.http.stored import Limits, StoredLimits
from exporter.ledger.sqlite.codec import decoder

_encode = msgspec.msgpack.Encoder().encode
_decode = decoder(Limits)


def load(rows: sqlite3.Cursor) -> list[StoredLimits]:
    """All of them. Raises sqlite3.Error."""
    rows.execute("SELECT credential, limits FROM budget")
    return [StoredLimits(credential, _decode(blob)) for credential, blob in rows]


def keep(db: sqlite3.Connection, changes: Iterable[StoredLimits], *, now: float) -> None:
    """Write some, and drop those that are over at `now`."""
    db.execute("DELETE FROM budget WHERE until < ?", (now,))
    db.executemany(
        "INSERT OR REPLACE INTO budget (credential, until, limits) VALUES (?, ?, ?)",
        [
            (credential, limits.until, _encode(limits))
            for credential, limits in changes
            if limits.until > now
        ],
    )
