"""What is forgotten, and how far that goes.

A row is forgotten only while what completed that long ago is no longer news: `pruned_to` says
when that was, for each account, and no row is marked as listed before its build completed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection

from exporter.ledger.sql import Driver, build_log, meta

_OUT_OF_USE = 7 * 86400.0
"""Seconds after which an answer that nobody asked for again is forgotten."""


def pruned_to(db: Driver, account: str, *, now: float) -> Callable[[], float]:
    """Ask what of an account completed before has been forgotten; what is returned reads it.

    Epoch seconds. One that is yet to come at `now` was written while clocks were wrong and says
    nothing.
    """
    sql = "SELECT pruned_to FROM account WHERE name = ? AND pruned_to <= ?"
    asked = db.execute(sql, (account, now))

    def read() -> float:
        row = asked.fetchone()
        return 0.0 if row is None else float(row[0])

    return read


def prune(db: Driver, before: float, *, now: float, spared: Collection[str]) -> None:
    """Forget what was last listed `before`, but nothing of the `spared` accounts."""
    db.execute(
        "UPDATE account SET pruned_to ="
        " CASE WHEN pruned_to <= ? AND pruned_to > ? THEN pruned_to ELSE ? END"
        " WHERE name NOT IN (SELECT wanted.value FROM json_each(?) AS wanted)",
        (now, before, before, json.dumps(sorted(spared))),
    )
    db.execute(
        "DELETE FROM attempt WHERE listed <"
        " (SELECT pruned_to FROM account WHERE id = attempt.account AND pruned_to <= ?)",
        (before,),
    )
    db.execute(
        "DELETE FROM job WHERE listed <"
        " (SELECT pruned_to FROM account WHERE id = job.account AND pruned_to <= ?)",
        (before,),
    )
    build_log.forget(db, before)
    db.execute("DELETE FROM answer WHERE used < ?", (now - _OUT_OF_USE,))
    meta.put_number(db, "swept_at", now)
