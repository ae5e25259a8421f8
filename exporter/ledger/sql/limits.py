"""The rows of what APIs have forbidden."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from exporter.http.stored import Limits, StoredLimits
from exporter.ledger.sql import Driver, bulk
from exporter.ledger.sql.codec import decoder

_encode = msgspec.msgpack.Encoder().encode
_decode = decoder(Limits)


def load(db: Driver) -> list[StoredLimits]:
    """All of them."""
    rows = db.execute("SELECT credential, limits FROM budget")
    return [StoredLimits(credential, _decode(blob)) for credential, blob in rows]


def keep(db: Driver, changes: Iterable[StoredLimits], *, now: float) -> None:
    """Write some, and drop those that are over at `now`."""
    db.execute("DELETE FROM budget WHERE until < ?", (now,))
    bulk.write(
        db,
        "INSERT INTO budget (credential, until, limits) VALUES (?, ?, ?)"
        " ON CONFLICT (credential) DO UPDATE SET until = excluded.until, limits = excluded.limits",
        [
            (credential, limits.until, _encode(limits))
            for credential, limits in changes
            if limits.until > now
        ],
    )
